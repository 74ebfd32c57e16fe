package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// growth holds the results of the second mode.
type growth struct {
	tokens, nonces, connections, policies []point
	baseRate                              float64 // of plain reverse_proxy, with -connections
}

// A point holds the measurements at one size. Memory and start are 0 in series that do not measure
// them.
type point struct {
	size      int
	rate, cpu figure // against plain reverse_proxy
	memory    int64  // anonymous, in bytes, after the requests
	fresh     int64  // anonymous, in bytes, at the start
	start     time.Duration
}

func grow(l *lab, o *options) (*growth, error) {
	plain, err := startPlain(l)
	if err != nil {
		return nil, err
	}
	if _, err := l.run(l.ctx, plain, max(o.requests/5, o.connections), o.connections, uniform(1)); err != nil {
		return nil, err
	}
	g := new(growth)
	if err := g.growTokens(l, o, plain); err != nil {
		return nil, fmt.Errorf("growth of tokens: %w", err)
	}
	if err := g.growNonces(l, o, plain); err != nil {
		return nil, fmt.Errorf("growth of nonces: %w", err)
	}
	if err := g.growConnections(l, o, plain); err != nil {
		return nil, fmt.Errorf("growth of connections: %w", err)
	}
	if err := g.growPolicies(l, o, plain); err != nil {
		return nil, fmt.Errorf("growth of policies: %w", err)
	}
	return g, nil
}

// growTokens fills one store, size after size.
func (g *growth) growTokens(l *lab, o *options, plain *target) error {
	dir := l.folder("tokens")
	defer os.RemoveAll(dir)
	had := 0
	for _, size := range o.growTokens {
		progress("filling a store with %s tokens", count(size))
		if err := l.fillStore(dir+"/store", [2]int{had, size}, oldNonces{}); err != nil {
			return err
		}
		had = size
		t, p, err := l.restart("oauth1-tokens", site{app: anyApp, dir: dir, before: directive}, size)
		if err != nil {
			return err
		}
		// These reads cache the tokens that are used most. Many of the others are used for the
		// first time during the measurement.
		if err := l.read(t, o.reads/4, o.connections, zipf(size)); err != nil {
			return err
		}
		if err := g.interleave(l, o, plain, t, &p, o.connections, zipf(size), "tokens"); err != nil {
			return err
		}
		if err := l.read(t, o.reads, o.connections, uniform(size)); err != nil {
			return err
		}
		if p.memory, err = anonymousMemory(t.proxy[0].pids[0]); err != nil {
			return err
		}
		l.stopTarget(t)
		g.tokens = append(g.tokens, p)
	}
	return nil
}

// growNonces begins with a new store each time, because nonces expire.
func (g *growth) growNonces(l *lab, o *options, plain *target) error {
	const tokens = 1000
	for _, size := range o.growNonces {
		progress("filling a store with %s live nonces", count(size))
		dir := l.folder("nonces")
		if err := l.fillStore(dir+"/store", [2]int{0, tokens}, oldNonces{number: size}); err != nil {
			return err
		}
		t, p, err := l.restart("oauth1-nonces", site{app: anyApp, dir: dir, before: directive}, tokens)
		if err != nil {
			return err
		}
		p.size = size
		if err := g.interleave(l, o, plain, t, &p, o.connections, zipf(tokens), "live nonces"); err != nil {
			return err
		}
		if p.memory, err = anonymousMemory(t.proxy[0].pids[0]); err != nil {
			return err
		}
		l.stopTarget(t)
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		g.nonces = append(g.nonces, p)
	}
	return nil
}

func (g *growth) growConnections(l *lab, o *options, plain *target) error {
	if len(o.growConns) == 0 {
		return nil
	}
	t, err := startOAuth1("oauth1-connections", "", "HMAC-SHA256")(l)
	if err != nil {
		return err
	}
	defer l.stopTarget(t)
	for _, size := range o.growConns {
		p := point{size: size}
		// Open the connections to the upstream before the measurement.
		for _, t := range []*target{plain, t} {
			if _, err := l.run(l.ctx, t, 4*size, size, uniform(o.tokens)); err != nil {
				return err
			}
		}
		if err := g.interleave(l, o, plain, t, &p, size, uniform(o.tokens), "connections"); err != nil {
			return err
		}
		g.connections = append(g.connections, p)
	}
	return nil
}

