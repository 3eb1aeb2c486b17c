package gateway

import (
	"slices"
	"testing"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// echo renders every result as its text.
type echo struct{ dialect.Conversation }

func (echo) Result(r dialect.Result) [][]byte { return [][]byte{[]byte(r.Text)} }

// An interim gives way to the next, unless the dialect's interims add to one another.
func TestInterimsThatAddUpAreKept(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		deltas bool
		want   []string
	}{{false, []string{"b"}}, {true, []string{"a", "b"}}} {
		s := &session{conv: echo{}, deltas: tt.deltas, out: newOutbox(1<<10, func(int) {}, nil)}
		for _, text := range []string{"a", "b"} {
			s.interim(subjects.Encode(subjects.Interim{Utterance: subjects.Utterance{Source: 1, Name: "audio", Utterance: "u", Text: text}}))
		}
		var got []string
		for m, _, ok := s.out.pop(); ok; m, _, ok = s.out.pop() {
			got = append(got, string(m.data))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("deltas %t: %q wait for the client, want %q", tt.deltas, got, tt.want)
		}
	}
}
