// Package loopback reserves addresses of this machine for servers that must know one another's
// before they start, and for those that come back to the one they had.
package loopback

import (
	"errors"
	"fmt"
	"io"
)

// Ports are addresses that no other process is given. On Linux this holds until Close, also
// while nobody listens; elsewhere they were free when they were looked for, no more than that.
type Ports struct {
	addrs []string
	held  []io.Closer
}

// Reserve takes n TCP ports of 127.0.0.1. Whoever is told of one listens there as ever, Go's
// listeners do, while it is reserved.
func Reserve(n int) (*Ports, error) {
	p := &Ports{}
	for range n {
		addr, c, err := reserve()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("reserve a port of 127.0.0.1: %w", err), p.Close())
		}
		p.addrs, p.held = append(p.addrs, addr), append(p.held, c)
	}
	return p, settle(p)
}

// Addrs are the addresses, host:port, in an order that stays.
func (p *Ports) Addrs() []string { return p.addrs }

// Close gives them back. Who listens goes on.
func (p *Ports) Close() error {
	var errs []error
	for _, c := range p.held {
		errs = append(errs, c.Close())
	}
	p.held = nil
	return errors.Join(errs...)
}
