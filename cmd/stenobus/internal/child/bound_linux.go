package child

import "syscall"

// bound makes a child die with this process. A process group of its own keeps Ctrl-C
// from it: it is stopped in order, when the load on it is gone.
func bound() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
