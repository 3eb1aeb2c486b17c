// Package ask is how gateways and workers ask dispatchers. A queue group gives a request
// to one member, which may hang or die with it, so that waiting for an answer alone is
// not enough; and as every request to a dispatcher may come twice, one that answers a
// ping is asked as well.
package ask

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"stenobus/subjects"
)

// Ping is answered by every dispatcher that is there, as NATS micro services do.
const Ping = "$SRV.PING.stenobus-dispatcher"

const (
	// Patience is how long an answer is waited for before another dispatcher is asked too.
	Patience = 250 * time.Millisecond
	// Timeout bounds one question.
	Timeout = 2 * time.Second
)

type answer struct {
	m   *nats.Msg
	err error
}

// Dispatchers sends a request to the queue group on subject and, where no answer comes
// within Patience, to the dispatcher that is first to answer a ping: a busy fleet is
// asked twice at most, and one that hangs costs little more than Patience. The first
// answer counts, a server's word that nobody listens too.
func Dispatchers(ctx context.Context, nc *nats.Conn, subject string, data []byte) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	answers := make(chan answer, 2)
	try := func(ask func(context.Context, *nats.Conn, string, []byte) (*nats.Msg, error)) {
		asking.Go(func() {
			m, err := ask(ctx, nc, subject, data)
			answers <- answer{m, err}
		})
	}
	try(anyone)
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	var failed error
	for open := 1; open > 0; {
		select {
		case a := <-answers:
			if a.err == nil || errors.Is(a.err, nats.ErrNoResponders) && open == 1 {
				return a.m, a.err
			}
			failed = errors.Join(failed, a.err)
			open--
		case <-timer.C:
			try(someone)
			open++
		}
	}
	return nil, failed
}

func anyone(ctx context.Context, nc *nats.Conn, subject string, data []byte) (*nats.Msg, error) {
	return nc.RequestWithContext(ctx, subject, data)
}

// someone asks the dispatcher that answers first, or, where that is of a version without
// a subject of its own, the queue group once more.
func someone(ctx context.Context, nc *nats.Conn, subject string, data []byte) (*nats.Msg, error) {
	m, err := nc.RequestWithContext(ctx, Ping, nil)
	if err != nil {
		return nil, fmt.Errorf("ping dispatchers: %w", err)
	}
	var pong struct{ ID string }
	if err := json.Unmarshal(m.Data, &pong); err != nil {
		return nil, fmt.Errorf("ping dispatchers: %w", err)
	}
	m, err = nc.RequestWithContext(ctx, subjects.Directly(subject, pong.ID), data)
	if errors.Is(err, nats.ErrNoResponders) {
		return anyone(ctx, nc, subject, data)
	}
	return m, err
}
