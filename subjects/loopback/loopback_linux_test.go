package loopback_test

import (
	"errors"
	"net"
	"strconv"
	"syscall"
	"testing"

	"stenobus/subjects/loopback"
)

// ipLocalPortRange is IP_LOCAL_PORT_RANGE of ip(7): from which ports a socket is given one.
const ipLocalPortRange = 51

// Whoever asks for any port is not given a reserved one, even if there is no other.
func TestNobodyElseIsGivenIt(t *testing.T) {
	t.Parallel()
	given := 0
	for range 5 {
		var p loopback.Ports
		addrs, err := p.Reserve(1)
		if err != nil {
			t.Fatal(err)
		}
		_, text, err := net.SplitHostPort(addrs[0])
		if err != nil {
			t.Fatal(err)
		}
		port, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		switch err := anyOf(port); {
		case errors.Is(err, syscall.ENOPROTOOPT):
			t.Skip("this kernel can't narrow the ports of a socket")
		case !errors.Is(err, syscall.EADDRINUSE):
			t.Errorf("a listener for any port: %v, want %v", err, syscall.EADDRINUSE)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if anyOf(port) == nil {
			given++
		}
	}
	if given == 0 { // another process may be faster, but not each time
		t.Error("a port that was given back was never given to another")
	}
}

// anyOf binds a listener's socket to any port, where there is only the one.
func anyOf(port int) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, ipLocalPortRange, port<<16|port); err != nil {
		return err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	return syscall.Listen(fd, 1)
}
