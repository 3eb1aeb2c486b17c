package deepgram

import (
	"net/url"
	"strings"
	"testing"
)

// What becomes of a parameter.
const (
	honoured = "honoured"
	told     = "told" // accepted, and named in the header dg-warning
	refused  = "refused"
)

// Every parameter of the vendor's public reference for live audio, and those that its
// client libraries still send, has a decision: none is ignored without a word, and what
// stands for its absence is always accepted.
func TestEveryParameterHasADecision(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]struct{ on, decision, with string }{
		"callback":         {"https://example.com/", refused, ""},
		"callback_method":  {"POST", told, ""},
		"channels":         {"2", honoured, ""},
		"detect_entities":  {"true", refused, ""},
		"diarize":          {"true", refused, ""},
		"diarize_model":    {"latest", refused, ""},
		"dictation":        {"true", refused, ""},
		"encoding":         {"linear16", honoured, ""},
		"endpointing":      {"300", honoured, ""},
		"extra":            {"room:1", honoured, ""},
		"interim_results":  {"true", honoured, ""},
		"keyterm":          {"customer service", refused, ""},
		"keywords":         {"stenobus:2", refused, ""},
		"language":         {"de", honoured, ""},
		"mip_opt_out":      {"true", honoured, ""},
		"model":            {"nova-3", told, ""},
		"multichannel":     {"true", refused, "channels=2"},
		"numerals":         {"true", refused, ""},
		"profanity_filter": {"true", refused, ""},
		"punctuate":        {"true", told, ""},
		"redact":           {"pci", refused, ""},
		"replace":          {"a:b", refused, ""},
		"sample_rate":      {"8000", honoured, ""},
		"search":           {"hello", refused, ""},
		"smart_format":     {"true", told, ""},
		"tag":              {"t", honoured, ""},
		"utterance_end_ms": {"1000", honoured, "interim_results=true"},
		"vad_events":       {"true", honoured, ""},
		"version":          {"latest", honoured, ""},

		// No longer in the reference.
		"alternatives":    {"3", refused, ""},
		"detect_language": {"true", refused, ""},
		"diarize_version": {"2021-07-14.0", refused, ""},
		"filler_words":    {"true", told, ""},
		"measurements":    {"true", refused, ""},
		"no_delay":        {"true", honoured, ""},
		"tier":            {"enhanced", honoured, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			decide := func(value string) (decision, why string) {
				q := url.Values{"encoding": {"linear16"}, "sample_rate": {"16000"}}
				for _, pair := range strings.Fields(d.with) {
					key, v, _ := strings.Cut(pair, "=")
					q.Set(key, v)
				}
				q.Set(name, value)
				_, req, refusal := New(Config{}).Open(request(q.Encode()))
				switch warning := req.Header.Get(headerWarning); {
				case refusal != nil && !strings.Contains(refusal.Text, name+": "+quote(value)):
					t.Errorf("the refusal does not name it: %s", refusal.Text)
				case refusal != nil:
					return refused, refusal.Text
				case strings.Contains(warning, "unknown"):
					t.Errorf("it is not known: %s", warning)
				case warning != "":
					return told, warning
				}
				return honoured, ""
			}
			if got, why := decide(d.on); got != d.decision {
				t.Errorf("%s is %s, want %s: %s", d.on, got, d.decision, why)
			}
			off := []string{"false", "False", "FALSE", ""}
			switch name {
			case "encoding", "sample_rate": // raw audio is nothing without
				off = nil
			case "language", "model", "tag", "extra", "version", "tier", "callback_method": // texts
				off = []string{""}
			}
			for _, value := range off {
				if got, why := decide(value); got != honoured {
					t.Errorf("%q is %s: %s", value, got, why)
				}
			}
		})
	}
}
