package openai

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

const (
	maxQuery = 16 << 10 // bytes
	maxTold  = 64       // entries in one stenobus.ignored
	intent   = "transcription"
)

// parameters of the query. language and transcription_model are of servers that
// imitate the API, input_audio_format too; sessionId is of this gateway, and the
// gateway itself reads access_token.
var parameters = []string{"intent", "model", "transcription_model", "language", "input_audio_format", "sessionId", "access_token"}

// betaProtocol and betaHeader are how clients asked for the beta of the API.
const (
	betaProtocol = "openai-beta.realtime-v1"
	betaHeader   = "realtime=v1"
)

// Open reads the query. The claim of the session is made from it: engine and
// fall-back language hold for the whole session, while the format, the language of what
// follows and the turn detection may change by session.update.
func (d *Dialect) Open(r *http.Request) (dialect.Conversation, dialect.Request, *dialect.Refusal) {
	none := dialect.Request{}
	if n := len(r.URL.RawQuery); n > maxQuery {
		return nil, none, &dialect.Refusal{
			Status: http.StatusRequestURITooLong, Text: fmt.Sprintf("Invalid query: %d bytes exceed the maximum of %d", n, maxQuery),
		}
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, none, badRequest("query", "Invalid query: it is not URL encoded") // err would repeat what may be a secret
	}
	for _, name := range parameters {
		if n := len(q[name]); n > 1 {
			return nil, none, badRequest(name, "Invalid parameter %s: it is given %d times, allowed is once", name, n)
		}
	}
	if v := valid(q.Get("intent")); v != intent {
		return nil, none, badRequest("intent", "Invalid parameter intent: %.64q. Allowed is %q: this gateway has no conversations", v, intent)
	}
	set := settings{format: pcm24, vad: true}
	if refusal := set.query(q); refusal != nil {
		return nil, none, refusal
	}
	set.model, set.engine = d.engine(q)
	t := &turns{ids: d.fresh(), set: set, beta: beta(r)}
	t.open = t.item()
	told := toldOf(q, set)
	conv := &conversation{
		reader: &reader{cfg: d.cfg, turns: t, told: map[string]bool{}, pending: notices(logged(told))},
		writer: &writer{cfg: d.cfg, turns: t, told: told},
	}
	return conv, dialect.Request{
		SessionID: q.Get("sessionId"),
		Options:   subjects.Options{Engine: set.engine, Language: set.language},
		Default:   set.format.neutral(),
		Protocol:  answered(r),
		Private:   true,
		Gapless:   true,
		Deltas:    true,
		Once:      q.Get("sessionId") == "",
	}, nil
}

func badRequest(field, format string, args ...any) *dialect.Refusal {
	return &dialect.Refusal{Status: http.StatusBadRequest, Field: field, Text: fmt.Sprintf(format, args...)}
}

// query reads what a client may say in the URL instead of a session.update.
func (s *settings) query(q url.Values) *dialect.Refusal {
	if v := q.Get("language"); v != "" {
		if !isLanguage(v) {
			return badRequest("language", "Invalid parameter language: %.64q. Allowed is %s", valid(v), allowedLanguage)
		}
		s.language = v
		s.fallback = v
	}
	if v := q.Get("input_audio_format"); v != "" {
		f, ok := flatFormat(v)
		if !ok {
			return badRequest("input_audio_format", "Invalid parameter input_audio_format: %.64q. Allowed are %s", valid(v), allowedFlat)
		}
		s.format = f
	}
	return nil
}

// engine is the engine that a model names. Clients name the vendor's models: then the
// choice is open.
func (d *Dialect) engine(q url.Values) (model, engine string) {
	for _, name := range []string{"transcription_model", "model"} {
		v := strings.ToLower(valid(q.Get(name)))
		if v == "" {
			continue
		}
		if len(d.cfg.Engines) == 0 {
			return v, v
		}
		for _, e := range d.cfg.Engines {
			if strings.EqualFold(e, v) {
				return v, e
			}
		}
		model = v
	}
	return model, ""
}

// toldOf lists what of a query was not done.
func toldOf(q url.Values, set settings) (told []ignored) {
	if set.model != "" && set.engine == "" {
		told = append(told, ignored{"model", fmt.Sprintf("model %.64q is no engine here: the session has any engine", set.model)})
	}
	var unknown []string
	for name := range q {
		if !slices.Contains(parameters, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown[:min(len(unknown), maxTold)] {
		name = fmt.Sprintf("%.64s", valid(name))
		told = append(told, ignored{name, "parameter is unknown; known are " + strings.Join(parameters, ", ")})
	}
	return told
}

// logged leaves out names that a client made up: one may be a secret in the wrong place.
func logged(told []ignored) []ignored {
	out := slices.Clone(told)
	for i := range out {
		if !slices.Contains(parameters, out[i].Param) {
			out[i].Param = "query"
		}
	}
	return slices.Compact(out)
}

// answered is the subprotocol to answer with: never the one that holds the key.
func answered(r *http.Request) string {
	if slices.Contains(offered(r), protocol) {
		return protocol
	}
	return ""
}

func beta(r *http.Request) bool {
	return slices.Contains(offered(r), betaProtocol) || strings.Contains(r.Header.Get("OpenAI-Beta"), betaHeader)
}

// valid replaces what is no UTF-8, as everything here ends in JSON.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
