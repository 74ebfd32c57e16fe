package badgerstore

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

const (
	// A transaction removes up to removedAtOnce records, and looks at up to lookedAtOnce. Other
	// writes wait for it.
	removedAtOnce = 30
	lookedAtOnce  = 500
	// restAfterRemoval is how long the goroutine rests after a transaction, in multiples of the
	// time that it took.
	restAfterRemoval = 2
	// Nothing is removed while Badger has unmergedTables or more that it has not merged yet, for
	// mergePatience at most. If there were four, and the level below were full, Badger would merge
	// them with a buffer of 256 MiB.
	unmergedTables = 3
	mergePatience  = 10 * time.Second
	// With maxMarks or more, no further consumers are forgotten: every change of the marks copies
	// them all.
	maxMarks = 1000
	// maxIdleNoted is how many self-registered consumers are looked at when a user's tokens are
	// gone. The hourly sweep finds the others.
	maxIdleNoted = 10_000
)

// revocations are those whose tokens are still on disk. A revocation of many tokens is one durable
// mark, below prefixRevocation, made while no change is under way. Records that match it and are
// older, by Badger's version, are hidden from every call. When the background goroutine has removed
// them, it removes the mark.
//
// A version is the number of a commit. It rises with every commit, also across restarts.
type revocations struct {
	marks atomic.Pointer[marks]
	nudge chan struct{}
	// mu is held while hidden records are removed, and while a call puts a new record in the place
	// of one.
	mu sync.Mutex
	// held are marks that hide a record of a later format version, which this program can't remove.
	// Only the background goroutine uses them. A mark is tried again when it is made again, and
	// when the store is opened.
	held marks
	// sweeping says that expired request tokens are being removed. Disk space is given back when
	// that is over, not before and only for half of them.
	sweeping atomic.Bool
	// garbage is about how many bytes were removed since Badger last cleaned up, and are still on
	// disk.
	garbage atomic.Int64
}

// marks are never changed. A reader takes them before it reads a record that they may hide. So it
// knows of a revocation even if the mark is removed meanwhile.
type marks map[tokenstore.Filter]mark

type mark struct {
	version uint64
	at      time.Time
}

// many reports whether revoked tokens must be removed before more consumers are forgotten.
func (r *revocations) many() bool {
	m := r.pending()
	return m != nil && len(*m) >= maxMarks
}

// pending returns the marks; nil means none, as for most requests.
func (r *revocations) pending() *marks { return r.marks.Load() }

// hide reports whether a token of that version was revoked. user is empty for a request token
// without a review.
func (m *marks) hide(user, consumer string, version uint64) bool {
	return m != nil && m.match(user, consumer, version)
}

func (m *marks) match(user, consumer string, version uint64) bool {
	if version < (*m)[tokenstore.Filter{Consumer: consumer}].version {
		return true
	}
	return user != "" && (version < (*m)[tokenstore.Filter{User: user}].version ||
		version < (*m)[tokenstore.Filter{User: user, Consumer: consumer}].version)
}

// since returns the version below which all tokens of the consumer are being removed.
func (m *marks) since(consumer string) uint64 {
	if m == nil {
		return 0
	}
	return (*m)[tokenstore.Filter{Consumer: consumer}].version
}

// inOrder returns the filters of the marks, the oldest first, and those of one commit in the order
// of the indexes: so that a removal does not scan again what it has removed.
func (m marks) inOrder() []tokenstore.Filter {
	return slices.SortedFunc(maps.Keys(m), func(a, b tokenstore.Filter) int {
		return cmp.Or(cmp.Compare(m[a].version, m[b].version), bytes.Compare(revocationKey(a), revocationKey(b)))
	})
}

// ofUsers reports whether a mark has a user, so that a token's user must be known.
func (m *marks) ofUsers() bool {
	if m == nil {
		return false
	}
	for f := range *m {
		if f.User != "" {
			return true
		}
	}
	return false
}

func revocationKey(f tokenstore.Filter) []byte { return indexKey(prefixRevocation, f.User, f.Consumer) }

func (s *Store) loadRevocations() error {
	found := make(marks)
	err := s.tokens.view(func(txn *reader) error {
		return scan(txn, []byte{prefixRevocation}, nil, true, func(item *entry) (bool, error) {
			return true, item.Value(func(v []byte) error {
				key, at, err := revocation(item.Key(), v)
				if err != nil {
					return err
				}
				user, consumer, ok := cutName(key)
				if !ok {
					return record.ErrDamaged
				}
				f := tokenstore.Filter{User: string(user), Consumer: string(consumer)}
				found[f] = mark{version: item.Version(), at: time.UnixMilli(decodeTime(at))}
				return nil
			})
		})
	})
	s.revocations.nudge = make(chan struct{}, 1)
	s.revocations.set(found)
	return err
}

