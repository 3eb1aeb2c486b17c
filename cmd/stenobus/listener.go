package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"stenobus/cmd/stenobus/internal/client"
)

// interimEvery is how often the demo writes an interim where it can't show it in place.
const interimEvery = 500 * time.Millisecond

// listener is the demo's ear: it writes a session's results down with their times.
type listener struct {
	out    io.Writer
	screen *screen

	begin        time.Time // the first audio went out; zero: none did yet
	shown        time.Time // when an interim was last written
	firstInterim time.Duration
	firstFinal   time.Duration
	afterSpeech  time.Duration // longest from the end of an utterance to its final
	interims     int           // since the last final
	sudden       int           // finals without an interim before them
	finals       []string
}

func newListener(p *program) *listener {
	return &listener{out: p.stdout, screen: newScreen(p.stdout)}
}

// Progress implements client.Watcher.
func (l *listener) Progress(client.Progress) {
	if l.begin.IsZero() {
		l.begin = time.Now()
	}
}

// Result implements client.Watcher.
func (l *listener) Result(r client.Result) {
	at := time.Since(l.begin)
	switch r.Type {
	case client.TypeInterim:
		l.interim(r, at)
	case client.TypeFinal:
		l.final(r, at)
	}
}

func (l *listener) interim(r client.Result, at time.Duration) {
	if l.firstInterim == 0 {
		l.firstInterim = at
	}
	l.interims++
	head := fmt.Sprintf("%7.2f s  interim  ", at.Seconds())
	if l.screen.live() {
		l.screen.show(head, r.Text)
		return
	}
	if l.interims == 1 || time.Since(l.shown) >= interimEvery {
		l.shown = time.Now()
		fmt.Fprintln(l.out, head+printable(r.Text))
	}
}

func (l *listener) final(r client.Result, at time.Duration) {
	if l.firstFinal == 0 {
		l.firstFinal = at
	}
	l.afterSpeech = max(l.afterSpeech, at-time.Duration(r.EndMS)*time.Millisecond)
	if l.interims == 0 {
		l.sudden++
	}
	l.interims = 0
	l.finals = append(l.finals, r.Text)
	l.screen.clear()
	fmt.Fprintf(l.out, "%7.2f s  final    %s\n", at.Seconds(), printable(r.Text))
}

// text is all that was recognised.
func (l *listener) text() string { return printable(strings.Join(l.finals, " ")) }

// times says how fast it was.
func (l *listener) times() string {
	return fmt.Sprintf("first interim %.2f s and first final %.2f s after the first sound, finals at most %.2f s after their speech",
		l.firstInterim.Seconds(), l.firstFinal.Seconds(), l.afterSpeech.Seconds())
}

// complaint says what should not have been so.
func (l *listener) complaint() error {
	switch {
	case len(l.finals) == 0:
		return errors.New("nothing was recognised")
	case l.sudden > 0:
		return fmt.Errorf("%s came without an interim before", count(l.sudden, "final"))
	}
	return nil
}
