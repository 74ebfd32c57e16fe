package main

import (
	"debug/buildinfo"
	"fmt"
	"slices"
	"strings"
	"time"
)

// environment describes the machine and the versions of a result.
type environment struct{ machine, versions, date string }

func (l *lab) environment() (environment, error) {
	info, err := buildinfo.ReadFile(l.binary)
	if err != nil {
		return environment{}, fmt.Errorf("read %s: %w", l.binary, err)
	}
	commit, changed := "", ""
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			commit = setting.Value[:min(12, len(setting.Value))]
		case setting.Key == "vcs.modified" && setting.Value == "true":
			changed = " with changes"
		}
	}
	if commit == "" {
		commit = "unknown"
	}
	return environment{
		machine:  machine(),
		versions: fmt.Sprintf("%s, Caddy %s, commit %s%s", info.GoVersion, caddyVersion(info), commit, changed),
		date:     time.Now().Format("2006-01-02"),
	}, nil
}

func caddyVersion(info *buildinfo.BuildInfo) string {
	for _, dep := range info.Deps {
		if dep.Path == "github.com/caddyserver/caddy/v2" {
			return dep.Version
		}
	}
	return "?"
}

func (e environment) String() string { return e.machine + "; " + e.versions + "; " + e.date }

func (c *comparison) markdown(e environment, o *options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Medians of %d interleaved rounds of %s requests, by %d processes one after the other, %d keep-alive connections, %s tokens; "+
		"ratios against plain reverse_proxy in the same round, %s.\n\n",
		o.rounds, count(o.requests), min(o.processes, o.rounds), o.connections, count(o.tokens), plusMinus)
	b.WriteString("| | req/s against plain | proxy CPU against plain | proxy CPU, µs a request | CPU beside, µs a request | req/s | p50, ms | p99, ms |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	base := c.base()
	for i, p := range c.peers {
		runs := c.runs[p.name]
		label, rate, cpu, beside := p.label, "1", "1", ""
		if i > 0 {
			rate, cpu = against(runs, base, result.rate).ratio(), against(runs, base, result.proxyCPU).ratio()
		}
		if p.ours {
			label = "**" + label + "**"
		}
		if m := measure(runs, result.besideCPU).Center; m > 0 {
			beside = fmt.Sprintf("%.0f", m)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.0f | %s | %.0f | %.2f | %.2f |\n", label, rate, cpu,
			measure(runs, result.proxyCPU).Center, beside, measure(runs, result.rate).Center,
			measure(runs, result.latency50).Center, measure(runs, result.latency99).Center)
	}
	fmt.Fprintf(&b, "\nA request costs the upstream %.0f µs and the client %.0f µs of CPU beside these, on the same cores.\n",
		measure(base, result.upstreamCPU).Center, measure(base, result.clientCPU).Center)
	b.WriteString(c.sentence("Against reverse_proxy with signed requests, which it does not verify, in req/s and CPU", func(p peer) string {
		signed := c.runs[plainSigned]
		if !p.ours || signed == nil {
			return ""
		}
		return against(c.runs[p.name], signed, result.rate).ratio() + " and " + against(c.runs[p.name], signed, result.proxyCPU).ratio()
	}))
	b.WriteString(c.sentence("After its last run, when nobody asks it, a proxy spends, in ms of CPU a second", func(p peer) string {
		if len(c.idle[p.name]) == 0 {
			return ""
		}
		return fmt.Sprintf("%.1f", figureOf(c.idle[p.name]).Center)
	}))
	if len(c.skipped) > 0 {
		b.WriteString("\nSkipped:\n\n")
		for _, s := range c.skipped {
			b.WriteString("- " + s + "\n")
		}
	}
	fmt.Fprintf(&b, "\n%s\n", e)
	return b.String()
}

// sentence lists the peers for which of returns a text.
func (c *comparison) sentence(what string, of func(peer) string) string {
	var parts []string
	for _, p := range c.peers {
		if said := of(p); said != "" {
			parts = append(parts, "`"+p.name+"` "+said)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "\n" + what + ": " + strings.Join(parts, ", ") + ".\n"
}

func (g *growth) markdown(e environment, o *options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Medians of %d interleaved rounds of %s requests, HMAC-SHA256; ratios against plain reverse_proxy (%.0f req/s) "+
		"in the same round, %s. Start: from exec after kill -9 to the first verified answer.\n",
		o.rounds, count(o.requests), g.baseRate, plusMinus)
	for _, s := range g.series() {
		if len(s.points) == 0 {
			continue
		}
		stored := s.points[0].start > 0
		fmt.Fprintf(&b, "\n| %s | req/s against plain | proxy CPU against plain | CPU against the first row |", s.name)
		if stored {
			b.WriteString(" start, s | memory at start, MB | memory after, MB |")
		}
		b.WriteString("\n| --- | --- | --- | --- |")
		if stored {
			b.WriteString(" --- | --- | --- |")
		}
		b.WriteString("\n")
		for _, p := range s.points {
			fmt.Fprintf(&b, "| %s | %s | %s | %.2f |", count(p.size), p.rate.ratio(), p.cpu.ratio(), p.cpu.Center/s.points[0].cpu.Center)
			if stored {
				fmt.Fprintf(&b, " %.2f | %.0f | %.0f |", p.start.Seconds(), megabytes(p.fresh), megabytes(p.memory))
			}
			b.WriteString("\n")
		}
		first, last := s.points[0], s.points[len(s.points)-1]
		if s.name == "live nonces" && last.size > first.size {
			fmt.Fprintf(&b, "\n%.0f bytes of memory for a live nonce, at start.\n",
				float64(last.fresh-first.fresh)/float64(last.size-first.size))
		}
	}
	fmt.Fprintf(&b, "\nConnections: %d where they are not what grows. Tokens are reached by a Zipf distribution; memory after them is read after %s "+
		"more requests with tokens at random. Memory is RssAnon.\n\n%s\n", o.connections, count(o.reads), e)
	return b.String()
}

func (f *flows) markdown(e environment, o *options) string {
	var b strings.Builder
	whole, steps := f.rounds[wholeFlow], flowParts-1
	requestRate := func(r result) float64 { return r.rate() * float64(steps) }
	fmt.Fprintf(&b, "Medians of %d rounds of %s three-legged flows, %d clients at the same time, %s. "+
		"Each of a flow's %d requests is answered, and checked, before the next.%s\n\n",
		o.rounds, count(o.flowCount), o.flowClients, plusMinus, steps, f.where(o))
	b.WriteString("| flows/s | requests/s | proxy CPU, µs a flow | Redis' CPU, µs a flow |\n| --- | --- | --- | --- |\n")
	fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", measure(whole, result.rate).text(0), measure(whole, requestRate).text(0),
		measure(whole, result.proxyCPU).text(0), measure(whole, result.besideCPU).text(0))
	b.WriteString("\n| | p50, ms | p99, ms |\n| --- | --- | --- |\n")
	for part, name := range partNames {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, measure(f.rounds[part], result.latency50).text(2), measure(f.rounds[part], result.latency99).text(2))
	}
	fmt.Fprintf(&b, "\nA flow costs the client %.0f µs of CPU beside these, on the same cores. The %s access tokens passed afterwards.\n\n%s\n",
		measure(whole, result.clientCPU).Center, count(len(f.granted)), e)
	return b.String()
}