func (r *revocations) set(m marks) {
	if len(m) == 0 {
		r.marks.Store(nil)
		return
	}
	r.marks.Store(&m)
}

func (r *revocations) copy() marks {
	if m := r.pending(); m != nil {
		return maps.Clone(*m)
	}
	return make(marks)
}

// mark commits c and revokes all that the filters match now. The caller holds the gate alone, so
// that no change is under way.
func (s *Store) mark(c change, now time.Time, filters ...tokenstore.Filter) error {
	for _, f := range filters {
		c.put(revocationKey(f), encodeTime(now), 0)
	}
	c.frees = true
	if err := s.tokens.commit(c); err != nil {
		return err
	}
	version, err := s.versionOf(revocationKey(filters[0]))
	if err != nil {
		return err
	}
	next := s.revocations.copy()
	for _, f := range filters {
		next[f] = mark{version, now}
	}
	s.revocations.set(next)
	for _, f := range filters {
		if f.User == "" {
			s.requests.detach(f.Consumer, version)
		}
	}
	s.revocations.wake()
	return nil
}

// wake makes the background goroutine look now.
func (r *revocations) wake() {
	select {
	case r.nudge <- struct{}{}:
	default:
	}
}

// removeInBackground removes revoked records from disk, and makes Badger clean up after it.
func (s *Store) removeInBackground() {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		if err := s.removeRevoked(); err != nil {
			s.log.Error("removing revoked tokens", zap.Error(err))
		}
		if err := s.reclaim(); err != nil {
			s.log.Error("reclaiming disk space", zap.Error(err))
		}
		select {
		case <-s.stop:
			return
		case <-tick.C:
		case <-s.revocations.nudge:
		}
	}
}

// working returns the marks that are not held.
func (r *revocations) working() marks {
	working := r.copy()
	for f, m := range r.held {
		if working[f] == m {
			delete(working, f)
		}
	}
	return working
}

// removeRevoked works off the marks, the oldest first, until there are none.
func (s *Store) removeRevoked() error {
	for !isClosed(s.stop) {
		working := s.revocations.working()
		if len(working) == 0 {
			return nil
		}
		if err := s.removeAllMarked(working); err != nil {
			return err
		}
		s.wake() // there may be more consumers to be forgotten
	}
	return nil
}

// removeAllMarked removes what the marks match, and then the marks, those of one commit together.
// Marks that hide a record of a later format version stay.
func (s *Store) removeAllMarked(pending marks) error {
	for filters := pending.inOrder(); len(filters) > 0; {
		group := make(marks)
		first := pending[filters[0]]
		var spans []span
		var later error
		idle := make(map[string]struct{})
		for ; len(filters) > 0 && pending[filters[0]].version == first.version; filters = filters[1:] {
			f := filters[0]
			group[f] = pending[f]
			spans = append(spans, s.spansOf(f, pending[f], idle, &later)...)
		}
		err := s.removeAll(spans)
		s.noteIdle(idle, first.at)
		if err != nil || isClosed(s.stop) {
			return err
		}
		if later != nil {
			s.revocations.hold(group)
			s.log.Error("a revoked token stays on disk, where it is hidden", zap.Error(later))
			continue
		}
		if err := s.unmark(group); err != nil {
			return err
		}
	}
	return nil
}

// hold adds the marks to those that are held, and drops those that no longer exist.
func (r *revocations) hold(group marks) {
	held := maps.Clone(group)
	if pending := r.pending(); pending != nil {
		for f, m := range r.held {
			if (*pending)[f] == m {
				held[f] = m
			}
		}
	}
	r.held = held
}

