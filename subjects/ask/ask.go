// Package ask is how gateways and workers ask dispatchers. A queue group gives a request
// to one member, which may hang or die with it, so that waiting for an answer alone is
// not enough; and as every request to a dispatcher may come twice, it is simply sent
// again while there is none.
package ask

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// Again is how long an answer is waited for before another member may be asked too.
	Again = 250 * time.Millisecond
	// Timeout bounds all requests of one question.
	Timeout = 2 * time.Second
)

type answer struct {
	m   *nats.Msg
	err error
}

// Dispatchers sends a request, and again each Again without an answer, until Timeout or
// ctx ends it. What comes first counts, a server's word that nobody listens too.
func Dispatchers(ctx context.Context, nc *nats.Conn, subject string, data []byte) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	answers := make(chan answer, Timeout/Again+1)
	again := time.NewTicker(Again)
	defer again.Stop()
	for {
		asking.Go(func() {
			m, err := nc.RequestWithContext(ctx, subject, data)
			answers <- answer{m, err}
		})
		select {
		case a := <-answers:
			return a.m, a.err
		case <-again.C:
		}
	}
}
