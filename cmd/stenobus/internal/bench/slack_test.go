package bench

import (
	"testing"
	"time"
)

func TestSlack(t *testing.T) {
	t.Parallel()
	due := time.Unix(1000, 0)
	for name, c := range map[string]struct {
		late time.Duration
		busy bool
		want time.Duration
	}{
		"the timer struck late":            {300 * time.Microsecond, false, 300 * time.Microsecond},
		"it struck later than timers do":   {5 * time.Millisecond, false, time.Millisecond},
		"the server did not read":          {300 * time.Microsecond, true, 0},
		"the clock was set back meanwhile": {-time.Second, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s slack
			s.note(7, due, due.Add(c.late), c.busy)
			if got := s.of(7, due).Sub(due); got != c.want {
				t.Errorf("counts from %v after it was due, want %v", got, c.want)
			}
		})
	}
}