// spansOf returns the spans of the indexes that hold what a mark matches. When tokens of a user are
// removed, their consumers are added to idle. later is set to the error of a hidden record of a
// later format version.
func (s *Store) spansOf(f tokenstore.Filter, m mark, idle map[string]struct{}, later *error) (spans []span) {
	hidden := func(txn *reader, key []byte, err error) error {
		version, notRead := getVersion(txn, key, func([]byte) error { return nil })
		if notRead == nil && version < m.version {
			*later = err
		}
		return notRead
	}
	access, requests := indexPrefix(prefixTokenOfConsumer, f.Consumer), indexPrefix(prefixRequestOfConsumer, f.Consumer)
	before := 8 // the time stands before the key
	if f.User != "" {
		access, requests, before = indexPrefix(prefixTokenOfUser, f.User), indexPrefix(prefixRequestOfUser, f.User), 0
	}
	for _, access := range s.tokens.names(access) {
		spans = append(spans, span{prefix: access, pick: func(txn *reader, b *removal, index []byte) error {
			key := string(index[len(access):])
			t, err := accessTokenIn(txn, key)
			if record.Elsewhere(err) {
				return hidden(txn, recordKey(prefixAccessToken, key), wrapRead("access token", key, err))
			}
			if err != nil || t.version >= m.version || !matches(f, t.token.User, t.token.Consumer) {
				return err
			}
			b.accessToken(t)
			if f.User != "" && len(idle) < maxIdleNoted {
				idle[t.token.Consumer] = struct{}{}
			}
			return nil
		}})
	}
	for _, requests := range s.tokens.names(requests) {
		spans = append(spans, span{prefix: requests, pick: func(txn *reader, b *removal, index []byte) error {
			key := string(index[min(len(requests)+before, len(index)):])
			t, version, err := requestTokenIn(txn, key)
			if record.Elsewhere(err) {
				return hidden(txn, recordKey(prefixRequestToken, key), wrapRead("request token", key, err))
			}
			if err != nil || version >= m.version || !matches(f, reviewer(t), t.Consumer) {
				return err
			}
			b.requestToken(t, version)
			return nil
		}})
	}
	return spans
}

func matches(f tokenstore.Filter, user, consumer string) bool {
	return (f.User == "" || user == f.User) && (f.Consumer == "" || consumer == f.Consumer)
}

func reviewer(t *tokenstore.RequestToken) string {
	if t.Review == nil {
		return ""
	}
	return t.Review.User
}

// A span is the part of an index with a prefix, after one entry and before another if they are
// given.
type span struct {
	prefix, after, until []byte
	// pick gets every entry, and adds to the removal what must be removed.
	pick func(txn *reader, b *removal, index []byte) error
}

// removeAll removes what the spans pick, a few at a time and with rests. It holds no lock that
// others need while it reads.
func (s *Store) removeAll(spans []span) (err error) {
	for len(spans) > 0 && !isClosed(s.stop) {
		start := time.Now()
		if spans, err = s.removeSome(spans); err != nil {
			return err
		}
		s.rest(time.Since(start), s.stop)
		s.awaitMerge()
	}
	return nil
}

// rest sleeps after work that took so long, so that other calls proceed.
func (s *Store) rest(took time.Duration, stop <-chan struct{}) {
	select {
	case <-stop:
	case <-time.After(restAfterRemoval * took):
	}
}

// awaitMerge waits until Badger has merged the newest tables, so that it keeps pace with the
// removal.
func (s *Store) awaitMerge() {
	deadline := time.Now().Add(mergePatience)
	for s.unmerged() >= unmergedTables && time.Now().Before(deadline) && !isClosed(s.stop) {
		s.rest(10*time.Millisecond, s.stop)
	}
}

// unmerged returns how many tables were written from memory and not merged yet.
func (s *Store) unmerged() int { return s.tokens.db.Levels()[0].NumTables }

// removeSome removes some records, and returns what is left of the spans.
func (s *Store) removeSome(spans []span) (left []span, err error) {
	s.revocations.mu.Lock()
	defer s.revocations.mu.Unlock()
	b, looked := &removal{s: s}, 0
	full := func() bool {
		return looked >= lookedAtOnce || b.records >= removedAtOnce || b.c.size > maxTxnSize/4
	}
	err = s.tokens.view(func(txn *reader) error {
		for ; len(spans) > 0 && !full(); spans = spans[1:] {
			stopped, p := false, &spans[0]
			err := scan(txn, p.prefix, p.after, false, func(item *entry) (bool, error) {
				key := item.KeyCopy(nil)
				p.after = key[len(p.prefix):]
				if p.until != nil && string(p.after) >= string(p.until) {
					return false, nil
				}
				err := p.pick(txn, b, key)
				switch {
				case errors.Is(err, tokenstore.ErrNotFound), errors.Is(err, record.ErrDamaged):
					b.c.remove(key) // the entry leads to no record that can be read
				case err != nil:
					return false, err
				}
				looked++
				stopped = full()
				return !stopped, nil
			})
			if err != nil || stopped {
				return err
			}
			looked++ // a span without an entry costs as much as one
		}
		return nil
	})
	return spans, errors.Join(err, b.commit())
}

