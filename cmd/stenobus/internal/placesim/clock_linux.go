package placesim

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the CPU time that this thread has used. Others on the machine do not count.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
