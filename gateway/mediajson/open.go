package mediajson

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

const (
	maxQuery   = 16 << 10 // bytes
	maxURLTags = 64
)

// The parameters that an engine may want. openaiCustomUrl is not among them: a client
// does not choose where the gateway's credentials go. diarize is not of the protocol,
// which has it in the start of a source; engines are told when a session begins.
var (
	numbers  = []string{"endpointing", "smart_turn", "smart_turn_timeout", "xai_granular_stability_ms", "xai_granular_guard_words"}
	switches = []string{"xai_granular_finals", "deepgram_mip_opt_out", "diarize"}
)

// leadingNumber is what the protocol takes a number's text for: 850ms is 850.
var leadingNumber = regexp.MustCompile(`^\s*([+-]?)([0-9]+)(\.[0-9]+)?`)

// Open reads the query. Texts and order of the refusals are the protocol's; unknown
// parameters are ignored, as are repetitions of all but tag.
func (d *Dialect) Open(r *http.Request) (dialect.Conversation, dialect.Request, *dialect.Refusal) {
	if n := len(r.URL.RawQuery); n > maxQuery {
		return nil, dialect.Request{}, refuse(http.StatusRequestURITooLong, "Invalid query: %d bytes exceed the maximum of %d", n, maxQuery)
	}
	// A semicolon separates nothing in the URLs that clients write.
	q, err := url.ParseQuery(strings.ReplaceAll(r.URL.RawQuery, ";", "%3B"))
	if err != nil {
		return nil, dialect.Request{}, badRequest("Invalid query: %v", err)
	}
	format, refusal := urlFormat(q)
	if refusal != nil {
		return nil, dialect.Request{}, refusal
	}
	tags, refusal := urlTags(q)
	if refusal != nil {
		return nil, dialect.Request{}, refusal
	}
	after, resumes, refusal := cursor(q)
	if refusal != nil {
		return nil, dialect.Request{}, refusal
	}
	is := func(name string) bool { return q.Get(name) == "true" }
	if !is("sendBack") && !is("sendBackInterim") && !is("useDispatcher") {
		return nil, dialect.Request{}, badRequest("No transcription output method specified")
	}
	engine, closing := d.engine(q.Get("provider"))
	options, unusable := extra(q)
	conv := &conversation{
		reader: &reader{format: format, resumes: resumes, tags: map[string]*tag{}, pending: unusable, diarized: options["diarize"] == "true"},
		writer: &writer{
			cfg:      d.cfg,
			finals:   is("sendBack"),
			interims: is("sendBack") && is("sendBackInterim"),
			extended: q.Get("stenobus") == "1",
			speakers: map[speaker]int{},
			heard:    map[string]int{},
		},
	}
	return conv, dialect.Request{
		SessionID: q.Get("sessionId"),
		Options: subjects.Options{
			Engine: engine, Language: valid(q.Get("lang")), Tags: tags, Extra: options,
			NoInterims: !is("sendBack") || !is("sendBackInterim"),
		},
		Default: format,
		Close:   closing,
		Resume:  resumes,
		After:   after,
	}, nil
}

