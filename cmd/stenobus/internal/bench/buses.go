package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
)

// withBuses calls do while a bus of n servers runs, and nothing else.
func (d *Deployment) withBuses(ctx context.Context, n int, do func(s *site, urls []string) error) (err error) {
	dir, remove, err := tempDir()
	if err != nil {
		return err
	}
	defer remove()
	s := &site{}
	defer func() { err = errors.Join(err, s.stop()) }()
	urls, err := s.startBuses(ctx, d, dir, n)
	if err != nil {
		return err
	}
	return do(s, urls)
}

// startBuses starts one bus, or as many as are a cluster.
func (s *site) startBuses(ctx context.Context, d *Deployment, dir string, n int) (urls []string, err error) {
	cluster, err := s.ports.Reserve(n)
	if err != nil {
		return nil, err
	}
	own := *d
	if n > 1 {
		own.Log = routeless{d.Log}
	}
	for i := range n {
		args := []string{"bus", "--listen", "127.0.0.1:0", "--data", dir + "/" + strconv.Itoa(i+1)}
		if n > 1 {
			args = append(args, "--name", "bus-"+strconv.Itoa(i+1), "--cluster-listen", cluster[i], "--routes", "nats://"+strings.Join(cluster, ",nats://"))
		}
		c, err := s.start(ctx, &own, roleBus, args...)
		if err != nil {
			return nil, err
		}
		urls = append(urls, c.URL())
	}
	return urls, nil
}

// routeless leaves out what members of a cluster log while they begin and end one after another.
type routeless struct{ io.Writer }

func (w routeless) Write(text []byte) (int, error) {
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte(" part=nats")) && oneByOne.Match(line) {
			continue
		}
		if _, err := w.Writer.Write(line); err != nil {
			return 0, err
		}
	}
	return len(text), nil
}

var oneByOne = regexp.MustCompile(`(?i)connect to route|established|metalayer|system account`)

// busLink is a connection to a bus that has all streams.
type busLink struct {
	nc *nats.Conn
	js jetstream.JetStream
	*subjects.Bus
}

// dialBus makes the streams. A cluster takes a while to elect its leaders.
func dialBus(ctx context.Context, urls []string, cfg subjects.BusConfig) (b *busLink, err error) {
	b = &busLink{}
	if b.nc, err = nats.Connect(strings.Join(urls, ",")); err != nil {
		return nil, fmt.Errorf("connect to the bus: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	if b.js, err = jetstream.New(b.nc); err == nil {
		b.Bus, err = subjects.Await(ctx, b.js, cfg, func(error) {})
	}
	if err != nil {
		b.nc.Close()
		return nil, err
	}
	return b, nil
}
