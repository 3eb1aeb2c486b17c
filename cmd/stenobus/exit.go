package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Exit codes. They are part of the command line's contract.
const (
	exitOK          = 0   // done; for a server: stopped cleanly
	exitFailure     = 1   // it was tried and went wrong
	exitUsage       = 2   // the command line, an environment variable or a file named there is wrong
	exitRefused     = 3   // the other side can't be reached or refused
	exitInterrupted = 130 // Ctrl-C ended it before it was done
	exitTerminated  = 143 // SIGTERM did
)

const exitCodesHelp = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the other side is out of " +
	"reach or refused, 130 ended by Ctrl-C, 143 ended by SIGTERM."

// exitError is an error that knows how the program ends because of it.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func refusedError(format string, args ...any) error {
	return &exitError{exitRefused, fmt.Errorf(format, args...)}
}

// signalError is the cause of a context that a signal ended.
type signalError struct{ sig os.Signal }

func (e signalError) Error() string { return "stopped by " + e.sig.String() }

// exitCode picks the code for what a command returned.
func exitCode(err error) int {
	var coded *exitError
	var sig signalError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &sig) && sig.sig == syscall.SIGTERM:
		return exitTerminated
	case errors.As(err, &sig), errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &coded):
		return coded.code
	}
	return exitFailure
}

// withSignals ends the context on the first Ctrl-C or SIGTERM. The second then meets
// no handler and ends the program at once.
func withSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case sig := <-c:
			signal.Stop(c)
			cancel(signalError{sig})
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		signal.Stop(c)
		cancel(context.Canceled)
		wg.Wait()
	}
}
