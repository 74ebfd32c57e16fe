package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// A bulk revocation marks the consumer or the user in every slice that has tokens of it. From then
// on, what is older than the mark is refused, since everything that reads a token reads the marks,
// and every nonce is checked against the revision of its slice. The tokens are removed afterwards,
// a few at a time, by this call or by any process of any replica.

// defaultPatience is how long Revoke removes tokens itself before it leaves the rest to sweep.
const defaultPatience = 2 * time.Second

// removedAtOnce is how many tokens one script removes.
const removedAtOnce = 100

// Revoke removes every access token that matches, and the request tokens.
func (s *Store) Revoke(ctx context.Context, f tokenstore.Filter) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	if f == (tokenstore.Filter{}) {
		return 0, errors.New("revoking all tokens is not possible: name a user or a consumer")
	}
	return s.revoke(ctx, f)
}

func (s *Store) revoke(ctx context.Context, f tokenstore.Filter) (int, error) {
	var counted []string // of the request tokens that are revoked
	if f.User == "" {
		counted = s.counted(ctx, f.Consumer)
	}
	both := f.User != "" && f.Consumer != ""
	matching := 0
	if both { // the index has the user's other tokens too
		var err error
		if matching, err = s.CountAccessTokens(ctx, f); err != nil {
			return 0, err
		}
	}
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		total int
		errs  []error
		work  []job
		slots = make(chan struct{}, 16)
	)
	for sl := range slice(sliceCount) {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			j, tokens, err := s.mark(ctx, sl, f)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
			}
			if j != nil {
				work = append(work, *j)
			}
			total += tokens
		})
	}
	all.Wait()
	s.tokens.clear()
	if len(errs) > 0 {
		return 0, errs[0]
	}
	if both {
		total = matching
	}
	s.uncount(ctx, f.Consumer, counted)
	until := time.Now().Add(s.patience)
	for _, j := range work {
		if err := s.finish(ctx, j, until); err != nil {
			s.complain("revoked tokens are removed later", err)
			break
		}
	}
	return total, nil
}

// A job is the rest of a bulk revocation in one slice.
type job struct {
	slice    slice
	name     string
	mark     string
	revision uint64
}

// deadTokens and deadRequests are the lists of what a job removes, one for each of suffixes.
func (s *Store) deadTokens(j job, suffix string) string {
	return s.key(kindDead, j.slice, "a:"+j.name+suffix)
}

func (s *Store) deadRequests(j job, suffix string) string {
	return s.key(kindDead, j.slice, "r:"+j.name+suffix)
}

// mark revokes the tokens of a slice. It returns what is left to do, nil if there is nothing, and
// how many access tokens the index had.
func (s *Store) mark(ctx context.Context, sl slice, f tokenstore.Filter) (*job, int, error) {
	j := &job{slice: sl, name: tokenstore.NewKey(), mark: s.names("revocation", markOf(f))[0]}
	kind, rest := index(f)
	tokens, requests := s.namedKeys(kind, sl, rest), s.namedKeys(kindRequestsOfConsumer, sl, f.Consumer)
	if f.User != "" {
		requests = s.namedKeys(kindRequestsOfUser, sl, f.User)
	}
	keys := []string{s.states[sl], s.key(kindMarks, sl, ""), s.key(kindWork, sl, ""), s.key(kindBarrier, sl, "")}
	for i, suffix := range s.suffixes() {
		keys = append(keys, tokens[i], s.deadTokens(*j, suffix), requests[i], s.deadRequests(*j, suffix))
	}
	args := []string{j.mark, j.name, flag(f.User != "" && f.Consumer != ""), s.leaves[sl]}
	for range 3 {
		answer, err := s.runDurably(ctx, markScript, keys, args)
		if err != nil {
			return nil, 0, err
		}
		text, number := refusal(answer)
		switch text {
		case "epoch":
			if _, err := s.raise(ctx, sl); err != nil {
				return nil, 0, err
			}
			continue
		case "floor":
			return nil, 0, later(number)
		}
		if j.revision, err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, 0, fmt.Errorf("redis: mark.lua: unexpected answer %q", text)
		}
		if j.revision == 0 {
			return nil, 0, nil
		}
		return j, int(number), nil
	}
	return nil, 0, later(int64((s.lead() + skew) / time.Second))
}

// finish removes the tokens of a job, until a time.
func (s *Store) finish(ctx context.Context, j job, until time.Time) error {
	for time.Now().Before(until) {
		tokens, err := s.removeDead(ctx, j)
		if err != nil {
			return err
		}
		if tokens > 0 {
			continue
		}
		if done, err := s.endJob(ctx, j); done || err != nil {
			return err
		}
	}
	return nil
}

