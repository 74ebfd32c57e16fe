package main

import (
	"fmt"
	randv2 "math/rand/v2"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// flows holds the results of the third mode.
type flows struct {
	rounds  [flowParts][]result // the steps have latencies only
	granted []*tokenstore.AccessToken
}

// flowDirective takes the user from a header, which costs one look-up. A real login is the work of
// another handler, and adds its own time to the page and the review.
const flowDirective = "oauth1 {\n\t\tuser {http.request.header.Remote-User}\n\t}"

func measureFlows(l *lab, o *options) (*flows, error) {
	t, err := startFlows(l, o)
	if err != nil {
		return nil, err
	}
	defer l.stopTarget(t)
	f := new(flows)
	if _, err := f.run(l, t, max(o.flowCount/5, o.flowClients), o.flowClients); err != nil {
		return nil, err
	}
	for round := range o.rounds {
		parts, err := f.run(l, t, o.flowCount, o.flowClients)
		if err != nil {
			return nil, err
		}
		for i, r := range parts {
			f.rounds[i] = append(f.rounds[i], r)
		}
		r := parts[wholeFlow]
		progress("round %d/%d  %6.0f flows/s  %5.0f us CPU  p50 %6.2f ms  p99 %6.2f ms",
			round+1, o.rounds, r.rate(), r.proxyCPU(), r.latency50(), r.latency99())
	}
	return f, f.use(l, t, o.flowClients)
}

// startFlows starts the sidecar, with -redis on a Cluster.
func startFlows(l *lab, o *options) (*target, error) {
	const name = "oauth1-flows"
	s := site{app: anyApp, before: flowDirective}
	if o.redis {
		servers, err := l.startRedis(name, threeShards)
		if err != nil {
			return nil, err
		}
		return l.startOAuth1On(name, servers, s, 0)
	}
	t, err := l.startCaddy(name, s, nil)
	if err != nil {
		return nil, err
	}
	return t, t.introduce(0, nil)
}

// run goes through n flows, each of another user.
func (f *flows) run(l *lab, t *target, n, clients int) (parts [flowParts]result, err error) {
	var delays [flowParts][]int64
	for part := range delays {
		delays[part] = make([]int64, n)
	}
	first := len(f.granted)
	f.granted = append(f.granted, make([]*tokenstore.AccessToken, n)...)
	parts[wholeFlow], err = l.charge(t, func() ([]int64, time.Duration, error) {
		elapsed, err := drive(l.ctx, []string{t.addr}, clients, n, func(c *client, i int) error {
			w := walk{client: c, host: t.addr, consumer: hmacConsumer((first + i) % consumers), user: userName(first + i)}
			token, err := w.through()
			if err != nil {
				return err
			}
			f.granted[first+i] = token
			for part, took := range w.took {
				delays[part][i] = int64(took)
			}
			return nil
		})
		return delays[wholeFlow], elapsed, err
	})
	if err != nil {
		return parts, err
	}
	for part := wholeFlow + 1; part < flowParts; part++ {
		parts[part] = latencies(delays[part])
	}
	return parts, nil
}

// use signs a request with each of the tokens: the upstream must be told who granted it.
func (f *flows) use(l *lab, t *target, connections int) error {
	next := -1
	inTurn := func(*randv2.Rand) int {
		next++
		return next
	}
	requests, err := prepare(t.addr, len(f.granted), inTurn, func(host string, i int) (string, string, error) {
		secret := hmacConsumer(i % consumers).Secret
		return sign(host, f.granted[i], &oauth1.Signer{SignatureMethod: "HMAC-SHA256", ConsumerSecret: secret})
	})
	if err != nil {
		return err
	}
	if _, _, err = send(l.ctx, []string{t.addr}, connections, requests); err != nil {
		return fmt.Errorf("use the tokens: %w", err)
	}
	return nil
}
