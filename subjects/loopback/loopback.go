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
// The zero value has none. It is for one goroutine at a time.
type Ports struct{ held []io.Closer }

// Reserve takes n more TCP ports of 127.0.0.1, host:port each. Whoever is told of one listens
// there as ever, Go's listeners do, while it is reserved.
func (p *Ports) Reserve(n int) ([]string, error) {
	var addrs []string
	for range n {
		addr, c, err := reserve()
		if err != nil {
			return nil, fmt.Errorf("reserve a port of 127.0.0.1: %w", err)
		}
		addrs, p.held = append(addrs, addr), append(p.held, c)
	}
	return addrs, settle(p)
}

// Close gives all of them back. Who listens goes on.
func (p *Ports) Close() error {
	var errs []error
	for _, c := range p.held {
		errs = append(errs, c.Close())
	}
	p.held = nil
	return errors.Join(errs...)
}
