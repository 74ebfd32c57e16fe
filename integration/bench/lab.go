package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

// A lab is the place of a benchmark: a folder, and the processes that it started.
type lab struct {
	ctx         context.Context
	dir         string // removed at the end
	binary      string // the product
	tokens      int    // the number of tokens that the peers know
	connections int
	rsa         rsaPair
	self        *process
	upstream    *process
	addr        string // of the upstream
	started     []*process
}

// A process is a running program.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    string // the file with its output
	exited chan struct{}
	pids   []int // whose CPU time is charged to it
}

// A target is a running peer.
type target struct {
	addr       string
	others     []string // addresses of further proxies, which get as many requests
	credential credential
	proxy      []*process
	beside     []*process       // the processes that the proxy asks
	admin      *adminapi.Client // of Caddy's admin endpoint; nil for other programs

	// When the last run ended, and the CPU time that the proxy had used by then.
	ended     time.Time
	usedByEnd time.Duration
}

func newLab(ctx context.Context, o *options) (_ *lab, err error) {
	l := &lab{
		ctx: ctx, binary: o.binary, tokens: o.tokens, connections: o.connections,
		self: &process{name: "the client", pids: []int{os.Getpid()}},
	}
	if l.dir, err = os.MkdirTemp(o.dir, "caddy-oauth1-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.binary == "" {
		l.binary = filepath.Join(l.dir, "caddy-oauth1")
		progress("building cmd/caddy-oauth1")
		build := exec.CommandContext(ctx, "go", "build", "-buildvcs=auto", "-o", l.binary, module+"/cmd/caddy-oauth1")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build cmd/caddy-oauth1: %w\n%s", err, out)
		}
	}
	if l.rsa, err = newRSAPair(); err != nil {
		return nil, err
	}
	l.upstream, l.addr, err = l.startRole("upstream")
	return l, err
}

// close ends the processes, the last one first, and removes the folder.
func (l *lab) close() {
	for len(l.started) > 0 {
		l.stop(l.started[len(l.started)-1])
	}
	os.RemoveAll(l.dir)
}

// start starts a program. It gets a folder with its name in the lab.
func (l *lab) start(name string, environment []string, program string, arguments ...string) (*process, error) {
	dir := l.folder(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{name: name, log: log.Name(), exited: make(chan struct{})}
	p.cmd = exec.Command(program, arguments...)
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), environment...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if _, err := p.cmd.StdinPipe(); err != nil { // it closes when this process ends
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.cmd.Wait()
		close(p.exited)
	}()
	p.pids = []int{p.cmd.Process.Pid}
	l.started = append(l.started, p)
	return p, nil
}

// startRole starts this program in one of its roles, on a free port. The role's arguments are its
// address and the given ones.
func (l *lab) startRole(role string, arguments ...string) (*process, string, error) {
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	addr := "127.0.0.1:" + port
	p, err := l.startSelf(role, append([]string{addr}, arguments...)...)
	if err != nil {
		return nil, "", err
	}
	return p, addr, l.await(p, addr)
}

func (l *lab) startSelf(role string, arguments ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	words := strings.Join(append([]string{role}, arguments...), " ")
	return l.start(role, []string{roleVariable + "=" + words}, self)
}

// folder is the folder of a process.
func (l *lab) folder(name string) string { return filepath.Join(l.dir, name) }

// await waits until the process listens.
func (l *lab) await(p *process, addr string) error {
	return l.until(p, func() error {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// until calls attempt repeatedly until it returns no error.
func (l *lab) until(p *process, attempt func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := attempt()
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended: %v\n%s", p.name, p.cmd.ProcessState, p.tail())
		case <-l.ctx.Done():
			return l.ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: nothing after %v: %w\n%s", p.name, patience, err, p.tail())
		}
	}
}

// adopt charges the CPU time of the process's descendants to it, too.
func (p *process) adopt() (err error) {
	p.pids, err = family(p.cmd.Process.Pid)
	return err
}

// stop ends a process as an init system does.
func (l *lab) stop(p *process) {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
	}
	l.kill(p)
}

// kill ends a process with kill -9.
func (l *lab) kill(p *process) {
	p.cmd.Process.Kill()
	<-p.exited
	for i, other := range l.started {
		if other == p {
			l.started = append(l.started[:i], l.started[i+1:]...)
			return
		}
	}
}

// stopTarget ends the target's processes, and removes their folders.
func (l *lab) stopTarget(t *target) {
	for _, p := range append(t.proxy, t.beside...) {
		l.stop(p)
		os.RemoveAll(l.folder(p.name))
	}
}

// tail returns the last lines of the process's output.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-20):], nil))
}

// errMissing is the error of a peer that is not installed.
type errMissing string

func (e errMissing) Error() string { return string(e) }

func isMissing(err error) bool {
	var missing errMissing
	return errors.As(err, &missing)
}
