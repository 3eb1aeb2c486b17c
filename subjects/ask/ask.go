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

// Dispatchers sends a request to the queue group on subject and, where no answer comes
// within Patience, to the dispatcher that is first to answer a ping: a busy fleet is
// asked twice at most, and one that hangs costs little more than Patience. The first
// answer counts, a server's word that nobody listens too. There is a second goroutine
// only where there is a second question.
func Dispatchers(ctx context.Context, nc *nats.Conn, subject string, data []byte) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	first, answered := context.WithCancel(ctx)
	defer answered()
	var other answer
	asked := make(chan struct{}) // closed when other is there
	timer := time.AfterFunc(Patience, func() {
		defer close(asked)
		if other.m, other.err = someone(ctx, nc, subject, data); other.err == nil {
			answered()
		}
	})
	m, err := anyone(first, nc, subject, data)
	if timer.Stop() {
		return m, err
	}
	if err == nil {
		cancel()
	}
	<-asked
	switch {
	case err == nil:
		return m, nil
	case other.err == nil:
		return other.m, nil
	}
	return nil, errors.Join(err, other.err)
}

type answer struct {
	m   *nats.Msg
	err error
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
