package deepgram

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// Bounds of what a query may hold.
const (
	maxQuery      = 16 << 10 // bytes
	maxTag        = 128      // characters, the vendor's
	maxList       = 64       // tags, or extras
	maxValue      = 256      // characters of other texts
	maxEndpoint   = 60_000   // ms
	maxUnknown    = 16       // parameters that a warning names
	leastGap      = 1000     // ms, the vendor's least utterance_end_ms
	minRate       = 1000     // samples/s that workers decode
	maxRate       = 384_000
	maxChannels   = 8
	opusRate      = 48_000
	opusChannels  = 2
	languageMulti = "multi"
)

// Names of the engine's options that come from parameters, beside their own.
const (
	optionOptOut = "deepgram_mip_opt_out" // as bridges name it
	optionExtra  = "extra."               // before an extra's key
)

// notOffered would change what results mean, or where they go, and no message of the
// protocol can say that it did not. With no value, or the one that stands for its absence,
// each is accepted.
func notOffered() map[string]string {
	const off = "false, this is not offered here"
	const none = "no value, this is not offered here"
	return map[string]string{
		"callback": none, "detect_entities": off, "detect_language": off, "diarize": off, "diarize_model": none,
		"diarize_version": none, "dictation": off, "keyterm": none, "keywords": none,
		"measurements": off, "numerals": off, "profanity_filter": off, "redact": none, "replace": none, "search": none,
	}
}

// wishes are what a client asked for.
type wishes struct {
	format    dialect.Format // Encoding empty: a container says it
	interims  bool
	punctuate bool  // or smart_format
	multi     bool  // the language is to be recognised
	vad       bool  // tell where speech starts
	final     bool  // an end of speech is told
	gap       int64 // ms without a word that end an utterance; 0: not told
	model     string
	tags      []string
	extra     map[string]string
}

// languageTag is the shape of BCP 47 tags.
var languageTag = regexp.MustCompile(`^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,6}$`)

// Open reads the query.
func (d *Dialect) Open(r *http.Request) (dialect.Conversation, dialect.Request, *dialect.Refusal) {
	if n := len(r.URL.RawQuery); n > maxQuery {
		return nil, dialect.Request{}, &dialect.Refusal{
			Status: http.StatusRequestURITooLong, Text: fmt.Sprintf("Invalid query: %d bytes exceed the maximum of %d", n, maxQuery),
		}
	}
	values, err := url.ParseQuery(strings.ReplaceAll(r.URL.RawQuery, ";", "%3B"))
	if err != nil {
		return nil, dialect.Request{}, badRequest("Invalid query: %v", err)
	}
	q := &query{values: values}
	req := dialect.Request{Private: true, Gapless: true, Once: true, Idle: d.cfg.Idle, IDHeader: headerRequest}
	req.Protocol, _ = offered(r)
	w := d.wishes(q, &req.Options)
	q.unknown()
	if q.refusal != nil {
		return nil, dialect.Request{}, q.refusal
	}
	req.Default = w.format
	req.Options.NoInterims = !w.interims && !w.vad // those tell where speech starts, too
	if len(q.warnings) > 0 {
		req.Header = http.Header{}
		req.Header.Set(headerWarning, headerText(strings.Join(q.warnings, "; ")))
	}
	return d.converse(w, q.warnings), req, nil
}

func (d *Dialect) converse(w wishes, warnings []string) *conversation {
	c := &channels{}
	c.n.Store(int32(max(1, w.format.Channels)))
	in := &reader{channels: c, pending: pending(warnings)}
	in.input = inputOf(w.format)
	return &conversation{reader: in, writer: newWriter(d.cfg, w, c)}
}

func pending(warnings []string) []dialect.Event {
	if len(warnings) == 0 {
		return nil
	}
	return []dialect.Event{notice(dialect.Note{
		Code: CodeParameters, Field: "query", Allowed: "see gateway/CLIENTS.md", Message: headerText(strings.Join(warnings, "; ")),
	})}
}

// wishes reads every parameter that the protocol has.
func (d *Dialect) wishes(q *query, o *subjects.Options) wishes {
	o.Extra = map[string]string{}
	w := wishes{format: q.format(), interims: q.flag("interim_results"), vad: q.flag("vad_events"), final: true}
	d.model(q, &w, o)
	q.language(&w, o)
	q.ends(&w, o)
	q.labels(&w, o)
	q.formatting(&w, o)
	if q.flag("mip_opt_out") {
		o.Extra[optionOptOut] = "true"
	}
	q.number("alternatives", 1, 1)
	q.flag("no_delay") // nothing is held back for formatting here
	refused := notOffered()
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		if value, ok := q.unset(name); !ok {
			q.refuse(name, value, refused[name])
		}
	}
	if len(o.Extra) == 0 {
		o.Extra = nil
	}
	return w
}

// format is the client's encoding in the words of the rest of Stenobus.
func (q *query) format() (f dialect.Format) {
	encoding := strings.ToLower(q.text("encoding"))
	most := maxChannels
	switch encoding {
	case "":
	case "linear16":
		f.Encoding = encodingL16
	case encodingMuLaw, encodingALaw:
		f.Encoding = encoding
	case encodingOpus, encodingOggOpus:
		f.Encoding, f.SampleRate = encoding, opusRate
		most = opusChannels
	default:
		q.refuse("encoding", encoding, "linear16, mulaw, alaw, opus, ogg-opus, or none for a WAV or Ogg container")
	}
	rate, rated := q.number("sample_rate", minRate, maxRate)
	count, counted := q.number("channels", 1, most)
	multi := q.flag("multichannel")
	switch {
	case f.Encoding == "":
		if multi && count != 1 {
			q.refuse("multichannel", "true", "false, or true with channels=1")
		}
		if rated || counted {
			q.warn("sample_rate and channels count only with encoding: a container says them itself")
		}
		return f
	case multi && count > 1:
		q.refuse("multichannel", "true", "false, or true with channels=1: channels are mixed to one")
	case !rated && f.SampleRate == 0:
		q.refuse("sample_rate", "", fmt.Sprintf("a whole number from %d to %d, which encoding %s needs", minRate, maxRate, encoding))
	}
	if rated {
		f.SampleRate = rate
	}
	f.Channels = max(1, count)
	return f
}