// endJob ends a job, and reports whether it could: nothing must be left to remove.
func (s *Store) endJob(ctx context.Context, j job) (bool, error) {
	keys := []string{s.key(kindMarks, j.slice, ""), s.key(kindWork, j.slice, "")}
	for _, suffix := range s.suffixes() {
		keys = append(keys, s.deadTokens(j, suffix), s.deadRequests(j, suffix))
	}
	answer, err := s.run(ctx, finishScript, keys, []string{j.mark, j.name})
	if err != nil {
		return false, err
	}
	n, err := answer.AsInt64()
	return n == 1, err
}

// removeDead removes some tokens of a job, and returns how many keys it looked at.
func (s *Store) removeDead(ctx context.Context, j job) (looked int, err error) {
	for _, suffix := range s.suffixes() {
		n, err := s.removeDeadOf(ctx, j, suffix)
		if looked += n; err != nil {
			return looked, err
		}
	}
	return looked, nil
}

func (s *Store) removeDeadOf(ctx context.Context, j job, suffix string) (int, error) {
	dead := []lookAt{{j.slice, s.deadTokens(j, suffix)}, {j.slice, s.deadRequests(j, suffix)}}
	lists, err := s.ranges(ctx, dead, []string{"", ""}, removedAtOnce)
	if err != nil {
		return 0, err
	}
	tokens, requests := lists[0], lists[1]
	if len(tokens)+len(requests) == 0 {
		return 0, nil
	}
	names := make([]string, 0, len(tokens)+len(requests))
	for _, key := range tokens {
		names = append(names, s.key(kindToken, j.slice, key))
	}
	for _, key := range requests {
		names = append(names, s.key(kindRequest, j.slice, key))
	}
	v, err := s.read(ctx, j.slice, names...)
	if err != nil {
		return 0, err
	}
	hit := marks{j.mark: j.revision}
	var deadTokens []*storedToken
	for i, value := range v.values[:len(tokens)] {
		t, err := decode(s, record.AccessToken, tokens[i], value)
		if errors.Is(err, record.ErrKey) {
			return 0, err // with its key, it would be there again
		}
		if err == nil && t != nil && s.revoked(hit, t.revision, t.is.Consumer, t.is.User) {
			deadTokens = append(deadTokens, t)
		}
	}
	var deadRequests []*storedRequest
	for i, value := range v.values[len(tokens):] {
		t, err := decode(s, record.RequestToken, requests[i], value)
		if errors.Is(err, record.ErrKey) {
			return 0, err
		}
		if err == nil && t != nil && s.revoked(hit, t.revision, t.is.Consumer, reviewer(t.is)) {
			deadRequests = append(deadRequests, t)
		}
	}
	w := newWrite(j.slice, nil)
	for _, t := range deadTokens {
		w.require(s.key(kindToken, j.slice, t.is.Key), t.value)
	}
	for _, t := range deadRequests {
		w.require(s.key(kindRequest, j.slice, t.is.Key), t.value)
	}
	consumers := make(map[string]bool)
	for _, t := range deadTokens {
		s.removeToken(w, t)
		consumers[t.is.Consumer] = true
	}
	ended := make([]*tokenstore.RequestToken, 0, len(deadRequests))
	for _, t := range deadRequests {
		s.removeRequest(w, t)
		ended = append(ended, t.is)
	}
	if len(tokens) > 0 {
		w.unindex(s, dead[0].index, tokens...)
	}
	if len(requests) > 0 {
		w.do("ZREM", dead[1].index, requests...)
	}
	done, err := s.commitLoosely(ctx, w)
	if err != nil || !done { // somebody was faster, or a token was touched: it is looked at again
		return len(tokens) + len(requests), err
	}
	if len(ended) > 0 {
		s.removed(ctx, ended...)
	}
	for consumer := range consumers {
		s.ended(ctx, consumer, s.clock())
	}
	return len(tokens) + len(requests), nil
}

// jobs returns the bulk revocations of a slice that are not finished.
func (s *Store) jobs(ctx context.Context, sl slice) ([]job, error) {
	c, err := s.link.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	work, err := c.Do(ctx, c.B().Hgetall().Key(s.key(kindWork, sl, "")).Build()).AsStrMap()
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	var jobs []job
	for name, description := range work {
		revision, mark, ok := strings.Cut(description, " ")
		n, err := strconv.ParseUint(revision, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("redis: unfinished revocation %q: %q", name, description)
		}
		jobs = append(jobs, job{sl, name, mark, n})
	}
	return jobs, nil
}
