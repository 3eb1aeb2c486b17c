package main

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// logFlags choose what is logged and how. Logs go to standard error.
type logFlags struct {
	LogFormat string `help:"How to log: ${enum}; auto is coloured on a terminal and text elsewhere." enum:"auto,text,json" default:"auto" group:"Logging"`
	LogLevel  string `help:"What to log: debug, info, warn or error; by default info, and warn in the demo." enum:",debug,info,warn,error" default:"" placeholder:"LEVEL" group:"Logging"`
}

// logger makes the program's only logger. The level is fallback where the flag is not set.
func (f *logFlags) logger(w io.Writer, fallback slog.Level) (*slog.Logger, error) {
	level := fallback
	if f.LogLevel != "" {
		if err := level.UnmarshalText([]byte(f.LogLevel)); err != nil {
			return nil, usageError("--log-level: %w", err)
		}
	}
	switch {
	case f.LogFormat == "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})), nil
	case f.LogFormat == "auto" && isTerminal(w):
		return slog.New(tint.NewTextHandler(w, &tint.Options{
			Level:      level,
			TimeFormat: time.TimeOnly,
			NoColor:    os.Getenv("NO_COLOR") != "",
		})), nil
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})), nil
}

// isTerminal tells whether a person reads what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
