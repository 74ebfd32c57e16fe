package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const module = "github.com/caddy-oauth1/caddy-oauth1"

// options are the flags.
type options struct {
	binary, dir, out, svg string

	quick       bool
	rounds      int
	processes   int
	requests    int
	connections int
	tokens      int

	peers   string
	profile string

	growth       bool
	growTokens   sizes
	growNonces   sizes
	growConns    sizes
	growPolicies sizes
	reads        int

	flows       bool
	flowCount   int
	flowClients int

	redis         bool
	replicas      bool
	replicaCounts sizes

	reclaim       bool
	reclaimNonces int
	reclaimEvery  int
	reclaimRate   int
}

// sizes are the values of a flag such as 1000,10000.
type sizes []int

func (s *sizes) String() string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint([]int(*s))), ","), "[]")
}

func (s *sizes) Set(text string) error {
	*s = nil
	if text == "" {
		return nil
	}
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 {
			return fmt.Errorf("size %q", word)
		}
		*s = append(*s, n)
	}
	return nil
}

func main() {
	played, err := playRole()
	if !played {
		var o *options
		if o, err = parseFlags(flag.CommandLine, os.Args[1:]); err == nil {
			ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer cancel()
			err = bench(ctx, o)
		}
	}
	if err != nil { // package log writes to Caddy's logger
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseFlags(f *flag.FlagSet, arguments []string) (*options, error) {
	o := &options{
		growTokens:   sizes{1_000, 10_000, 100_000, 1_000_000, 10_000_000},
		growNonces:   sizes{0, 100_000, 1_000_000, 5_000_000},
		growConns:    sizes{1, 4, 16, 64, 256, 1000},
		growPolicies: sizes{1, 10, 50, 200},

		replicaCounts: sizes{1, 2, 4},
	}
	f.StringVar(&o.binary, "binary", "", "the caddy-oauth1 `file` to measure (default: build it)")
	f.StringVar(&o.dir, "dir", "", "the `folder` for data, on the disk to be measured (default: the system's temporary one)")
	f.StringVar(&o.out, "out", "", "write the Markdown table to this `file` too")
	f.StringVar(&o.svg, "svg", "", "write the plot to this `file`")
	f.BoolVar(&o.quick, "quick", false, "few and small runs: a test of the benchmark, not a measurement")
	f.IntVar(&o.rounds, "rounds", 9, "how often each peer runs")
	f.IntVar(&o.processes, "processes", 3, "how many processes of each peer share its rounds, one after the other")
	f.IntVar(&o.requests, "requests", 10_000, "requests of a run")
	f.IntVar(&o.connections, "connections", 32, "keep-alive connections")
	f.IntVar(&o.tokens, "tokens", 1000, "access tokens that are used")
	f.StringVar(&o.peers, "peers", "", "only these peers, by their names: "+peerNames(peers)+"; with -redis: "+peerNames(redisPeers))
	f.StringVar(&o.profile, "profile", "", "write a CPU profile of each Caddy, taken under load, to this `folder`")
	f.BoolVar(&o.growth, "growth", false, "measure growth in place of peers")
	f.Var(&o.growTokens, "growth-tokens", "with -growth: stored tokens")
	f.Var(&o.growNonces, "growth-nonces", "with -growth: live nonces")
	f.Var(&o.growConns, "growth-connections", "with -growth: connections")
	f.Var(&o.growPolicies, "growth-policies", "with -growth: policies")
	f.IntVar(&o.reads, "growth-reads", 200_000, "with -growth: requests with tokens at random before memory is read")
	f.BoolVar(&o.flows, "flows", false, "measure three-legged flows in place of peers")
	f.IntVar(&o.flowCount, "flows-count", 1000, "with -flows: flows of a round")
	f.IntVar(&o.flowClients, "flows-clients", 64, "with -flows: clients at the same time, each in a flow of its own")
	f.BoolVar(&o.redis, "redis", false, "compare the peers that keep nonces in Redis, with -flows measure flows on a Cluster")
	f.BoolVar(&o.replicas, "replicas", false, "with -redis: measure a rising number of sidecars on one server in place of peers")
	f.Var(&o.replicaCounts, "replicas-counts", "with -redis -replicas: sidecars")
	f.BoolVar(&o.reclaim, "reclaim", false, "measure what happens while expired nonces are given back, in place of peers")
	f.IntVar(&o.reclaimNonces, "reclaim-nonces", 5_000_000, "with -reclaim: live nonces at the start")
	f.IntVar(&o.reclaimEvery, "reclaim-every", 8, "with -reclaim: `seconds` from the end of a fifth of them to the end of the next")
	f.IntVar(&o.reclaimRate, "reclaim-rate", 1000, "with -reclaim: requests a second")
	if err := f.Parse(arguments); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("argument %q: there are none", f.Arg(0))
	}
	if o.quick {
		o.makeQuick(f)
	}
	for _, path := range []*string{&o.binary, &o.dir} {
		if *path == "" {
			continue
		}
		var err error
		if *path, err = filepath.Abs(*path); err != nil { // processes have other working folders
			return nil, err
		}
	}
	if slices.Contains(o.growTokens, 0) || slices.Contains(o.growConns, 0) || slices.Contains(o.growPolicies, 0) ||
		slices.Contains(o.replicaCounts, 0) {
		return nil, errors.New("only -growth-nonces may hold 0")
	}
	if min(o.rounds, o.processes, o.requests, o.connections, o.tokens, o.flowCount, o.flowClients, o.reclaimEvery, o.reclaimRate) < 1 {
		return nil, errors.New("-rounds, -processes, -requests, -connections, -tokens, -flows-count, -flows-clients, -reclaim-every and " +
			"-reclaim-rate must be positive")
	}
	if o.reclaimNonces < buckets {
		return nil, fmt.Errorf("-reclaim-nonces must be %d at least", buckets)
	}
	if o.flows && (o.growth || o.svg != "") || o.reclaim && (o.growth || o.flows || o.svg != "") {
		return nil, errors.New("-flows and -reclaim go with neither each other nor -growth nor -svg")
	}
	if o.redis && (o.growth || o.reclaim) || o.replicas && (!o.redis || o.flows) {
		return nil, errors.New("-redis goes with -flows or -replicas, and with no other mode")
	}
	return o, nil
}

// makeQuick makes every number small whose flag was not given.
func (o *options) makeQuick(f *flag.FlagSet) {
	given := make(map[string]bool)
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{
		"rounds": "3", "requests": "1000", "tokens": "100", "growth-reads": "1000",
		"growth-tokens": "100,1000,10000", "growth-nonces": "0,1000,10000",
		"growth-connections": "1,8,64", "growth-policies": "1,10,50",
		"flows-count": "200", "flows-clients": "16",
		"reclaim-nonces": "10000", "reclaim-every": "1", "reclaim-rate": "200",
	} {
		if !given[name] {
			if err := f.Set(name, value); err != nil {
				panic(err)
			}
		}
	}
}

func bench(ctx context.Context, o *options) error {
	l, err := newLab(ctx, o)
	if err != nil {
		return err
	}
	defer l.close()
	e, err := l.environment()
	if err != nil {
		return err
	}
	var report, plot string
	switch {
	case o.growth:
		g, err := grow(l, o)
		if err != nil {
			return err
		}
		report, plot = g.markdown(e, o), g.svg(e)
	case o.replicas:
		r, err := compareReplicas(l, o)
		if err != nil {
			return err
		}
		report, plot = r.markdown(e, o), r.svg(e)
	case o.flows:
		f, err := measureFlows(l, o)
		if err != nil {
			return err
		}
		report = f.markdown(e, o)
	case o.reclaim:
		r, err := giveBack(l, o)
		if err != nil {
			return err
		}
		report = r.markdown(e, o)
	default:
		c, err := compare(l, o)
		if err != nil {
			return err
		}
		report, plot = c.markdown(e, o), c.svg(e)
	}
	fmt.Print(report)
	for path, text := range map[string]string{o.out: report, o.svg: plot} {
		if path == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// progress prints a line for the person who waits.
func progress(format string, values ...any) { fmt.Fprintf(os.Stderr, format+"\n", values...) }