// model names an engine only if there is one of that name: clients that ask for the
// vendor's models are pointed here unchanged.
func (d *Dialect) model(q *query, w *wishes, o *subjects.Options) {
	w.model = q.short("model")
	for _, name := range []string{"version", "tier"} {
		if v := q.short(name); v != "" {
			o.Extra[name] = v
		}
	}
	if w.model == "" {
		return
	}
	o.Extra["model"] = w.model
	for _, e := range d.cfg.Engines {
		if strings.EqualFold(e, w.model) {
			o.Engine = e
			return
		}
	}
	q.warn("model %s is not offered here: any engine transcribes", quote(w.model))
}

// short is a text of bounded length.
func (q *query) short(name string) string {
	text := q.text(name)
	if utf8.RuneCountInString(text) > maxValue {
		q.refuse(name, text, fmt.Sprintf("at most %d characters", maxValue))
		return ""
	}
	return text
}

func (q *query) language(w *wishes, o *subjects.Options) {
	text := q.text("language")
	switch {
	case text == "":
	case strings.EqualFold(text, languageMulti):
		w.multi = true
		o.Extra["language"] = languageMulti
	case languageTag.MatchString(text):
		o.Language = text
	default:
		q.refuse("language", text, "a BCP 47 tag such as en-US, or multi")
	}
}

// ends reads what ends speech and utterances.
func (q *query) ends(w *wishes, o *subjects.Options) {
	switch text := strings.ToLower(q.text("endpointing")); text {
	case "", "true": // as the engine does it
	case "false":
		w.final = false
		o.Extra["endpointing"] = "false"
	default:
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > maxEndpoint {
			q.refuse("endpointing", text, fmt.Sprintf("ms from 0 to %d, true, false", maxEndpoint))
			return
		}
		o.Extra["endpointing"] = strconv.Itoa(n)
	}
	gap, ok := q.number("utterance_end_ms", leastGap, maxEndpoint)
	switch {
	case !ok:
	case !w.interims:
		q.refuse("utterance_end_ms", strconv.Itoa(gap), "only with interim_results=true")
	default:
		w.gap = int64(gap)
		o.Extra["utterance_end_ms"] = strconv.Itoa(gap)
	}
}

// labels reads what is only recorded and told again.
func (q *query) labels(w *wishes, o *subjects.Options) {
	w.tags = q.list("tag", true)
	for _, t := range w.tags {
		if utf8.RuneCountInString(t) > maxTag {
			q.refuse("tag", t, fmt.Sprintf("at most %d characters", maxTag))
		}
	}
	extras := q.list("extra", false)
	for name, list := range map[string][]string{"tag": w.tags, "extra": extras} {
		if len(list) > maxList {
			q.refuse(name, fmt.Sprintf("%d values", len(list)), fmt.Sprintf("at most %d", maxList))
		}
	}
	o.Tags = w.tags
	for _, each := range extras {
		key, value, ok := strings.Cut(each, ":")
		if !ok || key == "" || utf8.RuneCountInString(each) > maxValue {
			q.refuse("extra", each, fmt.Sprintf("key:value of at most %d characters", maxValue))
			return
		}
		if w.extra == nil {
			w.extra = map[string]string{}
		}
		w.extra[key] = value
		o.Extra[optionExtra+key] = value
	}
}

// formatting is asked for by every example of the vendor, so it must be accepted.
func (q *query) formatting(w *wishes, o *subjects.Options) {
	for _, name := range []string{"punctuate", "smart_format"} {
		if q.flag(name) {
			w.punctuate = true
			o.Extra[name] = "true"
			q.warn("%s: punctuation and format are what the engine gives", name)
		}
	}
	if q.flag("filler_words") { // clients of voice assistants ask for it by default
		o.Extra["filler_words"] = "true"
		q.warn("filler_words: those are given that the engine gives")
	}
}

// unknown names parameters that the protocol does not have. Their values are not
// repeated: a key may be among them.
func (q *query) unknown() {
	var names []string
	refused := notOffered()
	for name := range q.values {
		switch name {
		case "encoding", "sample_rate", "channels", "multichannel", "interim_results", "vad_events", "model", "version", "tier",
			"language", "endpointing", "utterance_end_ms", "tag", "extra", "punctuate", "smart_format", "filler_words", "mip_opt_out",
			"alternatives", "no_delay", "access_token":
		case "callback_method":
			if _, off := q.unset(name); !off {
				q.warn("callback_method counts only with callback, which is not offered here")
			}
		default:
			if _, known := refused[name]; !known {
				names = append(names, quote(name))
			}
		}
	}
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	more := ""
	if n := len(names) - maxUnknown; n > 0 {
		names, more = names[:maxUnknown], fmt.Sprintf(" and %d more", n)
	}
	q.warn("unknown and ignored: %s%s", strings.Join(names, ", "), more)
}
