package gateway

import (
	"math/rand/v2"
	"testing"
	"time"

	"stenobus/subjects"
)

func frame(source uint32, at int64) entry {
	return entry{kind: subjects.KindFrames, source: source, payload: []byte("12345678"), packet: -1, at: at}
}

func start(source uint32) entry {
	e := frame(source, 0)
	e.starts = &subjects.Source{Source: source}
	return e
}

// popAll pops everything and returns the numbers sent, in order.
func popAll(s *sender) (numbers []uint64, kinds []subjects.Kind) {
	for {
		out, ok := s.pop()
		if !ok {
			return numbers, kinds
		}
		e := out.envelope
		kinds = append(kinds, e.Kind)
		to := e.N + uint64(max(1, len(e.Frames))) - 1
		if e.Kind == subjects.KindSkip {
			to = e.To
		}
		for n := e.N; n <= to; n++ {
			numbers = append(numbers, n)
		}
	}
}

func TestSenderKeepsUntilCovered(t *testing.T) {
	t.Parallel()
	s := newSender()
	s.push(start(1))
	for i := range int64(5) {
		s.push(frame(1, i*20))
	}
	if _, ok := s.pop(); ok {
		t.Fatal("sent before an owner was ready")
	}
	n, live := s.begin(nil, 0)
	if n != 1 || len(live) != 0 {
		t.Fatalf("begin at %d with %v, want 1 and no source", n, live)
	}
	if got, _ := popAll(s); len(got) != 6 {
		t.Fatalf("sent %v", got)
	}
	s.ack(6)
	if s.base != 1 {
		t.Errorf("window begins at %d: received is not covered", s.base)
	}
	s.cover(map[uint32]uint64{1: 4})
	if s.base != 5 || s.uncoveredTo(s.last()) != 2 || s.bytes != 2*(8+entryCost) {
		t.Errorf("base %d uncovered %d bytes %d, want 5, 2 and those of 2 frames", s.base, s.uncoveredTo(s.last()), s.bytes)
	}
	n, live = s.begin(map[uint32]uint64{1: 5}, 0) // another worker
	if n != 6 || len(live) != 1 || live[0].Source != 1 {
		t.Errorf("goes on at %d with %v, want 6 and source 1", n, live)
	}
	if got, _ := popAll(s); len(got) != 1 || got[0] != 6 {
		t.Errorf("sent %v, want 6", got)
	}
}

func TestSenderSendsAgainWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := newSender()
	for i := range int64(10) {
		s.push(frame(1, i*20))
	}
	s.begin(nil, 0)
	popAll(s)
	s.nak(3, 4)
	s.nak(3, 4)   // asked twice before the answer
	s.nak(20, 30) // never sent
	got, _ := popAll(s)
	if len(got) != 2 || got[0] != 3 || got[1] != 4 || s.replayed[1] != 2 {
		t.Errorf("sent again %v, replayed %d", got, s.replayed)
	}
}

func TestSenderHasAWindowInFlight(t *testing.T) {
	t.Parallel()
	s := newSender()
	for i := range int64(2 * maxInFlight) {
		s.push(frame(1, i*20))
	}
	s.begin(nil, 0)
	if got, _ := popAll(s); len(got) != maxInFlight {
		t.Fatalf("%d in flight, want %d", len(got), maxInFlight)
	}
	s.ack(100)
	if got, _ := popAll(s); len(got) != 100 {
		t.Fatalf("%d more after 100 acknowledged", len(got))
	}
}

func TestSenderGivesUpTheOldest(t *testing.T) {
	t.Parallel()
	s := newSender()
	s.push(start(1))
	for i := range int64(100) {
		s.push(frame(1+uint32(i%2), i*20))
	}
	lost, announce := s.giveUp(time.Second, 1<<20)
	if lost != 50 || !announce {
		t.Fatalf("lost %d (announce %v), want 50 and a new announce for the start among them", lost, announce)
	}
	n, live := s.begin(nil, 0)
	if n != 1 || len(live) != 1 {
		t.Fatalf("begin at %d with %v", n, live)
	}
	got, kinds := popAll(s)
	if len(got) != 101 || kinds[0] != subjects.KindSkip {
		t.Fatalf("sent %d numbers beginning with %s", len(got), kinds[0])
	}
	if more, _ := s.giveUp(time.Second, 1<<20); more != 0 {
		t.Errorf("gave up %d more with room enough", more)
	}
	skip, ten := s.window[0].size(), 10*(8+entryCost)
	if lost, _ = s.giveUp(time.Hour, skip+ten); lost != 41 || s.bytes != ten+s.window[0].size() {
		t.Errorf("gave up %d, %d bytes are left, want 41 and 10 frames behind a skip", lost, s.bytes)
	}
	s.ack(101)
	s.cover(map[uint32]uint64{1: 101, 2: 101})
	if len(s.window) != 0 {
		t.Errorf("%d entries left", len(s.window))
	}
}

