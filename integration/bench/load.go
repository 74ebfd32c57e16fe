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

// A result holds the measurements of one run of one peer.
type result struct {
	requests         int
	elapsed          time.Duration
	proxy, beside    time.Duration // CPU
	upstream, client time.Duration // CPU
	p50, p99         time.Duration
}

func (r result) rate() float64      { return float64(r.requests) / r.elapsed.Seconds() }
func (r result) proxyCPU() float64  { return micros(r.proxy) / float64(r.requests) }
func (r result) besideCPU() float64 { return micros(r.beside) / float64(r.requests) }
func (r result) totalCPU() float64  { return r.proxyCPU() + r.besideCPU() }
func (r result) upstreamCPU() float64 {
	return micros(r.upstream) / float64(r.requests)
}
func (r result) clientCPU() float64  { return micros(r.client) / float64(r.requests) }
func (r result) latency50() float64  { return micros(r.p50) / 1000 } // in milliseconds
func (r result) latency99() float64  { return micros(r.p99) / 1000 }
func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// patience is the timeout of every step.
const patience = 60 * time.Second

// A pace says when requests are due. With the zero pace, a request is due when a connection is
// free.
type pace struct {
	first time.Time
	every time.Duration
}

// wait sleeps until request i is due, and returns the start of its delay. If no connection was free
// when the request was due, its delay starts at the due time, so that a stall counts for every
// request that it held up. If only the timer was late, its delay starts now.
func (p pace) wait(i int) time.Time {
	now := time.Now()
	if p.every == 0 {
		return now
	}
	due := p.first.Add(time.Duration(i) * p.every)
	if due.Before(now) {
		return due
	}
	time.Sleep(due.Sub(now))
	return time.Now()
}

// send sends the requests over keep-alive connections, and checks the answers. A connection sends
// its next request after the answer to the last one. It returns the delay of each request.
func send(ctx context.Context, addrs []string, connections int, requests []request) ([]int64, time.Duration, error) {
	return sendPaced(ctx, addrs, connections, requests, pace{})
}

func sendPaced(ctx context.Context, addrs []string, connections int, requests []request, p pace) ([]int64, time.Duration, error) {
	delays := make([]int64, len(requests))
	elapsed, err := drive(ctx, addrs, connections, len(requests), func(c *client, i int) error {
		began := p.wait(i)
		if err := c.do(requests[i], began); err != nil {
			return err
		}
		delays[i] = int64(time.Since(began))
		return nil
	})
	return delays, elapsed, err
}

// drive calls work n times, from clients that have one keep-alive connection each, to one address
// after the other. A client takes the next number when its last call has returned.
func drive(ctx context.Context, addrs []string, connections, n int, work func(c *client, i int) error) (time.Duration, error) {
	connections = min(connections, n)
	clients := make([]*client, connections)
	defer func() {
		for _, c := range clients {
			if c != nil {
				c.conn.Close()
			}
		}
	}()
	for i := range clients {
		conn, err := net.DialTimeout("tcp", addrs[i%len(addrs)], patience)
		if err != nil {
			return 0, err
		}
		clients[i] = &client{conn: conn, buf: make([]byte, 32<<10)}
	}

	runtime.GC()
	// Collecting the client's garbage would take CPU from the peer.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))

	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	start := time.Now()
	for _, c := range clients {
		all.Go(func() {
			for failed.Load() == nil && ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := work(c, i); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
			}
		})
	}
	all.Wait()
	elapsed := time.Since(start)
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return elapsed, ctx.Err()
}

// A client is a connection. It understands only as much of HTTP as the answers use, so it costs
// little.
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
	_, body, err := c.ask(r.wire, status200, now)
	if err != nil {
		return err
	}
	if got := string(body); got != r.want {
		return fmt.Errorf("wrong answer: %q, want %q", got, r.want)
	}
	return nil
}

