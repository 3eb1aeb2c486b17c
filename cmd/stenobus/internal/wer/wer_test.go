package wer_test

import (
	"slices"
	"testing"

	"stenobus/cmd/stenobus/internal/wer"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		said, heard   string
		words, errors int
	}{
		"nothing":        {"", "", 0, 0},
		"the same":       {"Go forward, ten meters.", "go forward ten meters", 4, 0},
		"nothing heard":  {"go forward", "", 2, 2},
		"nothing said":   {"", "go forward", 0, 2},
		"replaced":       {"ten meters", "ten metres", 2, 1},
		"missing":        {"the birch canoe slid", "the canoe slid", 4, 1},
		"too many":       {"the canoe", "the the canoe", 2, 1},
		"all of them":    {"a b c d", "x b d e", 4, 3},
		"apostrophes":    {"It’s ‘easy’", "it's easy", 2, 0},
		"other scripts":  {"Привет, мир!", "привет мир", 2, 0},
		"word order":     {"one two", "two one", 2, 2},
		"many in excess": {"one", "one two three", 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := wer.Score{Words: tc.words, Errors: tc.errors}
			if got := wer.Compare(tc.said, tc.heard); got != want {
				t.Errorf("Compare(%q, %q) = %+v, want %+v", tc.said, tc.heard, got, want)
			}
		})
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	s := wer.Score{Words: 8, Errors: 1}.Add(wer.Score{Words: 2, Errors: 4})
	if s.Rate() != 0.5 {
		t.Errorf("rate of %+v is %v, want 0.5", s, s.Rate())
	}
	if r := (wer.Score{Errors: 2}).Rate(); r != 2 {
		t.Errorf("rate without a reference is %v, want 2", r)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	want := []string{"it's", "4", "o'clock"}
	if got := wer.Words("It's -- 4 o'clock '!"); !slices.Equal(got, want) {
		t.Errorf("words %q, want %q", got, want)
	}
}
