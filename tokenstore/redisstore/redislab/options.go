package redislab

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Options are what a test can choose. The zero value is what most tests need.
type Options struct {
	// Config are more lines for the configuration of each server, for instance "user app on >secret
	// ~* +@all" or "maxmemory 10mb". They win over the lab's own. Sentinels don't get them.
	Config []string
	// TLS makes all servers speak nothing but TLS, on every connection.
	TLS bool
	// NodeTimeout is the cluster-node-timeout: how long a silent server of a Cluster is waited for.
	// Default: 2 s.
	NodeTimeout time.Duration
	// DownAfter is the down-after-milliseconds of the sentinels. Default: 1 s.
	DownAfter time.Duration
	// Places are where the servers run: the i-th at the i-th place, from the start again when there
	// are more servers, and sentinels after the servers. Default: all on the loopback interface.
	Places []Place
	// Clocks are how far the clocks of the servers are off, in whole seconds. SetClock
	// changes it. It takes gcc.
	Clocks []time.Duration
	// Speed makes the clocks of all servers run as many times faster, counted from From. It takes
	// gcc. The timeouts of a Cluster and of replication become shorter by that.
	Speed int
	From  time.Time
}

// A Place is where a server runs. Every server of a namespace has ports of its own.
type Place struct {
	Namespace string // of the network, as `ip netns` names it
	IP        string
}

var loopback = Place{IP: "127.0.0.1"}

func (o Options) place(i int) Place {
	if len(o.Places) == 0 {
		return loopback
	}
	return o.Places[i%len(o.Places)]
}

func (o Options) ips() []string {
	ips := []string{loopback.IP}
	for _, p := range o.Places {
		ips = append(ips, p.IP)
	}
	return ips
}

// common are the lines that servers and sentinels have in common.
func (l *Lab) common(n *Node) []string {
	lines := []string{
		"bind " + n.place.IP,
		"protected-mode no",
		"daemonize no",
		"dir " + n.dir,
		"logfile " + n.log(),
		"unixsocket " + n.socket(),
		"unixsocketperm 700",
		"user " + labUser + " on >" + l.password + " ~* &* +@all",
	}
	if l.Authority == nil {
		return append(lines, fmt.Sprintf("port %d", n.port))
	}
	return append(lines,
		"port 0",
		fmt.Sprintf("tls-port %d", n.port),
		"tls-ca-cert-file "+l.Authority.CA,
		"tls-cert-file "+l.Authority.Certificate,
		"tls-key-file "+l.Authority.Key,
		"tls-auth-clients optional",
		"tls-replication yes",
		"tls-cluster yes",
	)
}

// server is the configuration of a server that holds data.
func (l *Lab) server(n *Node, more ...string) []string {
	lines := append(l.common(n),
		"save \"\"", // the tests dump when they want to
		"appendonly no",
		"repl-diskless-sync yes",
		"repl-diskless-sync-delay 0",
		"masteruser "+labUser,
		"masterauth "+l.password,
	)
	return slices.Concat(lines, more, l.options.Config)
}

func writeConfig(file string, lines []string) error {
	return os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}
