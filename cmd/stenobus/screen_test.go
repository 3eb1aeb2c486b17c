package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"stenobus/cmd/stenobus/internal/client"
)

func TestFit(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		head, tail string
		width      int
		want       string
	}{
		"fits":             {"1 s  ", "hello", 20, "1 s  hello"},
		"exactly":          {"1 s  ", "hello", 10, "1 s  hello"},
		"the end stays":    {"1 s  ", "hello", 9, "1 s  …llo"},
		"wide characters":  {"", "日本語日本語", 7, "…日本語"},
		"half a character": {"", "日本語", 5, "…本語"},
		"no room":          {"a very long head", "hello", 8, "a very l"},
		"control":          {"", "a\x1b[2Jb\nc", 20, "a [2Jb c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := fit(tc.head, tc.tail, tc.width); got != tc.want || columns(got) > tc.width {
				t.Errorf("fit(%q, %q, %d) = %q, want %q", tc.head, tc.tail, tc.width, got, tc.want)
			}
		})
	}
}

// terminal shows what a person would see of what was written.
func terminal(written string) string {
	var lines []string
	for line := range strings.SplitSeq(written, "\n") {
		if i := strings.LastIndex(line, eraseLine); i >= 0 {
			line = line[i+len(eraseLine):]
		}
		lines = append(lines, strings.NewReplacer(dim, "", plain, "").Replace(line))
	}
	return strings.Join(lines, "\n")
}

func TestPrinterOnATerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := &printer{
		out: &out, notes: &out, interims: true, inPlace: true,
		screen: &screen{w: &out, width: func() int { return 60 }},
	}
	p.Progress(client.Progress{Sent: 2 * time.Second, Heard: time.Second})
	p.Result(client.Result{Type: client.TypeInterim, Source: "a", Text: "hello wor"})
	if got, want := terminal(out.String()), "2.0 s sent, 1.0 s heard  hello wor"; got != want {
		t.Errorf("with an interim: %q, want %q", got, want)
	}
	p.Result(client.Result{Type: client.TypeFinal, Source: "a", Text: "hello world"})
	p.Result(client.Result{Type: client.TypeEvent, Event: "warning", Message: "frames were lost"})
	p.Result(client.Result{Type: client.TypeEvent, Event: "ready"})
	want := "[a] hello world\nwarning: frames were lost\n"
	if got := terminal(out.String()); got != want+"2.0 s sent, 1.0 s heard" {
		t.Errorf("with a final: %q", got)
	}
	p.screen.clear()
	if got := terminal(out.String()); got != want {
		t.Errorf("at the end: %q, want %q", got, want)
	}
}

func TestPrinterWithoutATerminal(t *testing.T) {
	t.Parallel()
	results := []client.Result{
		{Type: client.TypeInterim, Source: "a", Text: "one", Raw: []byte(`{"i":1}`)},
		{Type: client.TypeFinal, Source: "a", Text: "one two", Raw: []byte(`{"f":2}`)},
		{Type: client.TypeEvent, Event: "ended", Raw: []byte(`{"e":3}`)},
	}
	for name, tc := range map[string]struct {
		printer printer
		want    string
	}{
		"finals":   {printer{}, "[a] one two\n"},
		"interims": {printer{interims: true}, "[a] … one\n[a] one two\n"},
		"json":     {printer{json: true}, "{\"i\":1}\n{\"f\":2}\n{\"e\":3}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			p := tc.printer
			p.out, p.notes, p.screen = &out, &out, newScreen(&out)
			p.Progress(client.Progress{Sent: time.Second})
			for _, r := range results {
				p.Result(r)
			}
			if out.String() != tc.want {
				t.Errorf("%q, want %q", out.String(), tc.want)
			}
		})
	}
}
