package plain

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// Bounds on what a query may hold.
const (
	maxQuery      = 16 << 10 // bytes
	maxTags       = 64
	maxTag        = 128 // bytes
	maxExtras     = 32
	maxExtraName  = 64   // bytes
	maxExtraValue = 1024 // bytes
	maxLanguage   = 35   // bytes, as RFC 5646 4.4.1 advises

	extraPrefix = "x-"
)

// Values of the parameter format.
const (
	formatJSON = "json"
	formatVosk = "vosk"
)

const (
	wantLanguage = "a BCP 47 tag such as en or pt-BR"
	wantTag      = "1 to 128 bytes of UTF-8, at most 64 tags"
	wantExtra    = "x- and 1 to 64 of a-z 0-9 _ . -, with a value of at most 1024 bytes of UTF-8, at most 32 of them"
)

// parameters lists what a query may name. access_token is the gateway's to read.
var parameters = []string{"access_token", "after", "channels", "encoding", "engine", "format", "interims", "language", "sample_rate", "session", "tag"}

// wish is what a query asks for.
type wish struct {
	req      dialect.Request
	spelt    bool // the query says something of the audio's format
	vosk     bool
	interims bool
}

// Open reads the query. Everything in it is honoured or refused by name.
func (d *Dialect) Open(r *http.Request) (dialect.Conversation, dialect.Request, *dialect.Refusal) {
	if n := len(r.URL.RawQuery); n > maxQuery {
		return nil, dialect.Request{}, &dialect.Refusal{Status: http.StatusRequestURITooLong, Text: fmt.Sprintf("query has %d bytes, allowed are %d", n, maxQuery)}
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, dialect.Request{}, &dialect.Refusal{Status: http.StatusBadRequest, Text: fmt.Sprintf("query can't be read: %v", err)}
	}
	w := wish{req: dialect.Request{Gapless: true}, interims: true}
	for _, step := range []func(*wish, url.Values) *dialect.Refusal{known, format, identity, d.engine, labels, output} {
		if refusal := step(&w, q); refusal != nil {
			return nil, dialect.Request{}, refusal
		}
	}
	read := &reader{format: w.req.Default, spelt: w.spelt}
	if w.vosk {
		return newVosk(read, w.interims, w.req.SessionID != ""), w.req, nil
	}
	return conversation{reader: read, writer: &writer{interims: w.interims}}, w.req, nil
}

// wrong is the refusal of a parameter.
func wrong(name, value, allowed string) *dialect.Refusal {
	return &dialect.Refusal{Status: http.StatusBadRequest, Text: fmt.Sprintf(
		"parameter %.64q is %.64q, allowed: %s", name, strings.ToValidUTF8(value, "\uFFFD"), allowed)}
}

// known refuses, in an order that is the same each time, what has no meaning here.
func known(_ *wish, q url.Values) *dialect.Refusal {
	names := make([]string, 0, len(q))
	for name := range q {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch {
		case !slices.Contains(parameters, name) && !strings.HasPrefix(name, extraPrefix):
			return &dialect.Refusal{Status: http.StatusBadRequest, Text: fmt.Sprintf(
				"parameter %.64q is not known here, allowed: %s, and x-NAME for an engine's own options",
				strings.ToValidUTF8(name, "\uFFFD"), strings.Join(parameters, ", "))}
		case name != "tag" && len(q[name]) > 1:
			return &dialect.Refusal{Status: http.StatusBadRequest, Text: fmt.Sprintf("parameter %.64q is given %d times, allowed: once", name, len(q[name]))}
		}
	}
	return nil
}

// format reads how the audio is encoded.
func format(w *wish, q url.Values) *dialect.Refusal {
	encoding := encodingL16
	if q.Has("encoding") {
		var ok bool
		if encoding, ok = encodings[strings.ToLower(q.Get("encoding"))]; !ok {
			return wrong("encoding", q.Get("encoding"), wantEncoding)
		}
	}
	f := defaults(encoding)
	for _, n := range []struct {
		name string
		to   *int
		span span
	}{{"sample_rate", &f.SampleRate, rates}, {"channels", &f.Channels, channels(encoding)}} {
		if !q.Has(n.name) {
			continue
		}
		v, err := strconv.Atoi(q.Get(n.name))
		if err != nil || !n.span.holds(float64(v)) {
			return wrong(n.name, q.Get(n.name), n.span.String())
		}
		*n.to = v
	}
	w.req.Default = f
	w.spelt = q.Has("encoding") || q.Has("sample_rate") || q.Has("channels")
	return nil
}

// identity reads whose audio it is.
func identity(w *wish, q url.Values) *dialect.Refusal {
	w.req.SessionID = q.Get("session")
	if w.req.SessionID != "" {
		if _, err := subjects.NewSessionID(w.req.SessionID); err != nil {
			return wrong("session", w.req.SessionID, err.Error())
		}
	}
	if !q.Has("after") {
		return nil
	}
	after, err := strconv.ParseUint(q.Get("after"), 10, 63)
	switch {
	case err != nil:
		return wrong("after", q.Get("after"), "0, or the cursor of a final")
	case w.req.SessionID == "":
		return wrong("after", q.Get("after"), "only together with session")
	}
	w.req.Resume, w.req.After = true, after
	return nil
}

func (d *Dialect) engine(w *wish, q url.Values) *dialect.Refusal {
	name := q.Get("engine")
	if name == "" {
		return nil
	}
	if len(d.cfg.Engines) == 0 {
		w.req.Options.Engine = strings.ToValidUTF8(name, "\uFFFD")
		return nil
	}
	for _, e := range d.cfg.Engines {
		if strings.EqualFold(e, name) {
			w.req.Options.Engine = e
			return nil
		}
	}
	return wrong("engine", name, strings.Join(d.cfg.Engines, ", "))
}

// labels reads what goes on to the engine as it is.
func labels(w *wish, q url.Values) *dialect.Refusal {
	if q.Has("language") {
		if !isLanguage(q.Get("language")) {
			return wrong("language", q.Get("language"), wantLanguage)
		}
		w.req.Options.Language = q.Get("language")
	}
	for i, tag := range q["tag"] {
		if tag == "" || len(tag) > maxTag || !utf8.ValidString(tag) || i >= maxTags {
			return wrong("tag", tag, wantTag)
		}
	}
	w.req.Options.Tags = q["tag"]
	for name := range q {
		short, ok := strings.CutPrefix(name, extraPrefix)
		if !ok {
			continue
		}
		if !isExtra(short) || len(q.Get(name)) > maxExtraValue || !utf8.ValidString(q.Get(name)) || len(w.req.Options.Extra) >= maxExtras {
			return wrong(name, q.Get(name), wantExtra)
		}
		if w.req.Options.Extra == nil {
			w.req.Options.Extra = map[string]string{}
		}
		w.req.Options.Extra[short] = q.Get(name)
	}
	return nil
}

func isLanguage(s string) bool {
	return s != "" && len(s) <= maxLanguage && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func isExtra(s string) bool {
	return s != "" && len(s) <= maxExtraName && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == ""
}

// output reads what the client wants to hear.
func output(w *wish, q url.Values) *dialect.Refusal {
	if q.Has("interims") {
		switch q.Get("interims") {
		case "true":
		case "false":
			w.interims, w.req.Options.NoInterims = false, true
		default:
			return wrong("interims", q.Get("interims"), "true, false")
		}
	}
	switch q.Get("format") {
	case formatVosk:
		w.vosk = true
	case formatJSON:
	default:
		if q.Has("format") {
			return wrong("format", q.Get("format"), formatJSON+", "+formatVosk)
		}
	}
	return nil
}
