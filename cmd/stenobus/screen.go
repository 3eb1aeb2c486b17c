package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

const (
	eraseLine = "\r\x1b[K"
	dim       = "\x1b[2m"
	plain     = "\x1b[0m"
	someWidth = 80 // of a terminal that does not say
)

// screen keeps one live line at the end of a terminal, which is erased before anything
// else is written. Where nobody watches there is none.
type screen struct {
	w     io.Writer // the terminal; nil: no live line
	width func() int
	shown string
}

// newScreen takes the first of the writers that a person watches.
func newScreen(writers ...io.Writer) *screen {
	for _, w := range writers {
		if f, ok := w.(*os.File); ok && isTerminal(w) {
			return &screen{w: w, width: func() int { return terminalWidth(f) }}
		}
	}
	return &screen{}
}

func terminalWidth(f *os.File) int {
	if cols, _, err := term.GetSize(int(f.Fd())); err == nil && cols > 0 {
		return cols
	}
	return someWidth
}

// live tells whether there is anyone to show a live line to.
func (s *screen) live() bool { return s.w != nil }

// show replaces the live line. Its newest words are at its end, so that is what stays
// when it is too long.
func (s *screen) show(head, tail string) {
	if s.w == nil {
		return
	}
	line := fit(head, tail, s.width()-1)
	if line == s.shown {
		return
	}
	fmt.Fprint(s.w, eraseLine+dim+line+plain)
	s.shown = line
}

// clear erases the live line.
func (s *screen) clear() {
	if s.w == nil || s.shown == "" {
		return
	}
	fmt.Fprint(s.w, eraseLine)
	s.shown = ""
}

// fit joins head and tail within width columns, cutting tail at its begin.
func fit(head, tail string, width int) string {
	tail = printable(tail)
	room := width - columns(head)
	if columns(tail) <= room {
		return head + tail
	}
	if room < 4 {
		return cutEnd(head, width)
	}
	runes := []rune(tail)
	used, i := 1, len(runes) // one column for the ellipsis
	for i > 0 && used+runeColumns(runes[i-1]) <= room {
		i--
		used += runeColumns(runes[i])
	}
	return head + "…" + string(runes[i:])
}

func cutEnd(text string, width int) string {
	used := 0
	for i, r := range text {
		if used += runeColumns(r); used > width {
			return text[:i]
		}
	}
	return text
}

// printable drops what could move the cursor: texts come from elsewhere.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}

func columns(text string) int {
	n := 0
	for _, r := range text {
		n += runeColumns(r)
	}
	return n
}

// runeColumns is 2 for the scripts and symbols that terminals draw wide, else 1.
func runeColumns(r rune) int {
	switch {
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3,
		r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60,
		r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}
