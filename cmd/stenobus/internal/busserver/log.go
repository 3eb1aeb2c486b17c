package busserver

import (
	"fmt"
	"log/slog"
	"sync/atomic"
)

// logBridge hands the server's log to slog. Its notices tell of every start and are
// many: they count as debugging.
type logBridge struct {
	log   *slog.Logger
	fatal atomic.Pointer[string] // the first fatal error; the server goes on after it
}

func (b *logBridge) Noticef(format string, v ...any) { b.log.Debug(fmt.Sprintf(format, v...)) }
func (b *logBridge) Warnf(format string, v ...any)   { b.log.Warn(fmt.Sprintf(format, v...)) }
func (b *logBridge) Errorf(format string, v ...any)  { b.log.Error(fmt.Sprintf(format, v...)) }
func (b *logBridge) Debugf(format string, v ...any)  { b.log.Debug(fmt.Sprintf(format, v...)) }
func (b *logBridge) Tracef(string, ...any)           {}

// Fatalf only notes the error: whoever started the server ends the program.
func (b *logBridge) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	b.fatal.CompareAndSwap(nil, &text)
}
