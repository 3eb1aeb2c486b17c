package lab

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	bridge "stenobus/cmd/stenobus/internal/client"
	"stenobus/cmd/stenobus/internal/wer"
)

// listener hears one session of speech. The client calls it one call at a time; what the
// one who kills needs is set before kill is closed.
type listener struct {
	at   int           // the moment to kill: when so many words are heard
	kill chan struct{} // closed when its moment has come; nil: nobody dies
	once sync.Once

	worker    string // has the session
	victim    string // had it when the moment came; empty: it never came
	heardThen string
	killedAt  atomic.Int64 // Unix time in ns; 0: not yet
	recovered time.Duration
	finals    []string
}

// Result implements bridge.Watcher.
func (l *listener) Result(r bridge.Result) {
	if r.Type == bridge.TypeEvent {
		if w := workerOf(r.Raw); w != "" {
			l.worker = w
		}
		return
	}
	if at := l.killedAt.Load(); at != 0 && l.recovered == 0 && l.worker != l.victim {
		l.recovered = time.Since(time.Unix(0, at))
	}
	if r.Type == bridge.TypeFinal {
		l.finals = append(l.finals, r.Text)
		return
	}
	if heard := strings.TrimSpace(l.text() + " " + r.Text); l.kill != nil && l.victim == "" && len(wer.Words(heard)) >= l.at {
		l.victim, l.heardThen = l.worker, heard
		l.killOnce()
	}
}

// Progress implements bridge.Watcher.
func (l *listener) Progress(bridge.Progress) {}

func (l *listener) killOnce() { l.once.Do(func() { close(l.kill) }) }

func (l *listener) text() string { return strings.Join(l.finals, " ") }
