//go:build !linux

package placesim

import (
	"time"
)

// threadTime is the time of the clock here: compare figures of an idle machine only.
func threadTime() time.Duration { return time.Duration(time.Now().UnixNano()) }
