package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// replicas holds what -redis -replicas measured: a rising number of sidecars that share one Redis
// server, against as many processes of plain reverse_proxy.
type replicas struct {
	counts []int
	oauth1 [][]result // by the place in counts, one for each round
	plain  [][]result
	one    []result // one process of plain reverse_proxy
}

func compareReplicas(l *lab, o *options) (*replicas, error) {
	r := &replicas{counts: o.replicaCounts, oauth1: make([][]result, len(o.replicaCounts)), plain: make([][]result, len(o.replicaCounts))}
	type entry struct {
		target *target
		runs   *[]result
	}
	one, err := startPlain(l)
	if err != nil {
		return nil, err
	}
	entries := []entry{{one, &r.one}}
	for i, n := range r.counts {
		shared, err := l.startShared(n)
		if err != nil {
			return nil, fmt.Errorf("%d sidecars: %w", n, err)
		}
		plain, err := l.together(n, func(name string) (*target, error) { return l.startCaddy("plain-"+name, site{}, nobody) })
		if err != nil {
			return nil, fmt.Errorf("%d times reverse_proxy: %w", n, err)
		}
		entries = append(entries, entry{shared, &r.oauth1[i]}, entry{plain, &r.plain[i]})
	}
	for _, e := range entries {
		if _, err := l.run(l.ctx, e.target, max(o.requests/5, o.connections), o.connections, uniform(o.tokens)); err != nil {
			return nil, err
		}
	}
	for round := range o.rounds {
		for _, i := range rand.Perm(len(entries)) {
			e := entries[i]
			run, err := l.run(l.ctx, e.target, o.requests, o.connections, uniform(o.tokens))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", e.target.proxy[0].name, err)
			}
			*e.runs = append(*e.runs, run)
			progress("round %d/%d  %-20s %d  %6.0f req/s  %5.0f us CPU + %4.0f beside", round+1, o.rounds,
				e.target.proxy[0].name, len(e.target.proxy), run.rate(), run.proxyCPU(), run.besideCPU())
		}
	}
	return r, nil
}

// startShared starts sidecars on one Redis server of their own.
func (l *lab) startShared(n int) (*target, error) {
	servers, err := l.startRedis(fmt.Sprintf("redis-of-%d", n), oneServer)
	if err != nil {
		return nil, err
	}
	s := site{app: anyApp, before: directive}
	first := true
	return l.together(n, func(name string) (*target, error) {
		if first {
			first = false
			return l.startOAuth1On("oauth1-"+name, servers, s, l.tokens)
		}
		s.redis = servers
		return l.startCaddy("oauth1-"+name, s, signed("HMAC-SHA256"))
	})
}

// together starts n proxies, and makes one target of them.
func (l *lab) together(n int, start func(name string) (*target, error)) (*target, error) {
	var all *target
	for i := range n {
		t, err := start(fmt.Sprintf("%d-of-%d", i+1, n))
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = t
			continue
		}
		all.others = append(all.others, t.addr)
		all.proxy = append(all.proxy, t.proxy...)
	}
	return all, nil
}

// cores is how many processors the proxies, and the servers that they ask, used on average.
func (r result) proxyCores() float64  { return r.proxy.Seconds() / r.elapsed.Seconds() }
func (r result) besideCores() float64 { return r.beside.Seconds() / r.elapsed.Seconds() }

// fullAt is how many requests a second the servers beside could take if one processor did nothing
// else: Redis executes scripts in one thread.
func (r result) fullAt() float64 {
	return float64(r.requests) * float64(time.Second) / float64(r.beside)
}

func (r *replicas) markdown(e environment, o *options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Medians of %d interleaved rounds of %s requests, HMAC-SHA256, %d keep-alive connections, %s tokens; sidecars that share one "+
		"Redis server, and as many processes of plain reverse_proxy; ratios against one process of plain reverse_proxy (%.0f req/s) in the same round, %s. "+
		"All processes share the cores of one machine.\n\n",
		o.rounds, count(o.requests), o.connections, count(o.tokens), measure(r.one, result.rate).Center, plusMinus)
	b.WriteString("| sidecars | req/s against plain | as many of plain reverse_proxy | sidecars' CPU, µs a request | Redis' CPU, µs a request | " +
		"cores of the sidecars | cores of Redis | requests a second that would fill Redis' core |\n" +
		"| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for i, n := range r.counts {
		runs := r.oauth1[i]
		fmt.Fprintf(&b, "| %d | %s | %s | %.0f | %.1f | %.2f | %.2f | %.0f |\n", n, against(runs, r.one, result.rate).ratio(),
			against(r.plain[i], r.one, result.rate).ratio(), measure(runs, result.proxyCPU).Center, measure(runs, result.besideCPU).Center,
			measure(runs, result.proxyCores).Center, measure(runs, result.besideCores).Center, measure(runs, result.fullAt).Center)
	}
	fmt.Fprintf(&b, "\n%s\n", e)
	return b.String()
}

// svg shows who is the bottleneck.
func (r *replicas) svg(e environment) string {
	panels := []panel{
		{title: "requests a second", names: [2]string{"oauth1 on one Redis", "reverse_proxy"}, one: true},
		{title: "CPU a request, µs", names: [2]string{"the sidecars", "Redis"}},
		{title: "cores in use", names: [2]string{"the sidecars", "Redis"}},
	}
	for i, n := range r.counts {
		for p, lines := range [][2]figure{
			{against(r.oauth1[i], r.one, result.rate), against(r.plain[i], r.one, result.rate)},
			{measure(r.oauth1[i], result.proxyCPU), measure(r.oauth1[i], result.besideCPU)},
			{measure(r.oauth1[i], result.proxyCores), measure(r.oauth1[i], result.besideCores)},
		} {
			for line, f := range lines {
				panels[p].lines[line] = append(panels[p].lines[line], dot{n, f})
			}
		}
	}
	return drawPanels("Sidecars that share one Redis server: requests a second against one plain reverse_proxy", panels, e)
}
