package main

import "testing"

// Sessions lend the heap their memory until garbage is collected, those that stream more; what
// they really need never brings collections closer together than at the least growth.
func TestGrowth(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		live, stacks    uint64 // kB
		open, streaming int
		want            int
	}{
		"none":                       {2 << 10, 500, 0, 0, leastGrowth},
		"just started":               {0, 0, 0, 0, mostGrowth},
		"idle":                       {22 << 10, 8 << 10, 1000, 0, leastGrowth},
		"slow speakers":              {27 << 10, 3 << 10, 1000, 1000, 183},
		"half of them speak":         {27 << 10, 3 << 10, 1000, 500, 95},
		"real time":                  {60 << 10, 4 << 10, 1000, 1000, leastGrowth},
		"hardly any memory":          {4 << 10, 1 << 10, 1000, 1000, mostGrowth},
		"a session that just left":   {2 << 10, 500, 0, 1, leastGrowth},
		"more than they should need": {500 << 10, 100 << 10, 1000, 1000, leastGrowth},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := growth(tc.live<<10, tc.stacks<<10, tc.open, tc.streaming); got != tc.want {
				t.Errorf("growth %d %%, want %d", got, tc.want)
			}
		})
	}
}

func TestHeapInUse(t *testing.T) {
	t.Parallel()
	if _, stacks := heapInUse(); stacks == 0 {
		t.Error("goroutines without stacks")
	}
}
