package pocketsphinx

import "strings"

// clean takes out what is not spoken: fillers such as <sil>, [NOISE] and ++UH++, and
// the number that tells one pronunciation from another, as in "read(2)".
func clean(hypothesis string) string {
	words := strings.Fields(hypothesis)
	kept := words[:0]
	for _, w := range words {
		if filler(w) {
			continue
		}
		if i := strings.LastIndexByte(w, '('); i > 0 && strings.HasSuffix(w, ")") {
			w = w[:i]
		}
		kept = append(kept, w)
	}
	return strings.Join(kept, " ")
}

func filler(word string) bool {
	for _, marks := range [][2]string{{"<", ">"}, {"[", "]"}, {"++", "++"}} {
		if strings.HasPrefix(word, marks[0]) && strings.HasSuffix(word, marks[1]) {
			return true
		}
	}
	return false
}
