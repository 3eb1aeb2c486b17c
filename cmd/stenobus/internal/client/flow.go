package client

import (
	"sync"
	"time"
)

// flow knows how much audio is under way: sent, and not yet covered by what came back.
// Results tell the last frame that they cover, by a number that counts the session's
// frames in the order in which they were sent.
type flow struct {
	changed chan struct{} // one token when something was covered

	mu      sync.Mutex // guards what is below and nothing else
	frames  uint64     // sent so far, by all sources
	neutral bool       // the gateway tells what it covers
	sources map[string]*underway
}

// underway is the audio of one source.
type underway struct {
	sent    time.Duration // end of what was sent
	covered time.Duration // end of what was covered
	frames  []mark        // sent and not covered, oldest first
}

// mark is the end of a frame, by number and by time.
type mark struct {
	n   uint64
	end time.Duration
}

func newFlow() *flow {
	return &flow{changed: make(chan struct{}, 1), sources: make(map[string]*underway)}
}

func (f *flow) source(tag string) *underway {
	u := f.sources[tag]
	if u == nil {
		u = &underway{}
		f.sources[tag] = u
	}
	return u
}

// sent notes that a frame of tag that ends at end was sent.
func (f *flow) sent(tag string, end time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frames++
	u := f.source(tag)
	u.sent = end
	u.frames = append(u.frames, mark{f.frames, end})
}

// covered notes what a result says of tag.
func (f *flow) covered(tag string, lastFrame uint64) {
	f.mu.Lock()
	u := f.source(tag)
	i := 0
	for i < len(u.frames) && u.frames[i].n <= lastFrame {
		u.covered = u.frames[i].end
		i++
	}
	u.frames = u.frames[i:]
	f.mu.Unlock()
	f.wake()
}

// speaks notes that the gateway is one that tells what it covers.
func (f *flow) speaks() {
	f.mu.Lock()
	known := f.neutral
	f.neutral = true
	f.mu.Unlock()
	if !known {
		f.wake()
	}
}

func (f *flow) wake() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// ahead is how much audio of tag is under way, and whether that will ever get less.
func (f *flow) ahead(tag string) (time.Duration, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.source(tag)
	return u.sent - u.covered, f.neutral
}

// Progress is how far the sources are, added up.
type Progress struct {
	Sent, Heard time.Duration
}

func (f *flow) progress() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	var p Progress
	for _, u := range f.sources {
		p.Sent += u.sent
		p.Heard += u.covered
	}
	return p
}
