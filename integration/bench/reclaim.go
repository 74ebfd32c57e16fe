package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"time"
)

const (
	// reclaimSlice is short, so that the requests of a quiet time do not hide a stall.
	reclaimSlice = 250 * time.Millisecond
	// reclaimSlices is how many slices a removal usually takes, with one before and one after it.
	reclaimSlices = 3
	// reclaimLate is how many seconds after a bucket's end the store has removed it. The store
	// looks every five seconds.
	reclaimLate = 6
	// reclaimReady is how many seconds the start and the first requests may take after the filling.
	reclaimReady = 8
	// reclaimFill is the least number of nonces a second that fills a store.
	reclaimFill = 250_000
)

// reclaim holds the results of the fourth mode.
type reclaim struct {
	states        []state   // before each slice, and after the last
	oauth1, plain [][]int64 // the delays of the requests that were due in each slice
}

// A state is the size of a store at a moment.
type state struct {
	files  []string // of the nonce log, sorted
	disk   int64    // bytes of them
	memory int64    // anonymous, in bytes
}

// giveBack sends requests while the nonces of earlier requests expire, bucket after bucket.
//
// In production a bucket ends every minute. Here buckets end faster, so that there are several in a
// short time, but not so fast that the store removes two of them at once.
//
// The load is an open loop, well below what fills the machine. On a full machine a p99 is the
// length of the queues, and any other work makes them longer, with or without a stall. In a closed
// loop a stall holds up no more requests than there are connections. Plain reverse_proxy has the
// same load at the same time, so that other machines' use of the cores does not look like a stall.
func giveBack(l *lab, o *options) (*reclaim, error) {
	const tokens = 1000
	quiet := 2 * o.reclaimEvery // seconds, before and after
	ends := int(time.Now().Unix()) + o.reclaimNonces/reclaimFill + reclaimReady + quiet
	progress("filling a store with %s nonces", count(o.reclaimNonces))
	dir := l.folder("reclaim")
	defer os.RemoveAll(dir)
	if err := l.fillStore(dir+"/store", [2]int{0, tokens}, oldNonces{o.reclaimNonces, ends, o.reclaimEvery}); err != nil {
		return nil, err
	}
	t, _, err := l.restart("oauth1-reclaim", site{app: anyApp, dir: dir, before: directive}, tokens)
	if err != nil {
		return nil, err
	}
	defer l.stopTarget(t)
	plain, err := startPlain(l)
	if err != nil {
		return nil, err
	}
	defer l.stopTarget(plain)

	seconds := quiet + (buckets-1)*o.reclaimEvery + reclaimLate + quiet
	var requests [2][]request
	for i, t := range [...]*target{t, plain} {
		if _, err := l.run(l.ctx, t, max(o.requests/5, o.connections), o.connections, uniform(tokens)); err != nil {
			return nil, err
		}
		if requests[i], err = prepare(t.addr, seconds*o.reclaimRate, uniform(tokens), t.credential); err != nil {
			return nil, err
		}
	}
	first := time.Unix(int64(ends-quiet), 0)
	if late := time.Since(first); late > 0 {
		return nil, fmt.Errorf("ready %.1f seconds too late: try fewer -reclaim-nonces", late.Seconds())
	}

	progress("sending %s requests a second for %d seconds", count(o.reclaimRate), seconds)
	// drive does the same, but of two concurrent calls neither restores it.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	r := new(reclaim)
	n := seconds * int(time.Second/reclaimSlice)
	done := make(chan error, 3)
	go func() { done <- r.watch(ctx, t, dir+"/store/nonces", first, n) }()
	every := time.Second / time.Duration(o.reclaimRate)
	load := func(t *target, requests []request, first time.Time, delays *[][]int64) {
		all, _, err := sendPaced(ctx, []string{t.addr}, o.connections, requests, pace{first, every})
		*delays = make([][]int64, n)
		for i, delay := range all {
			slice := time.Duration(i) * every / reclaimSlice
			(*delays)[slice] = append((*delays)[slice], delay)
		}
		done <- err
	}
	go load(t, requests[0], first, &r.oauth1)
	go load(plain, requests[1], first.Add(every/2), &r.plain)
	for range cap(done) {
		if err := <-done; err != nil {
			return nil, err
		}
	}
	if g := r.givings(); len(g) == 0 || g[0].from == 0 || g[len(g)-1].to == len(r.oauth1) {
		return nil, fmt.Errorf("nothing was given back between two quiet times: %v", g)
	}
	return r, nil
}

// watch looks at the store at the beginning of each of n slices, and at the end of the last.
func (r *reclaim) watch(ctx context.Context, t *target, dir string, first time.Time, n int) error {
	for i := range n + 1 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(first.Add(time.Duration(i) * reclaimSlice))):
		}
		s, err := look(dir)
		if err != nil {
			return err
		}
		if s.memory, err = anonymousMemory(t.proxy[0].pids[0]); err != nil {
			return err
		}
		r.states = append(r.states, s)
	}
	return nil
}

// look returns what is in a folder.
func look(dir string) (s state, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return s, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was just removed
		}
		if err != nil {
			return s, err
		}
		s.files = append(s.files, e.Name())
		s.disk += info.Size()
	}
	return s, nil
}

// A span is a range of slices: from, and below to.
type span struct{ from, to int }

// givings returns the spans in which the store removed files, with one slice before and one after.
// A bucket leaves memory shortly before its files are removed, and a request that waits may have
// been due earlier.
func (r *reclaim) givings() []span {
	var all []span
	end := len(r.states) - 1
	for i := range end {
		if !r.gone(i) {
			continue
		}
		s := span{max(i-1, 0), min(i+2, end)}
		if n := len(all); n > 0 && all[n-1].to >= s.from {
			all[n-1].to = s.to
		} else {
			all = append(all, s)
		}
	}
	return all
}

// gone reports whether files were removed during a slice.
func (r *reclaim) gone(slice int) bool {
	after := r.states[slice+1].files
	return slices.ContainsFunc(r.states[slice].files, func(name string) bool {
		_, found := slices.BinarySearch(after, name)
		return !found
	})
}

// gaps returns the slices before, between and after the spans.
func (r *reclaim) gaps(spans []span) []span {
	var all []span
	from := 0
	for _, s := range spans {
		all = append(all, span{from, s.from})
		from = s.to
	}
	return append(all, span{from, len(r.states) - 1})
}

// pieces cuts spans into pieces of reclaimSlices.
func pieces(spans []span) []span {
	var all []span
	for _, s := range spans {
		for ; s.from+reclaimSlices <= s.to; s.from += reclaimSlices {
			all = append(all, span{s.from, s.from + reclaimSlices})
		}
	}
	return all
}

// within returns for each span the q-quantile of the delays, in milliseconds, of the requests that
// were due in it.
func within(delays [][]int64, spans []span, q float64) []float64 {
	values := make([]float64, len(spans))
	for i, s := range spans {
		sorted := slices.Concat(delays[s.from:s.to]...)
		slices.Sort(sorted)
		values[i] = float64(quantile(sorted, q)) / 1e6
	}
	return values
}

// elapsed is when a slice begins.
func elapsed(slice int) time.Duration { return time.Duration(slice) * reclaimSlice }