// ask sends a request and reads its answer, which must begin with status. The results are valid
// until the next call.
func (c *client) ask(wire, status []byte, now time.Time) (head, body []byte, err error) {
	if err := c.conn.SetDeadline(now.Add(patience)); err != nil {
		return nil, nil, err
	}
	if _, err := c.conn.Write(wire); err != nil {
		return nil, nil, err
	}
	n, end := 0, -1
	for end < 0 {
		m, err := c.conn.Read(c.buf[n:])
		n += m
		if i := bytes.Index(c.buf[:n], headEnd); i >= 0 {
			end = i + len(headEnd)
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read an answer: %w: %q", err, c.buf[:n])
		}
		if n == len(c.buf) {
			return nil, nil, errors.New("read an answer: its header is too long")
		}
	}
	if !bytes.HasPrefix(c.buf[:n], status) {
		return nil, nil, fmt.Errorf("wrong answer: %q, to %q", c.buf[:n], wire)
	}
	length, err := bodyLength(c.buf[:end])
	if err != nil {
		return nil, nil, err
	}
	if end+length > len(c.buf) {
		return nil, nil, fmt.Errorf("wrong answer: a body of %d bytes", length)
	}
	for n < end+length {
		m, err := c.conn.Read(c.buf[n:])
		n += m
		if err != nil {
			return nil, nil, fmt.Errorf("read an answer: %w", err)
		}
	}
	return c.buf[:end], c.buf[end:n], nil
}

func bodyLength(head []byte) (int, error) {
	value, ok := field(head, contentLength)
	if !ok {
		return 0, fmt.Errorf("wrong answer: no Content-Length: %q", head)
	}
	return strconv.Atoi(value)
}

// field returns the value of a header field. The name includes the line end before it and the colon
// and blank after it.
func field(head, name []byte) (string, bool) {
	i := bytes.Index(head, name)
	if i < 0 { // in another case, or absent
		i = bytes.Index(bytes.ToLower(head), bytes.ToLower(name))
	}
	if i < 0 {
		return "", false
	}
	value, _, _ := bytes.Cut(head[i+len(name):], []byte("\r\n"))
	return string(value), true
}

// run measures a peer with n requests, which are made before the clock starts. Where it is several
// proxies, all are asked for the first one's host, as by a load balancer.
func (l *lab) run(ctx context.Context, t *target, n, connections int, pick picker) (result, error) {
	requests, err := prepare(t.addr, n, pick, t.credential)
	if err != nil {
		return result{}, err
	}
	return l.charge(t, func() ([]int64, time.Duration, error) {
		return send(ctx, append([]string{t.addr}, t.others...), connections, requests)
	})
}

// charge measures the CPU time that work costs each process. The work returns the delays of its
// parts, and the time that it took.
func (l *lab) charge(t *target, work func() ([]int64, time.Duration, error)) (result, error) {
	before, err := l.meter(t)
	if err != nil {
		return result{}, err
	}
	delays, elapsed, err := work()
	if err != nil {
		return result{}, err
	}
	after, err := l.meter(t)
	if err != nil {
		return result{}, err
	}
	t.ended, t.usedByEnd = time.Now(), after[0]
	r := latencies(delays)
	r.elapsed = elapsed
	r.proxy = after[0] - before[0]
	r.beside = after[1] - before[1]
	r.upstream = after[2] - before[2]
	r.client = after[3] - before[3]
	return r, nil
}

// idle is the CPU time that the proxy has used since its last run, in milliseconds a second. If the
// run ended less than a second ago, ok is false.
func (l *lab) idle(t *target) (used float64, ok bool, err error) {
	since := time.Since(t.ended)
	if since < time.Second { // soon after a run, its connections are being closed
		return 0, false, nil
	}
	now, err := l.meter(t)
	return 1000 * (now[0] - t.usedByEnd).Seconds() / since.Seconds(), true, err
}

// latencies returns a result with latencies only. It sorts the delays.
func latencies(delays []int64) result {
	slices.Sort(delays)
	return result{
		requests: len(delays),
		p50:      time.Duration(quantile(delays, 0.5)),
		p99:      time.Duration(quantile(delays, 0.99)),
	}
}

// meter reads the CPU times of the proxy, the processes that it asks, the upstream and the client.
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
