// Package wer compares what was recognised with what was said.
package wer

import (
	"strings"
	"unicode"
)

// Score counts words. Adding scores up gives the rate of the whole.
type Score struct {
	Words  int // of the reference
	Errors int // words to put in, to take out or to replace
}

// Add returns the sum of both.
func (s Score) Add(t Score) Score {
	return Score{s.Words + t.Words, s.Errors + t.Errors}
}

// Rate is the word error rate: 0 is perfect, and above 1 more is wrong than was said.
// Without a reference every word is wrong.
func (s Score) Rate() float64 {
	return float64(s.Errors) / float64(max(s.Words, 1))
}

// Compare counts the fewest changes that turn heard into said, whatever the case and
// the punctuation.
func Compare(said, heard string) Score {
	want, got := Words(said), Words(heard)
	return Score{Words: len(want), Errors: distance(want, got)}
}

// Words splits a text into what counts: words and numbers in lower case. An apostrophe
// inside a word belongs to it.
func Words(text string) []string {
	text = strings.ReplaceAll(strings.ToLower(text), "’", "'")
	words := strings.FieldsFunc(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) && r != '\''
	})
	kept := words[:0]
	for _, w := range words {
		if w = strings.Trim(w, "'"); w != "" {
			kept = append(kept, w)
		}
	}
	return kept
}

// distance is Levenshtein's, over words.
func distance(want, got []string) int {
	row := make([]int, len(got)+1)
	for j := range row {
		row[j] = j
	}
	for i, w := range want {
		diagonal := row[0]
		row[0] = i + 1
		for j, g := range got {
			change := diagonal
			if w != g {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(got)]
}
