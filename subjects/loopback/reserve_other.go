//go:build !linux

package loopback

import (
	"io"
	"net"
)

func reserve() (addr string, c io.Closer, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	return l.Addr().String(), l, nil
}

// settle closes the listeners, which nobody could listen beside. Not before all were found,
// or two could be the same.
func settle(p *Ports) error { return p.Close() }
