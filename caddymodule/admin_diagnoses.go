package caddymodule

import (
	"net/http"
	"sync"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

// refusalRing holds the latest refused requests and their explanations.
type refusalRing struct {
	mu    sync.Mutex
	times rising
	all   []adminapi.Diagnosis // the oldest first
}

// mostRefusals is how many refused requests are kept.
const mostRefusals = 200

// recentRefusals holds the latest refused requests of the process. A reload does not end it.
var recentRefusals refusalRing

// rising makes times that differ, so that a time tells what a reader has seen.
type rising struct{ last time.Time }

// next is the time, or one just after the time before.
func (r *rising) next(t time.Time) time.Time {
	if t = t.Round(0).UTC(); !t.After(r.last) {
		t = r.last.Add(1)
	}
	r.last = t
	return t
}

// appendLatest appends an item to at most as many, without the oldest.
func appendLatest[T any](all []T, item T, most int) []T {
	if len(all) >= most {
		copy(all, all[1:])
		all = all[:most-1]
	}
	return append(all, item)
}

// add keeps a request.
func (k *refusalRing) add(d adminapi.Diagnosis) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d.Time = k.times.next(d.Time)
	k.all = appendLatest(k.all, d, mostRefusals)
}

// list returns the requests after a time, of one consumer unless that is "".
func (k *refusalRing) list(consumer string, since time.Time) []adminapi.Diagnosis {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := []adminapi.Diagnosis{}
	for _, d := range k.all {
		if d.Time.After(since) && (consumer == "" || d.Consumer == consumer) {
			list = append(list, d)
		}
	}
	return list
}

// listDiagnoses answers with the latest refused requests, by consumer and after a time.
func (c *adminCall) listDiagnoses() (int, any, error) {
	query, err := c.query("consumer", "since")
	if err != nil {
		return 0, nil, err
	}
	since, err := sinceOf(query.Get("since"))
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, adminapi.Diagnoses{Items: recentRefusals.list(query.Get("consumer"), since)}, nil
}

// sinceOf reads a time in RFC 3339; an empty one is the beginning.
func sinceOf(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	since, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, failure(http.StatusBadRequest,
			"since %q: must be a time such as 2027-01-31T00:00:00Z", text)
	}
	return since, nil
}