// unmark removes marks whose tokens are gone, unless the same filter was revoked again since.
func (s *Store) unmark(done marks) error {
	if len(done) == 0 {
		return nil
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	var c change
	next := s.revocations.copy()
	for f, m := range done {
		if next[f] == m {
			c.remove(revocationKey(f))
			delete(next, f)
		}
	}
	if len(c.ops) == 0 {
		return nil
	}
	if err := s.tokens.commit(c); err != nil {
		return err
	}
	s.revocations.set(next)
	return nil
}

// noteIdle notes which of the self-registered consumers have no access token any more.
func (s *Store) noteIdle(consumers map[string]struct{}, since time.Time) {
	for consumer := range consumers {
		if err := s.noteIfIdle(consumer, since); err != nil {
			s.log.Error("noting consumers without access tokens", zap.Error(err))
			return
		}
	}
}

func (s *Store) noteIfIdle(consumer string, since time.Time) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	idle, _, err := s.nowIdle(consumer, "")
	if err != nil || !idle {
		return err
	}
	var c change
	c.put(recordKey(prefixIdle, consumer), encodeTime(since), 0)
	if err := s.tokens.commit(c); err != nil {
		return err
	}
	s.self.set(consumer, since)
	return nil
}

// A removal removes hidden records, each with its indexes, in one transaction.
type removal struct {
	s           *Store
	locked      map[*sync.Mutex]struct{} // until the commit
	c           change
	records     int
	bytes       int64    // on disk, about
	afterCommit []func() // changes memory when the removal is on disk
}

func (r *removal) accessToken(t *storedAccessToken) {
	removeAccessToken(&r.c, &t.token)
	r.records++
	r.bytes += accessTokenOnDisk
	key := t.token.Key
	r.afterCommit = append(r.afterCommit, func() { r.s.accessTokens.remove(key) })
}

func (r *removal) requestToken(t *tokenstore.RequestToken, version uint64) {
	removeRequestToken(&r.c, t)
	r.records++
	r.bytes += int64(requestUnits(t)) * tokenstore.RequestTokenSize
	r.afterCommit = append(r.afterCommit, func() { r.s.requests.remove(t, version) })
}

// lockRequestToken tries to lock the request token until the commit. It does not wait, since a call
// that has the lock may wait for revocations.mu.
func (r *removal) lockRequestToken(key string) bool {
	m := r.s.requestLocks.of(key)
	if _, ok := r.locked[m]; ok {
		return true
	}
	if !m.TryLock() {
		return false
	}
	if r.locked == nil {
		r.locked = make(map[*sync.Mutex]struct{})
	}
	r.locked[m] = struct{}{}
	return true
}

func (r *removal) commit() error {
	defer func() {
		for m := range r.locked {
			m.Unlock()
		}
	}()
	if len(r.c.ops) == 0 {
		return nil
	}
	if err := r.s.tokens.commit(r.c); err != nil {
		return err
	}
	for _, f := range r.afterCommit {
		f()
	}
	r.s.revocations.garbage.Add(r.bytes)
	return nil
}

// sweepRequests removes the request tokens that need not be remembered any more.
func (s *Store) sweepRequests(now time.Time) error {
	over := now.Add(-tokenstore.RequestRetention)
	last := encodeTime(over.Add(time.Millisecond))
	var spans []span
	for consumer, second := range s.requests.due(over.Unix()) {
		first := encodeTime(time.Unix(second, 0))
		for _, prefix := range s.tokens.names(indexPrefix(prefixRequestOfConsumer, consumer)) {
			spans = append(spans, span{prefix, first, last, func(txn *reader, b *removal, index []byte) error {
				key := string(index[min(len(prefix)+8, len(index)):])
				if !b.lockRequestToken(key) { // an exchange began before the clock jumped: the next sweep removes it
					return nil
				}
				t, version, err := s.storedRequestToken(key) // as it is under the lock
				if record.Elsewhere(err) {
					return nil // a program that knows it removes it
				}
				if err != nil || !requestForgotten(t, now) {
					return err
				}
				b.requestToken(t, version)
				return nil
			}})
		}
	}
	if len(spans) == 0 {
		return nil
	}
	s.revocations.sweeping.Store(true)
	err := s.removeAll(spans)
	s.revocations.sweeping.Store(false)
	s.revocations.wake()
	return err
}

// pin returns the current snapshot, for a long read; release must be called.
func (d *database) pin() (*snapshot, error) {
	for {
		if err := d.usable(); err != nil {
			return nil, err
		}
		s := d.snapshot.Load()
		if s == nil {
			return nil, badger.ErrDBClosed
		}
		if s.use() {
			return s, nil
		}
	}
}
