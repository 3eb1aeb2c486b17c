// Package child starts other programs as processes of their own, and does to them what
// may happen to a process: end in order or at once, sleep and wake, begin again.
package child

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
	"sync"
	"syscall"
	"time"
)

const (
	readyWait = 30 * time.Second
	stopWait  = 20 * time.Second
)

// ErrKilled is wrapped where a child did not stop in time and was killed.
var ErrKilled = errors.New("did not stop in time")

// Config says what to start.
type Config struct {
	Name    string // in errors; empty: the first argument
	Program string
	Args    []string
	Log     io.Writer     // takes what it writes to stderr; a *os.File is handed over as it is
	Ready   time.Duration // it has so long to become ready; 0: 30 s
}

// Child is a program that serves until it is stopped and tells its address when it is
// ready, in a line "... is ready: ADDRESS ...". It does not outlive this process. Its
// methods may be called by several goroutines.
type Child struct {
	cfg Config

	mu   sync.Mutex // guards what follows
	life *life      // the present process, or the last
	past time.Duration
	url  string
}

// life is one process.
type life struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of its end; read it after done
}

// Start runs the program and waits until it is ready.
func Start(ctx context.Context, cfg Config) (*Child, error) {
	if cfg.Name == "" && len(cfg.Args) > 0 {
		cfg.Name = cfg.Args[0]
	}
	if cfg.Ready == 0 {
		cfg.Ready = readyWait
	}
	c := &Child{cfg: cfg}
	if err := c.Restart(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Restart runs the program again, with the same arguments, when the process before it
// has ended, and waits until it is ready.
func (c *Child) Restart(ctx context.Context) error {
	if l := c.present(); l != nil {
		select {
		case <-l.done:
		default:
			return fmt.Errorf("start %s: it runs already", c.cfg.Name)
		}
	}
	l := &life{cmd: exec.Command(c.cfg.Program, c.cfg.Args...), done: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", c.cfg.Name, err)
	}
	l.cmd.Stdout, l.cmd.Stderr = w, c.cfg.Log
	l.cmd.SysProcAttr = bound()
	started := make(chan error, 1)
	go l.run(started)
	err = <-started
	_ = w.Close() // the child's end is the child's
	if err != nil {
		_ = r.Close()
		return fmt.Errorf("start %s: %w", c.cfg.Name, err)
	}
	c.begin(l)
	if err := c.awaitReady(ctx, l, r); err != nil {
		return errors.Join(fmt.Errorf("%s is not ready: %w", c.cfg.Name, err), c.Stop())
	}
	return nil
}

func (c *Child) begin(l *life) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life != nil {
		c.past += c.life.used()
	}
	c.life = l
}

func (c *Child) present() *life {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.life
}

// run starts the process and waits for it on one thread: where a child dies with its
// parent it dies with the thread that made it.
func (l *life) run(started chan<- error) {
	defer close(l.done)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := l.cmd.Start()
	started <- err
	if err == nil {
		l.err = l.cmd.Wait()
	}
}

// awaitReady reads the address. What the child prints after it is thrown away.
func (c *Child) awaitReady(ctx context.Context, l *life, r io.ReadCloser) error {
	url := make(chan string, 1)
	go func() {
		defer r.Close()
		b := bufio.NewReader(r)
		line, _ := b.ReadString('\n') // what is wrong with the child is in its log
		url <- address(line)
		_, _ = io.Copy(io.Discard, b)
	}()
	timer := time.NewTimer(c.cfg.Ready)
	defer timer.Stop()
	select {
	case at := <-url:
		if at == "" {
			return errors.New("it did not say where it is")
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.url = at
		return nil
	case <-timer.C:
		return fmt.Errorf("nothing heard of it for %v", c.cfg.Ready)
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

// URL is the address that the child told when it was last ready.
func (c *Child) URL() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.url
}

// Name is the child's name in errors.
func (c *Child) Name() string { return c.cfg.Name }

// Done is closed when the present process has ended.
func (c *Child) Done() <-chan struct{} { return c.present().done }

// Kill ends the process at once, as a crash does, and returns when it is gone.
func (c *Child) Kill() {
	l := c.present()
	_ = l.cmd.Process.Kill() // fails where it has ended
	<-l.done
}

// Pause stops the process where it stands. It wakes by Resume, dies by Kill, and
// takes a Stop only when it has woken.
func (c *Child) Pause() error { return c.signal(syscall.SIGSTOP) }

// Resume wakes a process.
func (c *Child) Resume() error { return c.signal(syscall.SIGCONT) }

func (c *Child) signal(sig syscall.Signal) error {
	if err := c.present().cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("%v for %s: %w", sig, c.cfg.Name, err)
	}
	return nil
}

// Stop ends the child in order, or by force if that takes too long.
func (c *Child) Stop() error { return c.StopWithin(stopWait) }

// StopWithin is Stop with a bound of its own.
func (c *Child) StopWithin(wait time.Duration) error {
	l := c.present()
	_ = l.cmd.Process.Signal(syscall.SIGTERM) // fails where it has ended
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-l.done:
	case <-timer.C:
		_ = l.cmd.Process.Kill()
		<-l.done
		return fmt.Errorf("%s %w: %v", c.cfg.Name, ErrKilled, wait)
	}
	if l.err != nil {
		return fmt.Errorf("%s ended: %w", c.cfg.Name, l.err)
	}
	return nil
}
