package main

import (
	"fmt"
	"io"
	"time"

	"stenobus/cmd/stenobus/internal/client"
)

// drawEvery keeps progress from drawing more often than anyone can read.
const drawEvery = 100 * time.Millisecond

// printer shows a session's results as they come.
type printer struct {
	out      io.Writer // finals, or everything as JSON
	notes    io.Writer // what a person should know of the session
	screen   *screen
	json     bool
	interims bool
	inPlace  bool // interims go into the live line, not into lines of their own
	several  bool // sources

	progress client.Progress
	drawn    time.Time     // when the live line was last drawn
	interim  client.Result // shown in the live line; zero: none
}

// Result implements client.Watcher.
func (p *printer) Result(r client.Result) {
	switch {
	case p.json:
		p.line(p.out, "%s", r.Raw)
	case r.Type == client.TypeFinal:
		if r.Source == p.interim.Source {
			p.interim = client.Result{}
		}
		p.line(p.out, "[%s] %s", printable(r.Source), printable(r.Text))
	case r.Type == client.TypeInterim && p.interims:
		p.hypothesis(r)
	case r.Type == client.TypeEvent:
		p.event(r)
	}
	p.refresh()
}

// Progress implements client.Watcher.
func (p *printer) Progress(n client.Progress) {
	p.progress = n
	if time.Since(p.drawn) >= drawEvery {
		p.refresh()
	}
}

func (p *printer) hypothesis(r client.Result) {
	if p.inPlace {
		p.interim = r
		return
	}
	p.line(p.out, "[%s] … %s", printable(r.Source), printable(r.Text))
}

// event tells a person what went wrong or takes its time; the rest is for machines.
func (p *printer) event(r client.Result) {
	switch r.Event {
	case "error", "warning", "waiting", "moved":
		text := r.Message
		if text == "" {
			text = r.Code
		}
		p.line(p.notes, "%s: %s", r.Event, printable(text))
	}
}

func (p *printer) line(w io.Writer, format string, args ...any) {
	p.screen.clear()
	fmt.Fprintf(w, format+"\n", args...)
}

func (p *printer) refresh() {
	if !p.screen.live() {
		return
	}
	p.drawn = time.Now()
	head := fmt.Sprintf("%.1f s sent, %.1f s heard", p.progress.Sent.Seconds(), p.progress.Heard.Seconds())
	tail := ""
	if p.interim.Text != "" {
		tail = p.interim.Text
		head += "  "
		if p.several {
			head += "[" + printable(p.interim.Source) + "] "
		}
	}
	p.screen.show(head, tail)
}
