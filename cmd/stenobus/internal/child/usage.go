package child

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc, the same on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// Usage is what a child has used up to now.
type Usage struct {
	CPU    time.Duration // in user and kernel, of all its processes
	RSSKB  int64         // resident now
	AnonKB int64         // of that what is its own: no pages of files, such as the program's code
	IO     int64         // bytes read and written, of sockets and files; 0: the system does not tell
}

// Usage is what the child has used up to now.
func (c *Child) Usage() (Usage, error) {
	u, err := UsageOf(c.present().cmd.Process.Pid)
	c.mu.Lock()
	defer c.mu.Unlock()
	u.CPU += c.past
	return u, err
}

// CPU is the time that the child and the processes before it have used, as far as the
// system still knows.
func (c *Child) CPU() time.Duration {
	l := c.present()
	select {
	case <-l.done:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.past + l.used()
	default:
	}
	u, _ := c.Usage()
	return u.CPU
}

// used is the time that a process used which has ended.
func (l *life) used() time.Duration {
	if s := l.cmd.ProcessState; s != nil {
		return s.UserTime() + s.SystemTime()
	}
	return 0
}

// UsageOf is what any process has used. It reads /proc, which other systems than Linux
// do not have.
func UsageOf(pid int) (Usage, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return Usage{}, fmt.Errorf("CPU time of a process: %w", err)
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return Usage{}, fmt.Errorf("memory of a process: %w", err)
	}
	io, _ := os.ReadFile(dir + "/io") // of others' processes it may not be read
	u := Usage{IO: parseIO(io)}
	var errCPU, errRSS, errAnon error
	u.CPU, errCPU = parseStat(stat)
	u.RSSKB, errRSS = parseStatus(status, "VmRSS")
	u.AnonKB, errAnon = parseStatus(status, "RssAnon")
	return u, errors.Join(errCPU, errRSS, errAnon)
}

// parseStat reads utime and stime from /proc/PID/stat. The name before them is in
// parentheses and may hold anything, parentheses too.
func parseStat(stat []byte) (time.Duration, error) {
	const utime, stime = 11, 12 // counted from the field behind the name
	end := bytes.LastIndexByte(stat, ')')
	fields := strings.Fields(string(stat[end+1:]))
	if end < 0 || len(fields) <= stime {
		return 0, fmt.Errorf("/proc stat %q has no CPU times", stat)
	}
	user, err1 := strconv.ParseInt(fields[utime], 10, 63)
	kernel, err2 := strconv.ParseInt(fields[stime], 10, 63)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("/proc stat: %w", err)
	}
	return time.Duration(user+kernel) * tick, nil
}

// parseStatus reads a size in kB from /proc/PID/status.
func parseStatus(status []byte, name string) (int64, error) {
	for line := range strings.Lines(string(status)) {
		rest, ok := strings.CutPrefix(line, name+":")
		if !ok {
			continue
		}
		kb, ok := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		if !ok {
			return 0, fmt.Errorf("/proc status: %s is %q, want kB", name, rest)
		}
		return strconv.ParseInt(strings.TrimSpace(kb), 10, 63)
	}
	return 0, fmt.Errorf("/proc status has no %s", name)
}

// parseIO reads from /proc/PID/io what went through a process.
func parseIO(text []byte) (sum int64) {
	for line := range strings.Lines(string(text)) {
		if name, v, _ := strings.Cut(line, ":"); name == "rchar" || name == "wchar" {
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 63)
			sum += n
		}
	}
	return sum
}

// Own is what this process has used.
func Own() (Usage, error) { return UsageOf(os.Getpid()) }
