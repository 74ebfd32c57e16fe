package redislab

import (
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// starter starts processes on one thread that never ends: Pdeathsig is sent when the thread that
// started the process ends, and Go's other threads come and go.
var starter = sync.OnceValue(func() func(*exec.Cmd) error {
	type start struct {
		cmd  *exec.Cmd
		done chan error
	}
	starts := make(chan start)
	go func() {
		runtime.LockOSThread()
		for s := range starts {
			s.done <- s.cmd.Start()
		}
	}()
	return func(cmd *exec.Cmd) error {
		s := start{cmd, make(chan error)}
		starts <- s
		return <-s.done
	}
})

// StartBound starts a process that is killed when the test binary ends, however that ends. It is a
// process group of its own, so that Ctrl-C ends the test first.
func StartBound(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return starter()(cmd)
}

func freeze(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }
func thaw(p *os.Process) error   { return p.Signal(syscall.SIGCONT) }
