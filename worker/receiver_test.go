package worker

import (
	"math/rand/v2"
	"testing"
)

// collect takes everything that is in order.
func collect(r *receiver) (got []uint64) {
	for {
		if _, ok := r.peek(); !ok {
			return got
		}
		got = append(got, r.next)
		r.take()
	}
}

func TestReceiver(t *testing.T) {
	t.Parallel()
	type span struct{ n, to uint64 }
	tests := []struct {
		name  string
		begin uint64
		in    []span
		next  uint64
		dups  uint64
		hole  span
	}{
		{"in order", 1, []span{{1, 1}, {2, 4}, {5, 5}}, 6, 0, span{}},
		{"hole", 1, []span{{1, 2}, {5, 6}}, 3, 0, span{3, 4}},
		{"hole filled", 1, []span{{1, 2}, {5, 6}, {3, 4}}, 7, 0, span{}},
		{"twice", 1, []span{{1, 2}, {1, 2}, {3, 3}}, 4, 2, span{}},
		{"resent in other portions", 1, []span{{1, 1}, {3, 5}, {2, 3}, {4, 4}}, 6, 1, span{}},
		{"begins later", 10, []span{{8, 9}, {10, 11}}, 12, 2, span{}},
		{"early twice", 1, []span{{3, 4}, {3, 4}}, 1, 2, span{1, 2}},
		{"longer resend over a shorter early one", 1, []span{{3, 3}, {3, 5}, {1, 2}}, 6, 0, span{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var r receiver
			r.begin(tt.begin)
			for _, s := range tt.in {
				r.offer(arrival{n: s.n, to: s.to})
				collect(&r)
			}
			from, to, _ := r.hole()
			if r.next != tt.next || (span{from, to}) != tt.hole {
				t.Errorf("next %d hole %d-%d, want %d %v", r.next, from, to, tt.next, tt.hole)
			}
			if r.dups < tt.dups {
				t.Errorf("dups %d, want at least %d", r.dups, tt.dups)
			}
		})
	}
}

// Whatever is lost, doubled or reordered on the way: a sender that answers hole
// reports is taken once and in order.
func TestReceiverProperty(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		last := uint64(50 + rnd.IntN(2000))
		var r receiver
		r.begin(1)
		want := uint64(1)
		check := func() {
			for _, n := range collect(&r) {
				if n != want {
					t.Fatalf("seed %d: took %d, want %d", seed, n, want)
				}
				want++
			}
		}
		for n := uint64(1); n <= last; {
			to := min(n+uint64(rnd.IntN(5)), last)
			for range rnd.IntN(3) { // 0: lost, 2: doubled
				r.offer(arrival{n: n, to: to})
			}
			if rnd.IntN(4) == 0 && n > 10 { // an old one again, in other portions
				r.offer(arrival{n: n - uint64(rnd.IntN(9)), to: n})
			}
			check()
			n = to + 1
		}
		r.top = last // the sender's last number, repeated while it is quiet
		for range 100_000 {
			from, to, ok := r.hole()
			if !ok {
				break
			}
			if from != want {
				t.Fatalf("seed %d: hole from %d, want %d", seed, from, want)
			}
			r.offer(arrival{n: from, to: min(from+uint64(rnd.IntN(3)), to)})
			check()
		}
		if want != last+1 {
			t.Fatalf("seed %d: ended at %d of %d", seed, want-1, last)
		}
		if len(r.held) != 0 {
			t.Fatalf("seed %d: %d messages still held", seed, len(r.held))
		}
	}
}
