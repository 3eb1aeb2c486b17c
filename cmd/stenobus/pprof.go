package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// pprofFlags let an operator see what a process is busy with.
type pprofFlags struct {
	PprofListen string `help:"Where to serve /debug/pprof/ of Go, on loopback only; none by default." placeholder:"HOST:PORT" group:"Logging"`
}

// serve begins to serve and returns what ends it.
func (f *pprofFlags) serve() (stop func(), err error) {
	if f.PprofListen == "" {
		return func() {}, nil
	}
	l, err := listen("--pprof-listen", f.PprofListen)
	if err != nil {
		return nil, err
	}
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		return nil, errors.Join(usageError("--pprof-listen %s: profiles show what clients say, so allowed are addresses of loopback", f.PprofListen), l.Close())
	}
	s := &http.Server{Handler: pprofPages(), ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // ends by Close
	}()
	return func() {
		_ = s.Close() // a profile under way is cut
		<-done
	}, nil
}

func pprofPages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "stenobus "+version) })
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
