package redisstore

import (
	"sync"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// A quota limits the live nonces of each consumer that this process has accepted, so that one
// consumer can't fill the servers' memory. The limits are those of every store: a token may have as
// many as are free for its consumer, and requests to the endpoints one part of EndpointShare.
//
// It counts by the seconds in which nonces expire, in steps of quotaStep.
type quota struct {
	limit int
	parts [16]quotaPart
}

// quotaStep is how many seconds are counted together. A nonce is counted for up to so much longer
// than it lives.
const quotaStep = 8

type quotaPart struct {
	mu        sync.Mutex
	consumers map[string]*consumerNonces
	oldest    int64                     // no step before it is in ending
	ending    map[int64]map[counted]int // by expiry, in steps
}

// counted is what a nonce counts for.
type counted struct {
	consumer, token string
	endpoint        bool
}

// consumerNonces are the live nonces of a consumer.
type consumerNonces struct {
	all, endpoints int
	tokens         map[string]int
}

func (q *quota) part(consumer string) *quotaPart {
	return &q.parts[sliceOf(consumer)%slice(len(q.parts))]
}

func countedAs(n tokenstore.Nonce) (counted, int64) {
	return counted{n.Consumer, n.Token, n.Endpoint}, n.Expires.Unix()/quotaStep + 1
}

// add counts a nonce, unless there are too many. now is in seconds. ErrNoncesFull,
// ErrTokenNoncesFull, ErrEndpointNoncesFull.
func (q *quota) add(n tokenstore.Nonce, now int64) error {
	p := q.part(n.Consumer)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire(now / quotaStep)
	c := p.consumers[n.Consumer]
	if c == nil {
		c = &consumerNonces{tokens: make(map[string]int)}
	}
	switch free := q.limit - c.all; {
	case free <= 0:
		return tokenstore.ErrNoncesFull
	case n.Endpoint && c.endpoints >= q.limit/tokenstore.EndpointShare:
		return tokenstore.ErrEndpointNoncesFull
	case !n.Endpoint && n.Token != "" && c.tokens[n.Token] >= free:
		return tokenstore.ErrTokenNoncesFull
	}
	if p.consumers == nil {
		p.consumers, p.ending, p.oldest = make(map[string]*consumerNonces), make(map[int64]map[counted]int), now/quotaStep
	}
	p.consumers[n.Consumer] = c
	as, step := countedAs(n)
	c.count(as, 1)
	if p.ending[step] == nil {
		p.ending[step] = make(map[counted]int)
	}
	p.ending[step][as]++
	p.oldest = min(p.oldest, step)
	return nil
}

// remove takes back an add.
func (q *quota) remove(n tokenstore.Nonce) {
	p := q.part(n.Consumer)
	p.mu.Lock()
	defer p.mu.Unlock()
	as, step := countedAs(n)
	if p.ending[step][as] == 0 {
		return // it is over
	}
	p.drop(as, 1)
	if p.ending[step][as]--; p.ending[step][as] == 0 {
		delete(p.ending[step], as)
	}
}

// expire drops what ended before a step.
func (p *quotaPart) expire(step int64) {
	if len(p.ending) == 0 || step <= p.oldest {
		return
	}
	for at, ended := range p.ending {
		if at > step {
			continue
		}
		for as, n := range ended {
			p.drop(as, n)
		}
		delete(p.ending, at)
	}
	p.oldest = step
}

func (p *quotaPart) drop(as counted, n int) {
	c := p.consumers[as.consumer]
	c.count(as, -n)
	if c.all == 0 {
		delete(p.consumers, as.consumer)
	}
}

func (c *consumerNonces) count(as counted, n int) {
	c.all += n
	switch {
	case as.endpoint:
		c.endpoints += n
	case as.token != "":
		if c.tokens[as.token] += n; c.tokens[as.token] == 0 {
			delete(c.tokens, as.token)
		}
	}
}

// live returns how many nonces are counted, and how many the consumer has that has most. now is in
// seconds.
func (q *quota) live(now int64) (all, most int64) {
	for i := range q.parts {
		p := &q.parts[i]
		p.mu.Lock()
		p.expire(now / quotaStep)
		for _, c := range p.consumers {
			all, most = all+int64(c.all), max(most, int64(c.all))
		}
		p.mu.Unlock()
	}
	return all, most
}
