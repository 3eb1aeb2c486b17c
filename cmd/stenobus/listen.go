package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"stenobus/cmd/stenobus/internal/front"
)

// pagesWait is how long pages get that are under way when the program stops.
const pagesWait = 2 * time.Second

// listen binds before anything else is started, so that a taken port is the first and
// only thing that goes wrong.
func listen(flag, addr string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, usageError("%s %q: want host:port", flag, addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, addr, err)
	}
	return l, nil
}

// httpPart serves h until its context ends. Sockets that h took over are h's.
func httpPart(d *door, h http.Handler, log *slog.Logger) part {
	l, s := d.listener, front.NewServer(h, d.limits, log)
	return part{name: "http server", run: func(ctx context.Context) error {
		failed := make(chan error, 1)
		go func() { failed <- s.Serve(l) }()
		select {
		case err := <-failed:
			return fmt.Errorf("serve %s: %w", l.Addr(), err)
		case <-ctx.Done():
		}
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), pagesWait)
		defer cancel()
		err := s.Shutdown(bounded)
		if errors.Is(err, context.DeadlineExceeded) {
			err = s.Close()
		}
		<-failed
		return err
	}}
}
