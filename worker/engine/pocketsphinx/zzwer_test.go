package pocketsphinx

import "strings"

func werRate(a, b string) float64 {
	f := func(s string) []string {
		return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !(r >= 'a' && r <= 'z' || r == '\'') })
	}
	w, g := f(a), f(b)
	row := make([]int, len(g)+1)
	for j := range row {
		row[j] = j
	}
	for i := range w {
		prev := row[0]
		row[0] = i + 1
		for j := range g {
			c := prev
			if w[i] != g[j] {
				c++
			}
			prev = row[j+1]
			row[j+1] = min(c, row[j]+1, prev+1)
		}
	}
	return float64(row[len(g)]) / float64(len(w))
}
