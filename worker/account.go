package worker

import (
	"slices"
	"sort"
	"time"

	"stenobus/subjects"
)

// openFrame is a frame of a source, or a run of skipped ones, that no stored result
// covers yet. Its payload stays so that a fresh engine stream can hear it again.
type openFrame struct {
	n       uint64 // number in the session; of a skipped run the last
	count   uint64 // frames it stands for
	at      int64  // ms on the session clock
	packet  int64
	payload []byte
	refused string // reason; empty: the engine was given it
	end     int64  // samples written to the stream when it was complete; -1: it is not
}

// coverage is what one result covers: a run of a source's frames.
type coverage struct {
	source  uint32
	first   uint64 // number of the first frame
	last    uint64 // and of the last
	frames  uint64 // how many the engine heard
	refused map[string]uint64
	packet  int64 // the client's own number of the last packet; -1: none had one
}

// maxSpareOpen is for how many open frames an account keeps memory that it makes little use
// of. While a source speaks the next frames need as much as those before.
const maxSpareOpen = 256

// account follows one source's frames from arrival to coverage: every frame is in
// exactly one coverage. It also knows where on the stream's clock each frame lies.
type account struct {
	source  uint32
	rate    int64 // samples/s of the stream; 0: the engine counts frames
	open    []openFrame
	written int64 // samples written to the present stream
	start   int64 // where on the stream the first open frame begins, samples
}

func (a *account) add(f openFrame) { a.open = append(a.open, f) }

// wrote notes that samples more are written and that frames up to through are complete.
func (a *account) wrote(samples int, through uint64) {
	a.written += int64(samples)
	for i := len(a.open) - 1; i >= 0 && a.open[i].end < 0; i-- {
		if a.open[i].n <= through {
			a.open[i].end = a.written
		}
	}
}

// restart forgets the stream: what is open will be written again to another.
func (a *account) restart() {
	a.written, a.start = 0, 0
	for i := range a.open {
		a.open[i].end = -1
	}
}

// through is the last frame that lies wholly before pos, 0 if none does.
func (a *account) through(pos time.Duration) uint64 {
	samples := a.samples(pos)
	var n uint64
	for _, f := range a.open {
		if f.end < 0 || f.end > samples {
			break
		}
		n = f.n
	}
	return n
}

// last is the newest open frame, 0 if there is none.
func (a *account) last() uint64 {
	if len(a.open) == 0 {
		return 0
	}
	return a.open[len(a.open)-1].n
}

// spanTo is how much audio is open up to a time of the session clock, ms.
func (a *account) spanTo(at int64) time.Duration {
	if len(a.open) == 0 {
		return 0
	}
	return time.Duration(at-a.open[0].at) * time.Millisecond
}

// clock turns a position on the stream into ms on the session clock.
func (a *account) clock(pos time.Duration) int64 {
	if len(a.open) == 0 {
		return pos.Milliseconds()
	}
	samples := a.samples(pos)
	begin, end, at := a.start, a.start, a.open[0].at
	for _, f := range a.open {
		if f.end < 0 {
			break
		}
		begin, end, at = end, f.end, f.at
		if end >= samples {
			break
		}
	}
	if a.rate == 0 {
		return at
	}
	return max(0, at+(samples-begin)*1000/a.rate)
}

func (a *account) samples(pos time.Duration) int64 {
	// Half a sample more: positions that came from samples must find them again.
	return int64((pos.Seconds()*float64(a.rate) + 0.5))
}

// cover closes all frames up to n and says what they were; ok is false if there were none.
func (a *account) cover(n uint64) (c coverage, ok bool) {
	k := sort.Search(len(a.open), func(i int) bool { return a.open[i].n > n })
	if k == 0 {
		return coverage{}, false
	}
	c = coverage{source: a.source, first: a.open[0].n + 1 - a.open[0].count, last: a.open[k-1].n, packet: -1}
	for _, f := range a.open[:k] {
		if f.packet >= 0 {
			c.packet = f.packet
		}
		if f.refused == "" {
			c.frames += f.count
			continue
		}
		if c.refused == nil {
			c.refused = map[string]uint64{}
		}
		c.refused[f.refused] += f.count
	}
	if end := a.open[k-1].end; end >= 0 {
		a.start = end
	}
	left := a.open[k:]
	if cap(a.open) > maxSpareOpen && len(left) < cap(a.open)/4 {
		a.open = slices.Clone(left)
		return c, true
	}
	stay := copy(a.open, left)
	clear(a.open[stay:]) // let the payloads go
	a.open = a.open[:stay]
	return c, true
}

// shrink gives back memory where no frame is open.
func (a *account) shrink() {
	if len(a.open) == 0 {
		a.open = nil
	}
}

// add counts a coverage in a session's progress.
func (c coverage) add(p *subjects.Progress) {
	if p.Covered == nil {
		p.Covered, p.Frames = map[uint32]uint64{}, map[uint32]uint64{}
	}
	p.Covered[c.source] = max(p.Covered[c.source], c.last)
	p.Frames[c.source] += c.frames
	if c.packet >= 0 {
		if p.Packets == nil {
			p.Packets = map[uint32]int64{}
		}
		p.Packets[c.source] = c.packet
	}
	for reason, n := range c.refused {
		if p.Refused == nil {
			p.Refused = map[uint32]map[string]uint64{}
		}
		if p.Refused[c.source] == nil {
			p.Refused[c.source] = map[string]uint64{}
		}
		p.Refused[c.source][reason] += n
	}
}