// A frame that no message holds is told by a skip in its place, and the next one says how
// its source begins.
func TestSenderSkipsWhatIsTooBig(t *testing.T) {
	t.Parallel()
	s := newSender()
	big := frame(1, 20)
	big.tooBig, big.payload = true, nil
	for _, e := range []entry{frame(2, 0), big, start(1), frame(1, 60)} {
		s.push(e)
	}
	s.begin(nil, 0)
	s.pop()
	out, _ := s.pop()
	skip, err := subjects.Decode[subjects.Skip](out.envelope.Kind, out.payload)
	if err != nil || out.envelope.N != 2 || out.envelope.To != 2 || skip.Reason != subjects.RefusedTooBig ||
		len(skip.Runs) != 1 || skip.Runs[0] != (subjects.Run{Source: 1, Count: 1}) {
		t.Fatalf("sent %+v with %+v (%v), want a skip of 2", out.envelope, skip, err)
	}
	if got, kinds := popAll(s); len(got) != 2 || kinds[0] != subjects.KindStart {
		t.Errorf("then sent %v %v", got, kinds)
	}
	s.ack(4)
	if s.uncoveredTo(4) != 4 || s.accepted[1] != 3 {
		t.Errorf("%d frames are not covered, %d of source 1 accepted; want 4 and 3", s.uncoveredTo(4), s.accepted[1])
	}
}

// What was given up, however long, goes out in messages that the bus takes, whole and
// without a gap, and an owner may have any part of it.
func TestSenderSkipsInParts(t *testing.T) {
	t.Parallel()
	const frames = 1000
	s := newSender()
	s.room = 100 * runRoom
	for i := range int64(frames) {
		s.push(frame(1+uint32(i%3), i))
	}
	s.giveUp(0, 0)
	for _, from := range []uint64{1, 2, 500, frames} {
		s.begin(nil, from)
		next := from
		for out, ok := s.pop(); ok; out, ok = s.pop() {
			skip, err := subjects.Decode[subjects.Skip](out.envelope.Kind, out.payload)
			if err != nil || len(out.payload) > s.room || out.envelope.N != next {
				t.Fatalf("%d bytes from %d (%v), want at most %d from %d", len(out.payload), out.envelope.N, err, s.room, next)
			}
			for _, r := range skip.Runs {
				if want := 1 + uint32((next-1)%3); r.Source != want || r.Count != 1 {
					t.Fatalf("number %d is of %+v, want source %d", next, r, want)
				}
				next++
			}
			if out.envelope.To != next-1 {
				t.Fatalf("skip to %d has runs to %d", out.envelope.To, next-1)
			}
			s.ack(next - 1) // or there are too many in flight
		}
		if next != frames+1 {
			t.Errorf("from %d the skips end before %d", from, next)
		}
	}
}

