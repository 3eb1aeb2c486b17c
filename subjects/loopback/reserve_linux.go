package loopback

import (
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
)

// reserve binds a socket and does not listen. Linux gives its port to nobody who asks for any,
// listener or client, but lets others listen there by name if both sides set SO_REUSEADDR, as
// Go does for each listener: see the reasons for EADDRINUSE in socket(7) and ip(7).
func reserve() (addr string, c io.Closer, err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "reserved port")
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return "", nil, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", nil, os.NewSyscallError("bind", err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		return "", nil, os.NewSyscallError("getsockname", err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(at.(*syscall.SockaddrInet4).Port)), f, nil
}

func settle(*Ports) error { return nil }