func refuse(status int, format string, args ...any) *dialect.Refusal {
	return &dialect.Refusal{Status: status, Text: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *dialect.Refusal {
	return refuse(http.StatusBadRequest, format, args...)
}

// urlFormat is the format of sources that send media without a start.
func urlFormat(q url.Values) (dialect.Format, *dialect.Refusal) {
	encoding := encodingOpus
	if given, ok := q["encoding"]; ok {
		encoding = given[0]
	}
	if encoding != encodingOpus && encoding != encodingOggOpus {
		return dialect.Format{}, badRequest(`Invalid encoding parameter: "%s". Valid values are: opus, ogg-opus`, valid(encoding))
	}
	return defaults(encoding), nil
}

func urlTags(q url.Values) ([]string, *dialect.Refusal) {
	var tags []string
	for _, t := range q["tag"] {
		if t = valid(t); t != "" {
			tags = append(tags, t)
		}
	}
	for _, t := range tags {
		if n := units(t); n > maxTagUnits {
			head := string(utf16.Decode(utf16.Encode([]rune(t))[:50]))
			return nil, badRequest(`Invalid tag: "%s..." exceeds maximum length of %d characters (actual: %d)`, head, maxTagUnits, n)
		}
	}
	if len(tags) > maxURLTags {
		return nil, badRequest("Invalid tags: %d exceed the maximum of %d", len(tags), maxURLTags)
	}
	return tags, nil
}

// cursor is how far a client that comes back has its finals.
func cursor(q url.Values) (after uint64, given bool, refusal *dialect.Refusal) {
	text, given := q["after"]
	if !given {
		return 0, false, nil
	}
	after, err := strconv.ParseUint(text[0], 10, 63)
	if err != nil {
		return 0, false, badRequest(`Invalid after parameter: "%.64s". Valid values are: 0, or the cursor of a final`, valid(text[0]))
	}
	return after, true, nil
}

// The providers that the protocol has names for, whoever offers them.
var providers = []string{"openai", "openai_custom", "gemini", "deepgram", "xai", "dummy"}

// engine is the engine that a provider names. What is none here is refused as the
// protocol has it, after the upgrade. A provider whose URL and key the client brings
// (openai_custom) is never there: a key does not travel on the bus.
func (d *Dialect) engine(provider string) (string, *dialect.Closing) {
	if provider == "" {
		return "", nil
	}
	name := strings.ToLower(valid(provider))
	if name == "custom_openai" { // an old name, still spoken
		name = "openai_custom"
	}
	for _, e := range d.cfg.Engines {
		if strings.EqualFold(e, name) {
			return e, nil
		}
	}
	if len(d.cfg.Engines) == 0 {
		return name, nil
	}
	offered := strings.Join(d.cfg.Engines, ", ")
	text := fmt.Sprintf("Invalid provider: %.32s. Valid providers are: %s", name, offered)
	if slices.Contains(providers, name) {
		text = fmt.Sprintf("Provider '%s' is not available. Available providers: %s", name, offered)
	}
	return "", &dialect.Closing{Code: CodeUnknownProvider, Status: websocket.StatusProtocolError, Text: text}
}

// extra reads what is an engine's to honour. As the protocol has it a number that can't
// be read counts as absent, and a switch is on for the word true alone.
func extra(q url.Values) (options map[string]string, unusable []dialect.Event) {
	options = map[string]string{}
	if v := q.Get("provider"); v != "" {
		options["provider"] = valid(v)
	}
	for _, name := range switches {
		if q.Has(name) {
			options[name] = strconv.FormatBool(q.Get(name) == "true")
		}
	}
	for _, name := range numbers {
		if !q.Has(name) {
			continue
		}
		v := valid(q.Get(name))
		if n, ok := leading(v, name == "smart_turn"); ok {
			options[name] = n
			continue
		}
		unusable = append(unusable, notice(dialect.Note{
			Code: CodeBadParameter, Field: name, Allowed: "a number", Message: fmt.Sprintf("parameter %s %.64q counts as absent", name, v),
		}))
	}
	if len(options) == 0 {
		options = nil
	}
	return options, unusable
}

// leading is the number with which a text begins.
func leading(text string, fraction bool) (n string, ok bool) {
	m := leadingNumber.FindStringSubmatch(text)
	if m == nil {
		return "", false
	}
	n = strings.TrimPrefix(m[1], "+") + m[2]
	if fraction {
		n += m[3]
	}
	return n, true
}

// valid replaces what is no UTF-8, as everything here ends in JSON.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// units counts UTF-16 units: what clients and providers call characters.
func units(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > 0xFFFF {
			n++
		}
	}
	return n
}
