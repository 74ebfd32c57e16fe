package redisstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/sealing"
)

// A Store keeps consumers, tokens and nonces in Redis or Valkey, for any number of processes.
type Store struct {
	link        *link
	prefix      string
	replicas    int
	logger      *zap.Logger
	clock       func() time.Time
	settings    atomic.Pointer[settings]
	limits      atomic.Pointer[tokenstore.Limits]
	tokens      *cache[tokenstore.AccessToken]
	consumers   *cache[tokenstore.Consumer]
	leases      [sliceCount]lease
	states      [sliceCount]string // the keys of the slices' states
	buckets     [sliceCount]string // with which the keys of nonces begin
	leaves      [sliceCount]string // with which the keys of the indexes' leaves begin
	raises      chan struct{}      // has room for raisesAtOnce
	gates       aheadGates
	quota       quota
	secret      atomic.Pointer[[32]byte]
	onForgotten atomic.Pointer[func(keys []string)]
	elsewhere   atomic.Pointer[elsewhere] // nil: not read yet

	life       context.Context // ends with Close
	end        context.CancelFunc
	ending     sync.RWMutex // Close waits for what began before it: nothing begins after it
	background sync.WaitGroup
	closed     atomic.Bool

	sealing    atomic.Pointer[sealing.Sealing]
	noting     sync.Mutex
	noted      atomic.Bool   // noteKeys has succeeded
	patience   time.Duration // how long Revoke removes tokens itself
	complaints complaints
}

// settings can be changed while the store is open.
type settings struct{ timeout, lead, maxStale time.Duration }