// where says where the grants are, if not in the default store.
func (f *flows) where(o *options) string {
	if !o.redis {
		return ""
	}
	return " The store is a Redis Cluster of three masters with a replica each: what is acknowledged, the replica has."
}

func (r *reclaim) markdown(e environment, o *options) string {
	var b strings.Builder
	givings := r.givings()
	gaps := r.gaps(givings)
	fmt.Fprintf(&b, "%s live nonces end, a fifth of them every %d seconds, while there are %s verified requests a second, HMAC-SHA256, "+
		"and as many to plain reverse_proxy, each at its time, on %d keep-alive connections each. p50 and p99 are those of mostly %.2f s, "+
		"as long as it takes to see files go: medians of all such times, %s. So a neighbour who "+
		"disturbs some of them does not count, but a stall that is there each time does.\n\n",
		count(o.reclaimNonces), o.reclaimEvery, count(o.reclaimRate), o.connections, elapsed(reclaimSlices).Seconds(), plusMinus)
	b.WriteString("| | times | p50, ms | p99, ms | p99 against before | longest, ms | plain: p99, ms | longest, ms | p99 against plain |\n" +
		"| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	before := pieces(gaps[:1])
	base := figureOf(within(r.oauth1, before, 0.99)).Center
	for _, row := range []struct {
		name  string
		spans []span
	}{
		{"before", before},
		{"**while nonces are given back**", givings},
		{"in between", pieces(gaps[1 : len(gaps)-1])},
		{"after", pieces(gaps[len(gaps)-1:])},
	} {
		if len(row.spans) == 0 {
			continue
		}
		p99, plain := within(r.oauth1, row.spans, 0.99), within(r.plain, row.spans, 0.99)
		ratios := make([]float64, len(p99))
		for i := range ratios {
			ratios[i] = p99[i] / plain[i]
		}
		fmt.Fprintf(&b, "| %s | %d | %.2f | %s | %.2f | %.1f | %s | %.1f | %s |\n", row.name, len(row.spans),
			figureOf(within(r.oauth1, row.spans, 0.5)).Center, figureOf(p99).ratio(), figureOf(p99).Center/base, slices.Max(within(r.oauth1, row.spans, 1)),
			figureOf(plain).ratio(), slices.Max(within(r.plain, row.spans, 1)), figureOf(ratios).ratio())
	}
	b.WriteString("\n| given back after, s | files | p99, ms | longest, ms | then files | on disk, MB | memory, MB |\n" +
		"| --- | --- | --- | --- | --- | --- | --- |\n")
	first := r.states[gaps[0].to]
	fmt.Fprintf(&b, "| | | | | %d | %.0f | %.0f |\n", len(first.files), megabytes(first.disk), megabytes(first.memory))
	p99, longest := within(r.oauth1, givings, 0.99), within(r.oauth1, givings, 1)
	for i, g := range givings {
		then := r.states[gaps[i+1].to]
		fmt.Fprintf(&b, "| %.2f | %d | %.2f | %.1f | %d | %.0f | %.0f |\n", elapsed(g.from+1).Seconds(),
			len(r.states[g.from].files)-len(r.states[g.to].files), p99[i], longest[i],
			len(then.files), megabytes(then.disk), megabytes(then.memory))
	}
	fmt.Fprintf(&b, "\nFiles are those of the nonces, memory is RssAnon.\n\n%s\n", e)
	return b.String()
}

// A series is the points of one thing that grows.
type series struct {
	name   string
	points []point
}

func (g *growth) series() []series {
	return []series{
		{"stored tokens", g.tokens},
		{"live nonces", g.nonces},
		{"connections", g.connections},
		{"policies", g.policies},
	}
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }

// count writes 1000 as 1 k and 5000000 as 5 M.
func count(n int) string {
	switch {
	case n >= 1e6 && n%1e5 == 0:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/1e6), ".0") + " M"
	case n >= 1e3 && n%1e2 == 0:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/1e3), ".0") + " k"
	}
	return fmt.Sprint(n)
}
