package plain

import (
	"encoding/json"
	"strings"

	"stenobus/gateway/dialect"
)

// config is Vosk's first message, in which a client says what its audio is. It holds for
// the audio after it. A field that is wrong is told, and the others count.
func (r *reader) config(raw json.RawMessage, _ object, emit func(dialect.Event)) {
	var c object
	if err := json.Unmarshal(raw, &c); err != nil || c == nil {
		emit(notice(CodeBadField, "config", "an object", "config "+quote(raw)+" is ignored"))
		return
	}
	f, language := r.format, r.language
	spelt := false
	refuse := func(name, allowed string) {
		emit(notice(CodeBadField, "config."+name, allowed, "config."+name+" "+quote(c[name])+" is ignored"))
	}
	if raw, ok := c["encoding"]; ok {
		if e, known := encodings[strings.ToLower(str(raw))]; known {
			f, spelt = defaults(e), true
		} else {
			refuse("encoding", wantEncoding)
		}
	}
	for _, n := range []struct {
		name string
		to   *int
		span span
	}{{"sample_rate", &f.SampleRate, rates}, {"channels", &f.Channels, channels(f.Encoding)}} {
		raw, ok := c[n.name]
		if !ok {
			continue
		}
		var v float64
		if string(raw) != "null" && json.Unmarshal(raw, &v) == nil && n.span.holds(v) {
			*n.to, spelt = int(v), true
		} else {
			refuse(n.name, n.span.String())
		}
	}
	if raw, ok := c["language"]; ok {
		if isLanguage(str(raw)) {
			language = str(raw)
		} else {
			refuse("language", wantLanguage)
		}
	}
	r.ofVosk(c, refuse)
	for _, name := range []string{"encoding", "sample_rate", "channels", "language", "words", "max_alternatives", "phrase_list", "model"} {
		delete(c, name)
	}
	unknown("config.", c, emit)
	if !spelt && language == r.language {
		return
	}
	r.restart(f, language, emit)
	if spelt { // by this the first bytes need not show it, and a refused file is forgotten
		r.spelt, r.wav, r.refused = true, nil, false
	}
}

// shape is what a config says of the shape of Vosk's results; nil: nothing.
type shape struct {
	words        *bool // with words and their times
	alternatives *bool // as a list of alternatives, which has one here
}

// ofVosk reads the fields that only Vosk's clients write.
func (r *reader) ofVosk(c object, refuse func(name, allowed string)) {
	var said shape
	if raw, ok := c["words"]; ok {
		show, known := truth(raw)
		switch {
		case known && r.shape != nil:
			said.words = &show
		case !known:
			refuse("words", "true, false")
		case !show:
			refuse("words", "true: results have words where the engine tells them")
		}
	}
	if raw, ok := c["max_alternatives"]; ok {
		var n float64
		switch most := (span{0, 1000}); {
		case json.Unmarshal(raw, &n) != nil || !most.holds(n):
			refuse("max_alternatives", most.String())
		case r.shape != nil:
			list := n > 0
			said.alternatives = &list
		case n > 1:
			refuse("max_alternatives", "0, 1: results have one alternative")
		}
	}
	if _, ok := c["phrase_list"]; ok {
		refuse("phrase_list", "nothing: vocabularies can't be set here")
	}
	if _, ok := c["model"]; ok {
		refuse("model", "nothing: the query parameter engine chooses")
	}
	if r.shape != nil {
		r.shape(said)
	}
}

// truth reads true and false, which some clients write as numbers.
func truth(raw json.RawMessage) (yes, known bool) {
	switch string(raw) {
	case "true", "1":
		return true, true
	case "false", "0":
		return false, true
	}
	return false, false
}

// str is the string that raw holds, empty for anything else.
func str(raw json.RawMessage) (s string) {
	_ = json.Unmarshal(raw, &s)
	return s
}
