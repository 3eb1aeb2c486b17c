package tally

import (
	"bytes"
	"context"
	"hash/fnv"
	"slices"
	"strings"
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

func TestNumberedFramesAreNamed(t *testing.T) {
	t.Parallel()
	var in []worker.Audio
	for i, n := range []Number{{3, 1, 1001}, {3, 1, 1002}, {3, 1, 1004}, {3, 1, 1003}, {4, 2, 1004}} {
		in = append(in, worker.Audio{Frame: uint64(i + 1), Packet: n.Append(nil, 40)})
	}
	in = append(in, worker.Audio{Frame: 6, Packet: []byte("no number")})
	got, err := hear(t, Config{Every: 6, Interim: -1}, in)
	if err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	if want := " audio 3/1/1001-1002,3/1/1004,3/1/1003,4/2/1004"; !strings.HasSuffix(got[0].Text, want) {
		t.Errorf("text %q, want %q at its end", got[0].Text, want)
	}
	st, err := Parse(got[0].Text)
	want := []Run{{3, 1, 1001, 1002}, {3, 1, 1004, 1004}, {3, 1, 1003, 1003}, {4, 2, 1004, 1004}}
	if err != nil || !slices.Equal(st.Audio, want) {
		t.Errorf("says %+v, %v, want %+v", st, err, want)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "hello", "frames 1 count 1", "frames 1 count x fnv1a 0", "frames 1 count 1 fnv1a z", "frames 2-1 count 0 fnv1a 0",
		"frames 1-2 count 1 fnv1a 0", "frames 1-9999999 count 9999999 fnv1a 0",
		"frames 1 count 1 fnv1a 0 audio 1/1/1-2", "frames 1 count 1 fnv1a 0 audio 1/1", "frames 1 count 1 fnv1a 0 audio 1/1/0",
		"frames 1 count 1 fnv1a 0 audio 1/1/1,1/1/2", "frames 1 count 1 fnv1a 0 audio 5000000000/1/1",
	} {
		if st, err := Parse(text); err == nil {
			t.Errorf("%q gives %+v", text, st)
		}
	}
	if st, err := Parse("frames 1 count 1 fnv1a ff words of a later version"); err != nil || st.Sum != 255 || st.Audio != nil {
		t.Errorf("%+v, %v", st, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("frames 1-50,53 count 51 fnv1a 00112233aabbccdd")
	f.Add("frames 9-1 count 1 fnv1a 0")
	f.Add("frames 1-3 count 3 fnv1a 0 audio 3/1/1001-1002,3/1/1004")
	f.Fuzz(func(t *testing.T, text string) {
		st, err := Parse(text)
		if err != nil {
			return
		}
		numbered := uint64(0)
		for _, r := range st.Audio {
			numbered += r.Last - r.First + 1
		}
		if len(st.Frames) != st.Count || numbered > uint64(st.Count) {
			t.Fatalf("%q: %+v", text, st)
		}
		if again, err := parseRuns(string(appendRuns(nil, st.Audio)), st.Count); len(st.Audio) > 0 && (err != nil || !slices.Equal(again, st.Audio)) {
			t.Fatalf("%q: %+v, then %+v, %v", text, st.Audio, again, err)
		}
	})
}

func FuzzNumber(f *testing.F) {
	f.Add(uint32(3), uint32(1), uint64(1001), 120, []byte("xnum"))
	f.Add(uint32(0), uint32(0), uint64(0), 0, []byte{})
	f.Fuzz(func(t *testing.T, session, source uint32, n uint64, size int, other []byte) {
		want := Number{session, source, n}
		b := want.Append([]byte("head"), size%2000)[4:]
		if len(b) != max(size%2000, NumberedLeast) {
			t.Fatalf("%d bytes, want %d", len(b), size%2000)
		}
		if got, ok := ReadNumber(b); ok != (n != 0 && n < 1<<63) || got != want {
			t.Fatalf("%+v, %v, want %+v", got, ok, want)
		}
		if got, ok := ReadNumber(other); ok && !bytes.Equal(got.Append(nil, NumberedLeast), other[:NumberedLeast]) {
			t.Fatalf("%q is %+v", other, got)
		}
	})
}