// Any mixture of loss, reports, acknowledgements, results, give-ups and changes of
// owner: every number reaches the last owner, or its results cover it.
func TestSenderProperty(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		s := newSender()
		s.room = 4 * runRoom     // a skip of many runs takes several messages
		got := map[uint64]bool{} // by the present owner
		next := uint64(1)        // the owner's
		covered := map[uint32]uint64{}
		source := map[uint64]uint32{}
		deliver := func() {
			for {
				out, ok := s.pop()
				if !ok {
					break
				}
				to := out.envelope.N + uint64(max(1, len(out.envelope.Frames))) - 1
				if out.envelope.Kind == subjects.KindSkip {
					to = out.envelope.To
				}
				if rnd.IntN(5) == 0 {
					continue // lost
				}
				for n := out.envelope.N; n <= to; n++ {
					got[n] = true
				}
			}
			for got[next] {
				next++
			}
		}
		owner := func() {
			n, _ := s.begin(covered, 0)
			got, next = map[uint64]bool{}, n
		}
		owner()
		at := int64(0)
		for range 400 {
			switch rnd.IntN(10) {
			case 0:
				if rnd.IntN(10) == 0 {
					s.giveUp(500*time.Millisecond, entryCost*(1+rnd.IntN(50)))
				}
			case 1:
				s.ack(next - 1)
			case 2:
				for n := next; n < s.next; n++ {
					if !got[n] {
						s.nak(n, n)
					}
				}
			case 3: // a result for one source
				src := uint32(1 + rnd.IntN(2))
				for n := next - 1; n > 0; n-- {
					if source[n] == src {
						covered[src] = max(covered[src], n)
						break
					}
				}
				s.cover(covered)
			case 4:
				if rnd.IntN(5) == 0 {
					owner()
				}
			case 5:
				s.push(entry{kind: subjects.KindFlush, source: 1})
			default:
				at += 20
				f := frame(uint32(1+rnd.IntN(2)), at)
				if rnd.IntN(20) == 0 {
					f.tooBig, f.payload = true, nil
				}
				source[s.push(f)] = f.source
			}
			deliver()
		}
		for i := 0; next < s.end; i++ {
			if i > 10_000 {
				t.Fatalf("seed %d: stuck at %d of %d", seed, next, s.end)
			}
			s.ack(next - 1)
			s.nak(next, s.next-1)
			deliver()
		}
		s.ack(next - 1)
		s.cover(map[uint32]uint64{1: s.end, 2: s.end})
		if len(s.window) != 0 || s.bytes != 0 {
			t.Fatalf("seed %d: %d entries, %d bytes left", seed, len(s.window), s.bytes)
		}
	}
}

// rounds makes a sender, and what says so many frames more that are sent and received, and
// covered but for the last ones.
func rounds(open uint64) (s *sender, round func(frames int)) {
	s = newSender()
	s.begin(nil, 1)
	payload, covered := make([]byte, 120), map[uint32]uint64{}
	return s, func(frames int) {
		for range frames {
			s.push(entry{kind: subjects.KindFrames, source: 1, payload: payload})
		}
		s.next = s.end
		s.ack(s.end - 1)
		covered[1] = s.last() - open
		s.cover(covered)
	}
}

// Results that cover all leave the window its memory for what the source says next. A session
// that is silent gives it back, and so does one whose window was long.
func TestEmptyWindowKeepsItsMemory(t *testing.T) {
	s, round := rounds(0)
	if round(20); !s.empty() {
		t.Fatalf("%d entries wait for nothing", len(s.window))
	}
	if n := testing.AllocsPerRun(10, func() { round(20) }); n > 0 {
		t.Errorf("%v allocations for 20 frames", n)
	}
	if s.rest(); s.memory != nil || s.window != nil {
		t.Errorf("memory for %d entries in silence", len(s.memory))
	}
	if round(3000); s.memory != nil {
		t.Errorf("memory for %d entries remains of a window that was long", len(s.memory))
	}
}

// The beat of a session that has sent nothing for a while gives an empty window's memory back.
func TestSilenceGivesMemoryBack(t *testing.T) {
	t.Parallel()
	s, now := still(t, Config{}), time.Now()
	s.numbered, s.phase = true, streaming
	s.snd.begin(nil, 1)
	s.snd.push(frame(1, 0))
	s.snd.next = s.snd.end
	s.snd.ack(1)
	s.snd.cover(map[uint32]uint64{1: 1})
	s.sent = now
	if s.beat(now); s.snd.memory == nil {
		t.Error("who has just spoken has no memory")
	}
	if s.beat(now.Add(beatEvery)); s.snd.memory != nil {
		t.Errorf("memory for %d entries in silence", len(s.snd.memory))
	}
}

// A window that moves on takes no new memory, and after a long one its memory is given back.
func TestWindowThatMovesTakesNoMemory(t *testing.T) {
	s, round := rounds(10)
	for range 50 {
		round(50)
	}
	many := func() {
		for range 50 {
			round(50)
		}
	}
	if n := testing.AllocsPerRun(10, many); n > 0 {
		t.Errorf("%v allocations for 2500 frames", n)
	}
	if len(s.memory) > 256 {
		t.Errorf("memory for %d entries where at most 60 wait", len(s.memory))
	}
	round(3000)
	for range 200 {
		round(50)
	}
	if len(s.memory) > 256 {
		t.Errorf("memory for %d entries remains of a window that was long", len(s.memory))
	}
}