func (g *growth) growPolicies(l *lab, o *options, plain *target) error {
	for _, size := range o.growPolicies {
		t, err := l.startCaddy(fmt.Sprintf("oauth1-policies-%d", size),
			site{app: anyApp, before: directiveWithPolicies(size)}, signed("HMAC-SHA256"))
		if err != nil {
			return err
		}
		if err := t.introduce(o.tokens, nil); err != nil {
			return err
		}
		p := point{size: size}
		if err := g.interleave(l, o, plain, t, &p, o.connections, uniform(o.tokens), "policies"); err != nil {
			return err
		}
		l.stopTarget(t)
		g.policies = append(g.policies, p)
	}
	return nil
}

// directiveWithPolicies is the handler with n policies. Only the last one matches the requests.
func directiveWithPolicies(n int) string {
	var b strings.Builder
	b.WriteString("oauth1 {\n\t\tinsecure_plaintext_over_http\n")
	for i := range n - 1 {
		fmt.Fprintf(&b, "\t\tpolicy /part-%d/* {\n\t\t\tpermission WRITE_PRIVATE\n\t\t}\n", i)
	}
	b.WriteString("\t\tpolicy {\n\t\t\tpermission READ_PUBLIC\n\t\t}\n\t}")
	return b.String()
}

// restart starts a Caddy on a store whose process was killed, and measures the time to the first
// verified answer.
func (l *lab) restart(name string, s site, tokens int) (*target, point, error) {
	began := time.Now()
	t, process, err := l.launchCaddy(name, s, signed("HMAC-SHA256"))
	if err != nil {
		return nil, point{}, err
	}
	p := point{size: tokens}
	if err := l.until(process, func() error {
		r, err := prepare(t.addr, 1, uniform(tokens), t.credential)
		if err != nil {
			return err
		}
		_, _, err = send(l.ctx, []string{t.addr}, 1, r)
		return err
	}); err != nil {
		return nil, point{}, err
	}
	p.start = time.Since(began)
	if p.fresh, err = anonymousMemory(process.pids[0]); err != nil {
		return nil, point{}, err
	}
	return t, p, settle(process)
}

// settle waits until the process has finished its work after the crash, which is not a cost of
// requests.
func settle(p *process) error {
	const interval, quiet = 500 * time.Millisecond, 25 * time.Millisecond
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		before, err := cpuTimes(p.pids)
		if err != nil {
			return err
		}
		time.Sleep(interval)
		after, err := cpuTimes(p.pids)
		if err != nil || after-before < quiet {
			return err
		}
	}
	return nil
}

// read sends requests in portions, to limit the memory for prepared requests.
func (l *lab) read(t *target, requests, connections int, pick picker) error {
	const portion = 50_000
	for ; requests > 0; requests -= portion {
		if _, err := l.run(l.ctx, t, min(requests, portion), connections, pick); err != nil {
			return err
		}
	}
	return nil
}

// interleave measures t against plain reverse_proxy.
func (g *growth) interleave(l *lab, o *options, plain, t *target, p *point, connections int, pick picker, what string) error {
	if _, err := l.run(l.ctx, t, max(o.requests/5, connections), connections, pick); err != nil {
		return err
	}
	runs := make(map[*target][]result)
	for round := range o.rounds {
		order := []*target{plain, t}
		if round%2 == 1 {
			order = []*target{t, plain}
		}
		for _, t := range order {
			r, err := l.run(l.ctx, t, o.requests, connections, pick)
			if err != nil {
				return err
			}
			runs[t] = append(runs[t], r)
		}
	}
	p.rate = against(runs[t], runs[plain], result.rate)
	p.cpu = against(runs[t], runs[plain], result.proxyCPU)
	if connections == o.connections {
		g.baseRate = measure(runs[plain], result.rate).Center
	}
	progress("%10s %-12s %.2f req/s, %.2f CPU against plain; start %.2f s", count(p.size), what,
		p.rate.Center, p.cpu.Center, p.start.Seconds())
	return nil
}
