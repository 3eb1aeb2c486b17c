package gateway

import (
	"testing"
	"time"

	"stenobus/gateway/dialect"
)

func TestPatience(t *testing.T) {
	t.Parallel()
	var (
		wrong  = []dialect.Event{{Kind: dialect.Notice}}
		frame  = []dialect.Event{{Kind: dialect.Media}}
		warned = []dialect.Event{{Kind: dialect.Notice}, {Kind: dialect.Media}}
	)
	type run struct {
		count  int
		events []dialect.Event
	}
	for name, tc := range map[string]struct {
		runs   []run
		waited int // how many messages were followed by a pause
	}{
		"frames":                     {[]run{{1000, frame}}, 0},
		"pings":                      {[]run{{1000, nil}}, 0},
		"frames that were warned of": {[]run{{1000, warned}}, 0},
		"a burst of nonsense":        {[]run{{patienceFor, wrong}}, 0},
		"nothing but nonsense":       {[]run{{patienceFor, wrong}, {40, wrong}}, 40},
		"sense earns patience":       {[]run{{patienceFor, wrong}, {10, frame}, {10, wrong}}, 0},
		"sense is not saved up":      {[]run{{1000, frame}, {patienceFor + 1, wrong}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p patience
			got := 0
			for _, r := range tc.runs {
				for range r.count {
					if p.try(r.events) > 0 {
						got++
					}
				}
			}
			if got != tc.waited {
				t.Errorf("it waited %d times, want %d", got, tc.waited)
			}
		})
	}
}

// A client whose every frame comes beside something unknown is read as fast as it sends.
func TestPatienceWithExtensions(t *testing.T) {
	t.Parallel()
	var p patience
	for i := range 10_000 {
		wait := p.try([]dialect.Event{{Kind: dialect.Notice}})
		if wait += p.try([]dialect.Event{{Kind: dialect.Media}}); wait > 0 {
			t.Fatalf("it waits after %d frames", i)
		}
	}
}

// A source begins its packet numbers anew, so that its packets look old for a while. They are
// read as fast as it speaks: what comes after them is not late.
func TestPatienceWithASpeaker(t *testing.T) {
	t.Parallel()
	const frame = 20 * time.Millisecond
	var p patience
	for i := range 1000 {
		if wait := p.try([]dialect.Event{{Kind: dialect.Notice}}); wait >= frame {
			t.Fatalf("after %d packets one is read every %v, they come every %v", i, wait, frame)
		}
	}
}
