package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// A comparison is what the first mode measured.
type comparison struct {
	peers   []peer               // the first is the baseline
	runs    map[string][]result  // by the peer's name, one for each round
	idle    map[string][]float64 // by the peer's name: CPU after the last run, in ms a second
	skipped []string
}

func peerNames(peers []peer) string {
	var names []string
	for _, p := range peers {
		names = append(names, p.name)
	}
	return strings.Join(names, ",")
}

func compare(l *lab, o *options) (*comparison, error) {
	all := peers
	if o.redis {
		all = redisPeers
	}
	chosen, err := choose(all, o.peers)
	if err != nil {
		return nil, err
	}
	c := &comparison{peers: chosen, runs: make(map[string][]result), idle: make(map[string][]float64)}
	process := func(round int) int { return round * o.processes / o.rounds }
	var targets map[string]*target
	for round := range o.rounds {
		if round == 0 || process(round) != process(round-1) {
			if err := c.end(l, targets); err != nil {
				return nil, err
			}
			if targets, err = c.start(l, o, round == 0); err != nil {
				return nil, err
			}
		}
		if err := c.round(l, o, targets, fmt.Sprintf("%d/%d", round+1, o.rounds)); err != nil {
			return nil, err
		}
	}
	if err := c.profile(l, o, targets); err != nil {
		return nil, err
	}
	return c, c.end(l, targets)
}

// round runs each peer once, in a random order: work that a peer leaves behind, such as pages that
// the kernel has yet to write, must not always burden the same next peer.
func (c *comparison) round(l *lab, o *options, targets map[string]*target, name string) error {
	for _, i := range rand.Perm(len(c.peers)) {
		p := c.peers[i]
		r, err := l.run(l.ctx, targets[p.name], o.requests, o.connections, uniform(o.tokens))
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		c.runs[p.name] = append(c.runs[p.name], r)
		progress("round %s  %-20s %6.0f req/s  %5.0f us CPU + %4.0f beside  p50 %6.2f ms  p99 %6.2f ms",
			name, p.name, r.rate(), r.proxyCPU(), r.besideCPU(), r.latency50(), r.latency99())
	}
	return nil
}

// start starts the peers, and drops those that are not installed.
func (c *comparison) start(l *lab, o *options, first bool) (map[string]*target, error) {
	targets := make(map[string]*target)
	var ran []peer
	for _, p := range c.peers {
		t, err := p.start(l)
		switch {
		case isMissing(err):
			progress("%-20s skipped: %v", p.name, err)
			c.skipped = append(c.skipped, fmt.Sprintf("%s (`%s`): %v", p.label, p.name, err))
			continue
		case err != nil:
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		if first {
			progress("%-20s started", p.name)
		}
		ran = append(ran, p)
		targets[p.name] = t
		// Caches fill, connections open, and peers start their worker processes.
		if _, err := l.run(l.ctx, t, max(o.requests/5, o.connections), o.connections, uniform(o.tokens)); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		for _, process := range append(t.proxy, t.beside...) {
			if err := process.adopt(); err != nil {
				return nil, err
			}
		}
	}
	c.peers = ran
	return targets, nil
}

// end stops the peers.
func (c *comparison) end(l *lab, targets map[string]*target) error {
	for name, t := range targets {
		used, ok, err := l.idle(t)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if ok {
			c.idle[name] = append(c.idle[name], used)
		}
	}
	for _, t := range targets {
		l.stopTarget(t)
	}
	return nil
}

// profile writes CPU profiles where -profile wants them.
func (c *comparison) profile(l *lab, o *options, targets map[string]*target) error {
	if o.profile == "" {
		return nil
	}
	if err := os.MkdirAll(o.profile, 0o755); err != nil {
		return err
	}
	for _, p := range c.peers {
		if targets[p.name].admin == nil {
			continue
		}
		file := filepath.Join(o.profile, p.name+".pprof")
		progress("profile of %s: %s", p.name, file)
		if err := l.profile(targets[p.name], file, 10); err != nil {
			return fmt.Errorf("profile %s: %w", p.name, err)
		}
	}
	return nil
}

// base is the runs of the baseline.
func (c *comparison) base() []result { return c.runs[c.peers[0].name] }
