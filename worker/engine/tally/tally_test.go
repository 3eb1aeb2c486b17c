package tally

import (
	"context"
	"hash/fnv"
	"sync"
	"testing"
	"time"

	"stenobus/worker"
)

// hear runs frames through a stream and returns what it emitted.
func hear(t *testing.T, cfg Config, frames []worker.Audio) (results []worker.Result, err error) {
	t.Helper()
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	s, err := e.Open(t.Context(), worker.StreamConfig{}, func(r worker.Result) {
		mu.Lock()
		defer mu.Unlock()
		results = append(results, r)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, f := range frames {
		if err := s.Write(t.Context(), f); err != nil {
			return results, err
		}
	}
	err = s.Flush(t.Context())
	mu.Lock()
	defer mu.Unlock()
	return results, err
}

func frames(numbers ...uint64) (out []worker.Audio) {
	for _, n := range numbers {
		out = append(out, worker.Audio{Frame: n, Packet: []byte{byte(n), 1}})
	}
	return out
}

func TestStatements(t *testing.T) {
	t.Parallel()
	got, err := hear(t, Config{Every: 4, Interim: 2}, frames(1, 2, 3, 7, 8))
	if err != nil || len(got) != 3 {
		t.Fatalf("%v, %v", got, err)
	}
	sum := fnv.New64a()
	for _, f := range frames(1, 2, 3, 7) {
		sum.Write(f.Packet)
	}
	st, err := Parse(got[1].Text)
	if err != nil || !got[1].Final || st.Count != 4 || st.Sum != sum.Sum64() || got[1].Through != 7 {
		t.Errorf("final %+v says %+v, %v", got[1], st, err)
	}
	if st.Frames[3] != 7 || got[0].Final {
		t.Errorf("statement %+v after interim %+v", st, got[0])
	}
	if st, err = Parse(got[2].Text); err != nil || st.Frames[0] != 8 || st.Count != 1 {
		t.Errorf("flush said %+v, %v", st, err)
	}
}

func TestHeldFinalsComeInOrderBeforeFlushReturns(t *testing.T) {
	t.Parallel()
	got, err := hear(t, Config{Every: 2, Interim: -1, Hold: 30 * time.Millisecond}, frames(1, 2, 3, 4, 5))
	if err != nil || len(got) != 3 || got[0].Through != 2 || got[1].Through != 4 || got[2].Through != 5 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestFailsWhenTold(t *testing.T) {
	t.Parallel()
	if _, err := hear(t, Config{FailAt: 3}, frames(1, 2, 3)); err == nil {
		t.Error("did not fail at frame 3")
	}
	e, _ := New(Config{FailAt: 3, Fails: 1})
	for i, want := range []bool{true, false} {
		s, _ := e.Open(t.Context(), worker.StreamConfig{}, func(worker.Result) {})
		if err := s.Write(t.Context(), frames(3)[0]); (err != nil) != want {
			t.Errorf("stream %d: %v", i, err)
		}
		_ = s.Close()
	}
}

func TestSlowObeysContext(t *testing.T) {
	t.Parallel()
	e, _ := New(Config{Slow: time.Hour})
	s, _ := e.Open(t.Context(), worker.StreamConfig{}, func(worker.Result) {})
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Write(ctx, frames(1)[0]); err == nil {
		t.Error("waited an hour for nothing")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("frames 1-50,53 count 51 fnv1a 00112233aabbccdd")
	f.Add("frames 9-1 count 1 fnv1a 0")
	f.Fuzz(func(t *testing.T, text string) {
		st, err := Parse(text)
		if err == nil && len(st.Frames) != st.Count {
			t.Fatalf("%q: %+v", text, st)
		}
	})
}
