package worker

import (
	"math/rand/v2"
	"testing"
	"time"

	"stenobus/subjects"
)

// pcmFrame is 20 ms of audio at 16,000 samples/s.
func addPCM(a *account, n uint64, at int64) {
	a.add(openFrame{n: n, count: 1, at: at, end: -1})
	a.wrote(320, n)
}

func TestAccountMapsTheStreamToFrames(t *testing.T) {
	t.Parallel()
	a := account{source: 1, rate: 16000}
	for i := range int64(10) { // frames 1, 3, 5 … : another source has those between
		addPCM(&a, uint64(2*i+1), 1000+20*i)
	}
	for _, tt := range []struct {
		pos     time.Duration
		through uint64
		clock   int64
	}{
		{0, 0, 1000},
		{10 * time.Millisecond, 0, 1010},
		{20 * time.Millisecond, 1, 1020},
		{39 * time.Millisecond, 1, 1039},
		{100 * time.Millisecond, 9, 1100},
		{time.Second, 19, 1180 + 820},
	} {
		if got := a.through(tt.pos); got != tt.through {
			t.Errorf("%v covers through %d, want %d", tt.pos, got, tt.through)
		}
		if got := a.clock(tt.pos); got != tt.clock {
			t.Errorf("%v is at %d ms, want %d", tt.pos, got, tt.clock)
		}
	}
	c, ok := a.cover(9)
	if !ok || c.first != 1 || c.last != 9 || c.frames != 5 {
		t.Fatalf("covered %+v", c)
	}
	if got := a.clock(110 * time.Millisecond); got != 1110 {
		t.Errorf("after a cover 110 ms is at %d, want 1110", got)
	}
	if _, ok := a.cover(10); ok {
		t.Error("covered frame 9 twice")
	}
}

// A pause in the session's clock is not in the stream.
func TestAccountKnowsPauses(t *testing.T) {
	t.Parallel()
	a := account{source: 1, rate: 16000}
	addPCM(&a, 1, 0)
	addPCM(&a, 2, 32000)
	if got := a.clock(30 * time.Millisecond); got != 32010 {
		t.Errorf("the middle of the second frame is at %d ms, want 32010", got)
	}
}

// A frame whose last bytes are still inside the decoder is not covered.
func TestAccountHoldsIncompleteFrames(t *testing.T) {
	t.Parallel()
	a := account{source: 1, rate: 16000}
	a.add(openFrame{n: 1, count: 1, end: -1})
	a.wrote(0, 0)
	a.add(openFrame{n: 2, count: 1, at: 20, end: -1})
	a.wrote(640, 1) // frame 2 completed a page and began the next
	if got := a.through(time.Second); got != 1 {
		t.Errorf("through %d, want 1", got)
	}
	a.wrote(640, 2)
	if got := a.through(time.Second); got != 2 {
		t.Errorf("through %d, want 2", got)
	}
}

// However results fall: every frame is in exactly one coverage, refused ones with
// their reason.
func TestAccountProperty(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		a := account{source: 1, rate: 16000}
		var p subjects.Progress
		var n, frames, refused uint64
		var last uint64
		take := func(through uint64) {
			c, ok := a.cover(through)
			if !ok {
				return
			}
			if c.first <= last {
				t.Fatalf("seed %d: coverage %d-%d overlaps %d", seed, c.first, c.last, last)
			}
			last = c.last
			c.add(&p)
		}
		for range 500 {
			n += 1 + uint64(rnd.IntN(3))
			switch rnd.IntN(6) {
			case 0:
				n += 4
				a.add(openFrame{n: n, count: 5, refused: subjects.RefusedWindow, end: -1})
				refused += 5
			case 1:
				a.add(openFrame{n: n, count: 1, refused: subjects.RefusedUndecodable, end: -1})
				refused++
			default:
				addPCM(&a, n, int64(n))
				frames++
			}
			switch rnd.IntN(30) {
			case 0:
				take(a.through(time.Duration(rnd.Int64N(int64(20 * time.Second)))))
			case 1:
				take(a.last())
			case 2:
				a.restart()
				for i := range a.open {
					a.wrote(320, a.open[i].n)
				}
			}
		}
		take(a.last())
		var got uint64
		for _, c := range p.Refused[1] {
			got += c
		}
		if p.Frames[1] != frames || got != refused || p.Covered[1] != n || len(a.open) != 0 {
			t.Fatalf("seed %d: %d of %d frames, %d of %d refused, through %d of %d", seed, p.Frames[1], frames, got, refused, p.Covered[1], n)
		}
	}
}

// TestAccountKeepsItsMemory lets a source speak, with a final for all but the last two of
// every 50 frames, and be silent then.
func TestAccountKeepsItsMemory(t *testing.T) {
	t.Parallel()
	a := account{source: 1}
	n, covered := uint64(0), uint64(0)
	speak := func() {
		for range 50 {
			n++
			a.add(openFrame{n: n, count: 1, packet: -1, payload: []byte{1}})
		}
		c, ok := a.cover(n - 2)
		if !ok || c.first != covered+1 || c.last != n-2 || c.frames != n-2-covered {
			t.Fatalf("covered %+v, want frames %d to %d", c, covered+1, n-2)
		}
		if covered = c.last; len(a.open) != 2 || a.open[0].n != n-1 || a.open[1].n != n || a.open[1].payload == nil {
			t.Fatalf("open are %+v, want frames %d and %d", a.open, n-1, n)
		}
	}
	speak()
	speak()
	memory := &a.open[0]
	for range 10 {
		speak()
	}
	if &a.open[0] != memory {
		t.Error("a source that goes on speaking took new memory")
	}
	for _, f := range a.open[2:cap(a.open)] {
		if f.payload != nil {
			t.Fatalf("the payload of frame %d is kept although it is covered", f.n)
		}
	}
	if a.shrink(); len(a.open) != 2 {
		t.Fatal("open frames were forgotten")
	}
	a.cover(n)
	if a.shrink(); a.open != nil {
		t.Error("a silent source keeps memory")
	}
	for range 10 * maxSpareOpen {
		n++
		a.add(openFrame{n: n, count: 1, packet: -1})
	}
	if a.cover(n - 1); len(a.open) != 1 || cap(a.open) > maxSpareOpen {
		t.Errorf("%d frames are open in memory for %d", len(a.open), cap(a.open))
	}
}
