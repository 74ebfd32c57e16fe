package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A result is what one run of one peer measured.
type result struct {
	requests           int
	elapsed            time.Duration
	proxy, beside      time.Duration // CPU
	upstream, client   time.Duration // CPU
	idle               float64       // CPU of the proxy since the run before, in milliseconds a second; negative: not measured
	p50, p99, maxDelay time.Duration
}

func (r result) rate() float64      { return float64(r.requests) / r.elapsed.Seconds() }
func (r result) proxyCPU() float64  { return micros(r.proxy) / float64(r.requests) }
func (r result) besideCPU() float64 { return micros(r.beside) / float64(r.requests) }
func (r result) totalCPU() float64  { return r.proxyCPU() + r.besideCPU() }
func (r result) upstreamCPU() float64 {
	return micros(r.upstream) / float64(r.requests)
}
func (r result) clientCPU() float64  { return micros(r.client) / float64(r.requests) }
func (r result) latency50() float64  { return micros(r.p50) }
func (r result) latency99() float64  { return micros(r.p99) }
func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// patience is how long anything may take before the benchmark gives up on it.
const patience = 60 * time.Second

// send sends the requests over keep-alive connections, each waiting for its answer, and checks the answers. It returns
// the time that each took.
func send(ctx context.Context, addr string, connections int, requests []request) ([]int64, time.Duration, error) {
	connections = min(connections, len(requests))
	clients := make([]*client, connections)
	defer func() {
		for _, c := range clients {
			if c != nil {
				c.conn.Close()
			}
		}
	}()
	for i := range clients {
		conn, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			return nil, 0, err
		}
		clients[i] = &client{conn: conn, buf: make([]byte, 8<<10)}
	}

	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the client's garbage is none of the peer's business

	delays := make([]int64, len(requests))
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	start := time.Now()
	for _, c := range clients {
		all.Go(func() {
			for failed.Load() == nil && ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(requests) {
					return
				}
				began := time.Now()
				if err := c.do(requests[i], began); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				delays[i] = int64(time.Since(began))
			}
		})
	}
	all.Wait()
	elapsed := time.Since(start)
	if err := failed.Load(); err != nil {
		return nil, 0, *err
	}
	return delays, elapsed, ctx.Err()
}

// A client is a connection. It reads no more of HTTP than the answers hold, and so costs little.
type client struct {
	conn net.Conn
	buf  []byte
}

var (
	status200     = []byte("HTTP/1.1 200 ")
	headEnd       = []byte("\r\n\r\n")
	contentLength = []byte("\r\nContent-Length: ")
)

func (c *client) do(r request, now time.Time) error {
	if err := c.conn.SetDeadline(now.Add(patience)); err != nil {
		return err
	}
	if _, err := c.conn.Write(r.wire); err != nil {
		return err
	}
	n, body := 0, -1
	for body < 0 {
		m, err := c.conn.Read(c.buf[n:])
		n += m
		if i := bytes.Index(c.buf[:n], headEnd); i >= 0 {
			body = i + len(headEnd)
			break
		}
		if err != nil {
			return fmt.Errorf("read an answer: %w: %q", err, c.buf[:n])
		}
		if n == len(c.buf) {
			return errors.New("read an answer: its header is too long")
		}
	}
	if !bytes.HasPrefix(c.buf[:n], status200) {
		return fmt.Errorf("wrong answer: %q, to %q", c.buf[:n], r.wire)
	}
	length, err := bodyLength(c.buf[:body])
	if err != nil {
		return err
	}
	if body+length > len(c.buf) {
		return fmt.Errorf("wrong answer: a body of %d bytes", length)
	}
	for n < body+length {
		m, err := c.conn.Read(c.buf[n:])
		n += m
		if err != nil {
			return fmt.Errorf("read an answer: %w", err)
		}
	}
	if got := string(c.buf[body:n]); got != r.want {
		return fmt.Errorf("wrong answer: %q, want %q", got, r.want)
	}
	return nil
}

func bodyLength(head []byte) (int, error) {
	i := bytes.Index(head, contentLength)
	if i < 0 { // spelt in another way, or not there
		i = bytes.Index(bytes.ToLower(head), bytes.ToLower(contentLength))
	}
	if i < 0 {
		return 0, fmt.Errorf("wrong answer: no Content-Length: %q", head)
	}
	value, _, _ := bytes.Cut(head[i+len(contentLength):], []byte("\r\n"))
	return strconv.Atoi(string(value))
}

// run measures a peer: n requests, made before the clock runs.
func (l *lab) run(ctx context.Context, t *target, n, connections int, pick picker) (result, error) {
	requests, err := prepare(t.addr, n, pick, t.credential)
	if err != nil {
		return result{}, err
	}
	before, err := l.meter(t)
	if err != nil {
		return result{}, err
	}
	idle := -1.0
	if time.Since(t.ended) > time.Second && !t.ended.IsZero() { // soon after a run, its connections are being closed
		idle = 1000 * (before[0] - t.usedByEnd).Seconds() / time.Since(t.ended).Seconds()
	}
	delays, elapsed, err := send(ctx, t.addr, connections, requests)
	if err != nil {
		return result{}, err
	}
	after, err := l.meter(t)
	if err != nil {
		return result{}, err
	}
	t.ended, t.usedByEnd = time.Now(), after[0]
	slices.Sort(delays)
	return result{
		requests: n,
		elapsed:  elapsed,
		proxy:    after[0] - before[0],
		beside:   after[1] - before[1],
		upstream: after[2] - before[2],
		client:   after[3] - before[3],
		idle:     idle,
		p50:      time.Duration(quantile(delays, 0.5)),
		p99:      time.Duration(quantile(delays, 0.99)),
		maxDelay: time.Duration(delays[len(delays)-1]),
	}, nil
}

// meter reads the CPU time of the proxy, of what it asks, of the upstream and of ourselves.
func (l *lab) meter(t *target) (m [4]time.Duration, err error) {
	for i, processes := range [...][]*process{t.proxy, t.beside, {l.upstream}, {l.self}} {
		for _, p := range processes {
			used, err := cpuTimes(p.pids)
			if err != nil {
				return m, fmt.Errorf("%s: %w", p.name, err)
			}
			m[i] += used
		}
	}
	return m, nil
}
