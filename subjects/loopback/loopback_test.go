package loopback_test

import (
	"net"
	"testing"

	"stenobus/subjects/loopback"
)

// A server listens at a reserved address, ends, and listens there again.
func TestReserved(t *testing.T) {
	t.Parallel()
	var p loopback.Ports
	addrs, err := p.Reserve(3)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	seen := map[string]bool{}
	for _, addr := range addrs {
		seen[addr] = true
		for range 2 {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if len(seen) != 3 {
		t.Errorf("addresses %v, want three that differ", addrs)
	}
}
