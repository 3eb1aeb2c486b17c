package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	readyWait = 30 * time.Second
	stopWait  = 20 * time.Second
)

// Child is a program that serves until it is stopped and tells its address when it is
// ready, in a line "... is ready: ADDRESS ...". It does not outlive this process.
type Child struct {
	URL  string
	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of its end; read it after done
}

// StartChild runs the program and waits until it is ready. What it logs goes to stderr.
func StartChild(ctx context.Context, stderr io.Writer, program string, args ...string) (*Child, error) {
	c := &Child{name: args[0], cmd: exec.Command(program, args...), done: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	c.cmd.Stdout, c.cmd.Stderr = w, stderr
	c.cmd.SysProcAttr = bound()
	started := make(chan error, 1)
	go c.live(started)
	err = <-started
	_ = w.Close() // the child's end is the child's
	if err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	if err := c.awaitReady(ctx, r); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is not ready: %w", c.name, err), c.Stop())
	}
	return c, nil
}

// live starts the process and waits for it on one thread: where a child dies with its
// parent it dies with the thread that made it.
func (c *Child) live(started chan<- error) {
	defer close(c.done)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.cmd.Start()
	started <- err
	if err == nil {
		c.err = c.cmd.Wait()
	}
}

// awaitReady reads the address. What the child prints after it is thrown away.
func (c *Child) awaitReady(ctx context.Context, r io.ReadCloser) error {
	url := make(chan string, 1)
	go func() {
		defer r.Close()
		b := bufio.NewReader(r)
		line, _ := b.ReadString('\n') // what is wrong with the child is in its log
		url <- address(line)
		_, _ = io.Copy(io.Discard, b)
	}()
	timer := time.NewTimer(readyWait)
	defer timer.Stop()
	select {
	case c.URL = <-url:
		if c.URL == "" {
			return errors.New("it did not say where it is")
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("nothing heard of it for %v", readyWait)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// address is the first word after "is ready:", empty where there is none.
func address(line string) string {
	_, rest, _ := strings.Cut(line, " is ready:")
	if words := strings.Fields(rest); len(words) > 0 {
		return words[0]
	}
	return ""
}

// usage is what the child has used up to now.
func (c *Child) usage() (usage, error) { return usageOf(c.cmd.Process.Pid) }

// Stop ends the child in order, or by force if that takes too long.
func (c *Child) Stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails where it has ended
	timer := time.NewTimer(stopWait)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		_ = c.cmd.Process.Kill()
		<-c.done
		return fmt.Errorf("%s did not stop within %v", c.name, stopWait)
	}
	if c.err != nil {
		return fmt.Errorf("%s ended: %w", c.name, c.err)
	}
	return nil
}
