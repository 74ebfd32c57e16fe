package redislab

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// answerTime is how long the lab waits for an answer of a server.
const answerTime = 5 * time.Second

// A Node is one server or sentinel. Its methods may be called from any number of goroutines.
type Node struct {
	// Name says which one it is, for messages: "server 0", "sentinel 2".
	Name string

	lab     *Lab
	program string
	dir     string
	place   Place
	port    int
	bus     int // of a Cluster's server
	env     []string

	mu      sync.Mutex
	process *process
}

// A process is one life of a server.
type process struct {
	*os.Process
	ended chan struct{}
}

func (n *Node) socket() string { return filepath.Join(n.dir, "s") }
func (n *Node) log() string    { return filepath.Join(n.dir, "log") }
func (n *Node) clock() string  { return filepath.Join(n.dir, "clock") }
func (n *Node) dump() string   { return filepath.Join(n.dir, "dump.rdb") }

// Address is where clients reach the server.
func (n *Node) Address() string { return net.JoinHostPort(n.place.IP, strconv.Itoa(n.port)) }

// Place is where the server runs.
func (n *Node) Place() Place { return n.place }

// Pid is the server's process, or 0.
func (n *Node) Pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return 0
	}
	return n.process.Pid
}

// start starts the process, and returns when it answers.
func (n *Node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil {
		return fmt.Errorf("%s runs", n.Name)
	}
	args := []string{n.program, filepath.Join(n.dir, "conf")}
	if n.place.Namespace != "" {
		args = append([]string{"ip", "netns", "exec", n.place.Namespace}, args...)
	}
	os.Remove(n.socket()) // a killed server leaves it
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = n.dir, n.env
	if err := StartBound(cmd); err != nil {
		return err
	}
	p := &process{cmd.Process, make(chan struct{})}
	go func() {
		cmd.Wait()
		close(p.ended)
	}()
	var err error
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); {
		if _, err = n.Do("PING"); err == nil || strings.HasPrefix(err.Error(), "MASTERDOWN") {
			n.process = p
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended: %s", n.Name, n.lastLines(3))
		case <-time.After(10 * time.Millisecond):
		}
	}
	p.Kill()
	<-p.ended
	return fmt.Errorf("%s does not answer: %w", n.Name, err)
}

// Kill ends the server as kill -9 does. It does nothing if the server does not run.
func (n *Node) Kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return
	}
	n.process.Kill()
	<-n.process.ended
	n.process = nil
}

// Stop freezes the server (SIGSTOP), until Continue.
func (n *Node) Stop(t testing.TB) { n.signal(t, "freeze", freeze) }

// Continue lets a frozen server go on.
func (n *Node) Continue(t testing.TB) { n.signal(t, "thaw", thaw) }

func (n *Node) signal(t testing.TB, what string, send func(*os.Process) error) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		t.Errorf("%s %s: it does not run", what, n.Name)
	} else if err := send(n.process.Process); err != nil {
		t.Errorf("%s %s: %v", what, n.Name, err)
	}
}

// Start starts a server that was killed, with the data that are in its directory: the last dump.
func (n *Node) Start(t testing.TB) {
	t.Helper()
	if err := n.start(); err != nil {
		t.Error(err)
	}
}

// StartEmpty starts a server that was killed, without data. A Cluster's server remembers the
// Cluster.
func (n *Node) StartEmpty(t testing.TB) {
	t.Helper()
	if err := errors.Join(removeFile(n.dump()), os.RemoveAll(filepath.Join(n.dir, "appendonlydir"))); err != nil {
		t.Error(err)
		return
	}
	n.Start(t)
}

// StartFrom starts a server that was killed, with the data of a Dump.
func (n *Node) StartFrom(t testing.TB, dump []byte) {
	t.Helper()
	if err := os.WriteFile(n.dump(), dump, 0o600); err != nil {
		t.Error(err)
		return
	}
	n.Start(t)
}

// Dump saves the server's data to its disk, and returns them for StartFrom. It returns nil when the
// server can't.
func (n *Node) Dump(t testing.TB) []byte {
	t.Helper()
	if _, err := n.Do("SAVE"); err != nil {
		t.Errorf("dump %s: %v", n.Name, err)
		return nil
	}
	data, err := os.ReadFile(n.dump())
	if err != nil {
		t.Error(err)
	}
	return data
}

// Must is Do of a command that has to succeed.
func (n *Node) Must(t testing.TB, args ...string) any {
	t.Helper()
	reply, err := n.Do(args...)
	if err != nil {
		t.Fatalf("%s: %q: %v", n.Name, args, err)
	}
	return reply
}

// Do sends one command to the server, with all rights. The reply is a string, an int64, nil or
// []any.
func (n *Node) Do(args ...string) (any, error) {
	conn, err := net.DialTimeout("unix", n.socket(), answerTime)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(answerTime))
	r := bufio.NewReader(conn)
	for _, command := range [][]string{{"AUTH", labUser, n.lab.password}, args} {
		if err := writeCommand(conn, command); err != nil {
			return nil, err
		}
		reply, err := readReply(r)
		if err != nil {
			return nil, err
		}
		if command[0] != "AUTH" || len(args) == 0 {
			return reply, nil
		}
	}
	return nil, nil
}

// Info returns a section of the server's INFO.
func (n *Node) Info(section string) (map[string]string, error) {
	reply, err := n.Do("INFO", section)
	if err != nil {
		return nil, err
	}
	text, _ := reply.(string)
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[key] = value
		}
	}
	return info, nil
}

// IsMaster reports whether the server runs, answers, and holds itself for a master.
func (n *Node) IsMaster() bool {
	info, err := n.Info("replication")
	return err == nil && info["role"] == "master"
}

// lastLines returns the end of the server's log.
func (n *Node) lastLines(count int) string {
	text, err := os.ReadFile(n.log())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

func removeFile(name string) error {
	if err := os.Remove(name); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
