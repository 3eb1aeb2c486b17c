package openai

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxPending = 1000                   // commits and clears that wait for their results
	leastVAD   = 100 * time.Millisecond // with server_vad less than that is no buffer to commit, as at the vendor's
)

// turns is what the two halves of a conversation share: the settings, which the
// reader changes, and where the audio and its results stand.
type turns struct {
	ids    string        // the connection's part of all ids
	events atomic.Uint64 // event ids given out

	mu       sync.Mutex // guards what follows
	id       string     // of the session
	set      settings
	beta     bool // the client spoke the beta
	items    uint64
	appended time.Duration // audio so far, as the client counts it
	from     time.Duration // where the audio begins that belongs to no item yet
	pending  []turn        // ended by the client and waiting for results, in order
	last     string        // the item before the open one; empty: none
	open     string        // the item that the audio from there becomes
}

// turn is audio that a commit or a clear has ended. Its results are those up to the
// answer to the flush that was sent with it.
type turn struct {
	committed
	clear  bool          // its results are for nobody
	end    time.Duration // in the appended audio
	length time.Duration
}

// committed is an item and the one before it.
type committed struct{ item, previous string }

// settings is what the client configures.
type settings struct {
	format   format
	model    string // as the client calls it; empty: it named none
	engine   string // which that is; empty: any
	fallback string // language in the claim
	language string
	vad      bool // turns end by the engine's rule; false: by commits alone
}

// item gives out an id. Its caller holds mu, or is the only one yet.
func (t *turns) item() string {
	t.items++
	return "item_" + t.ids + strconv.FormatUint(t.items, 10)
}

func (t *turns) settings() settings {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.set
}

func (t *turns) change(s settings, beta bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set, t.beta = s, t.beta || beta
}

func (t *turns) speaksBeta() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.beta
}

func (t *turns) append(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.appended += d
}

// commit ends the open item, or says why not.
func (t *turns) commit() (c committed, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	length := t.appended - t.from
	switch {
	case length <= 0 || t.set.vad && length < leastVAD:
		return c, CodeCommitEmpty
	case len(t.pending) >= maxPending:
		return c, CodeTooMany
	}
	c = t.close(t.appended)
	t.pending = append(t.pending, turn{committed: c, end: t.appended, length: length})
	return c, ""
}

// clear forgets the open item. flush is false where it holds no audio.
func (t *turns) clear() (flush bool, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.appended == t.from:
		return false, ""
	case len(t.pending) >= maxPending:
		return false, CodeTooMany
	}
	t.from, t.open = t.appended, t.item()
	t.pending = append(t.pending, turn{clear: true, end: t.appended})
	return true, ""
}

// close makes the open item the last one. Its caller holds mu.
func (t *turns) close(end time.Duration) committed {
	c := committed{item: t.open, previous: t.last}
	t.last, t.open, t.from = t.open, t.item(), max(t.from, min(end, t.appended))
	return c
}

// place is what results belong to at a moment: the first turn that waits for them, if
// the client ended one, else the open item. Read at once, so that no commit comes between.
type place struct {
	turn  turn
	ended bool   // turn is one
	open  string // the open item
	vad   bool   // it ends by the engine's rule
}

func (t *turns) now() place {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := place{open: t.open, vad: t.set.vad}
	if len(t.pending) > 0 {
		p.turn, p.ended = t.pending[0], true
	}
	return p
}

// answer takes the head away: its flush is answered.
func (t *turns) answer() (turn, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.pending) == 0 {
		return turn{}, false
	}
	h := t.pending[0]
	t.pending = slices.Delete(t.pending, 0, 1)
	return h, true
}

// finish ends the open item by the engine's rule, unless a client's commit was sooner.
func (t *turns) finish(end time.Duration) (c committed, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.pending) > 0 {
		return committed{}, false
	}
	return t.close(end), true
}

// cut ends the open item where its results do, unless a client's commit was sooner.
func (t *turns) cut(end time.Duration) (c committed, length time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.pending) > 0 {
		return committed{}, 0, false
	}
	from := t.from
	c = t.close(end)
	return c, t.from - from, true
}

// rest commits what is left when the session ends.
func (t *turns) rest() (c committed, length time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.pending) > 0 {
		return committed{}, 0, false
	}
	length = t.appended - t.from
	return t.close(t.appended), length, true
}

// named tells the session's id, which is known once the connection is made.
func (t *turns) named(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.id = id
}

func (t *turns) session() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.id
}