// Open returns the store of some servers. It does not wait for them: until they are there, every
// call returns an error.
func Open(o Options) (*Store, error) {
	s := &Store{prefix: o.Prefix, replicas: o.Replicas, logger: o.Logger, clock: o.clock,
		raises: make(chan struct{}, raisesAtOnce), gates: newAheadGates(), patience: defaultPatience}
	s.quota.limit = cmp.Or(o.maxNonces, maxNonces)
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.logger == nil {
		s.logger = zap.NewNop()
	}
	s.settings.Store(&settings{o.Timeout, o.Lead, o.MaxStale})
	s.sealing.Store(sealing.New(o.Sealer, nil))
	s.SetLimits(tokenstore.Limits{})
	maxStale := func() time.Duration { return s.settings.Load().maxStale }
	s.tokens, s.consumers = newCache[tokenstore.AccessToken](maxStale), newCache[tokenstore.Consumer](maxStale)
	for i := range s.leases {
		s.states[i], s.buckets[i] = s.key(kindState, slice(i), ""), s.key(kindNonces, slice(i), "")
		s.leaves[i] = s.key(kindLeaves, slice(i), "")
		s.leases[i].raising = make(chan struct{}, 1)
	}
	var err error
	if s.link, err = connect(o, s.invalidated); err != nil {
		return nil, err
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.background.Go(s.watch)
	s.background.Go(s.sweep)
	return s, nil
}

func (s *Store) timeout() time.Duration { return s.settings.Load().timeout }
func (s *Store) lead() time.Duration    { return s.settings.Load().lead }

// invalidated forgets what servers say has changed; nil is everything.
func (s *Store) invalidated(keys []string) {
	if keys == nil {
		s.tokens.clear()
		s.consumers.clear()
		return
	}
	for _, key := range keys {
		kind, rest, _ := strings.Cut(strings.TrimPrefix(key, s.prefix+":"), "{")
		_, rest, _ = strings.Cut(rest, "}:")
		switch kind {
		case kindToken:
			s.tokens.drop(rest)
		case kindConsumer:
			s.consumers.drop(rest)
		}
	}
}

// enter begins a call.
func (s *Store) enter(ctx context.Context) error {
	if s.closed.Load() {
		return tokenstore.ErrClosed
	}
	if s.sealing.Load() != nil && !s.noted.Load() {
		if err := s.noteKeys(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// sleep reports whether the store is still open after a while.
func (s *Store) sleep(d time.Duration) bool {
	select {
	case <-s.life.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// complain logs what went wrong in the background.
func (s *Store) complain(what string, err error) {
	if !s.closed.Load() && s.complaints.note(what, err, time.Now()) {
		s.logger.Warn(what, zap.Error(err))
	}
}

// complaints say what was logged last of each kind of trouble. The background tries again every
// second, and the log has to stay readable.
type complaints struct {
	mu   sync.Mutex
	last map[string]complaint
}

type complaint struct {
	text string
	at   time.Time
}

// note reports whether an error is to be logged: at most once a second, and the same one at most
// once a minute.
func (c *complaints) note(what string, err error, now time.Time) bool {
	text, apart := err.Error(), time.Second
	c.mu.Lock()
	defer c.mu.Unlock()
	last, ok := c.last[what]
	if text == last.text {
		apart = time.Minute
	}
	if ok && now.Sub(last.at) < apart {
		return false
	}
	if c.last == nil {
		c.last = make(map[string]complaint)
	}
	c.last[what] = complaint{text, now}
	return true
}

// SetLimits changes how many request tokens there may be.
func (s *Store) SetLimits(l tokenstore.Limits) {
	if l.RequestTokensOfConsumer < 1 {
		l.RequestTokensOfConsumer = tokenstore.DefaultLimits.RequestTokensOfConsumer
	}
	if l.RequestTokens < 1 {
		l.RequestTokens = tokenstore.DefaultLimits.RequestTokens
	}
	s.limits.Store(&l)
}

// Secret returns the store's random bytes.
func (s *Store) Secret(ctx context.Context) ([32]byte, error) {
	if err := s.enter(ctx); err != nil {
		return [32]byte{}, err
	}
	if secret := s.secret.Load(); secret != nil {
		return *secret, nil
	}
	if !s.noted.Load() {
		if err := s.noteKeys(ctx); err != nil {
			return [32]byte{}, err
		}
	}
	key := s.key(kindSecret, secretSlice, "")
	var secret [32]byte
	err := again(ctx, func() (bool, error) {
		v, err := s.read(ctx, secretSlice, key)
		if err != nil {
			return false, err
		}
		w := newWrite(secretSlice, nil)
		w.require(key, v.values[0])
		if v.values[0] == incompleteMark {
			return false, tokenstore.ErrIncomplete
		}
		if v.values[0] == "" {
			rand.Read(secret[:]) // never fails: crypto/rand ends the process instead
			w.do("SET", key, s.sealedSecret(secret))
		} else {
			if secret, err = s.openSecret(v.values[0]); err != nil {
				return false, err
			}
			w.do("SET", key, v.values[0]) // the process that made it may not have seen it confirmed
		}
		return s.commit(ctx, w)
	})
	if err != nil {
		return [32]byte{}, err
	}
	s.secret.Store(&secret)
	return secret, nil
}

var secretSlice = sliceOf("secret")

// putBackSecret gives servers that lost the secret the one that this process has. If they have
// another one already, this process takes that with the next call of Secret.
func (s *Store) putBackSecret(ctx context.Context) error {
	secret := s.secret.Load()
	if secret == nil {
		return nil
	}
	key := s.key(kindSecret, secretSlice, "")
	v, err := s.read(ctx, secretSlice, key)
	if err != nil {
		return err
	}
	if v.values[0] != "" {
		if has, err := s.openSecret(v.values[0]); err != nil || has != *secret {
			s.secret.Store(nil)
		}
		return nil
	}
	w := newWrite(secretSlice, nil)
	w.require(key, "")
	w.do("SET", key, s.sealedSecret(*secret))
	_, err = s.commit(ctx, w)
	return err
}

// Check looks whether every slice can be written. Below the floor of a new epoch none can, and no
// request is accepted.
func (s *Store) Check(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	if err := s.link.check(ctx); err != nil {
		return err
	}
	written := make(chan error, sliceCount)
	for sl := range slice(sliceCount) {
		go func() {
			w := newWrite(sl, nil)
			w.do("SET", s.key(kindBarrier, sl, ""), "")
			_, err := s.commitLoosely(ctx, w)
			written <- err
		}()
	}
	var first error
	for range sliceCount {
		if err := <-written; first == nil {
			first = err
		}
	}
	if first != nil {
		return first
	}
	if err := s.complete(ctx); err != nil {
		return err
	}
	_, err := s.importedFrom(ctx) // for Measure
	return err
}

// inBackground runs a function that ends when life does. It does nothing after Close.
func (s *Store) inBackground(f func()) {
	s.ending.RLock()
	defer s.ending.RUnlock()
	if !s.closed.Load() {
		s.background.Go(f)
	}
}

// Close ends the store.
func (s *Store) Close() error {
	s.ending.Lock()
	closed := s.closed.Swap(true)
	s.ending.Unlock()
	if closed {
		return nil
	}
	s.end()
	s.link.close()
	s.background.Wait()
	return nil
}
