package badgerstore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disk"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/noncelog"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

// Options say where a store is and how it is kept.
type Options struct {
	// Path is the store's directory. Open makes it, for its owner alone, if it does not exist.
	Path string
	// Sync makes an accepted nonce survive a power cut too, at the price of an fsync for each batch
	// of requests. Consumers and tokens always survive one. Without Sync, requests from before the
	// power cut are refused after it.
	Sync bool
	// EncryptionKey encrypts what is in the database with AES: nil, or 16, 24 or 32 bytes.
	EncryptionKey []byte
	// Sealer encrypts the values, and hashes the names in indexes; nil means neither.
	Sealer tokenstore.Sealer
	// Generation is a file outside the store's directory. It shows that the directory was copied
	// back or moved, so that Open returns a *CopiedError. Empty means the path with
	// GenerationSuffix.
	Generation string
	// Adopt takes the directory nevertheless, and refuses all timestamps up to it; 0: no. With
	// AdoptEmpty, a store that holds something is not taken: tokenstore.ErrNotEmpty. AdoptKeep is
	// kept before the directory is taken; nil: nothing.
	Adopt      int64
	AdoptEmpty bool
	AdoptKeep  *tokenstore.Kept
	// MaxNonces is how many live nonces one consumer may have; 0 means DefaultMaxNonces. One of its
	// tokens may have as many as are still free: one greedy token gets half of them, and two get a
	// third each.
	MaxNonces int
	// Logger gets Badger's warnings and errors, and the store's; nil means none.
	Logger *zap.Logger
	// Clock tells the time; nil means time.Now.
	Clock func() time.Time

	// For tests: the machine's boot id, a function that is called with each file of the nonce log
	// that was synced, and one that changes Badger's options.
	bootID    string
	afterSync func(path string) error
	tune      func(*badger.Options)
}

// DefaultMaxNonces is how many live nonces a consumer may have where Options don't say: some 3,000
// requests a second through a timestamp window of five minutes.
const DefaultMaxNonces = 1_000_000

// A Store is a tokenstore.Store in a directory.
type Store struct {
	clock         func() time.Time
	log           *zap.Logger
	encryptionKey []byte
	tokens        *database
	nonces        *noncelog.Log
	generations   *generations
	origin        atomic.Pointer[origin] // nil: the store was not imported

	consumers    *cache[tokenstore.Consumer]
	accessTokens *cache[storedAccessToken]
	self         selfRegistered
	onForgotten  atomic.Pointer[func(keys []string)]
	requests     requestCounts
	revocations  revocations

	// gate is held shared by each change of one record, and alone by a change that revokes many. So
	// Revoke hits every token, including the token of an exchange that began before it.
	gate sync.RWMutex
	// Locks of single records. They are taken below the gate and in this order; the lock of
	// revocations is taken below them.
	consumerLocks, requestLocks, accessLocks stripes
	secretLock                               sync.Mutex
	// stateLock is held while the state of the nonce log is read or written.
	stateLock sync.Mutex
	// cleaning is held while Badger is made to clean up.
	cleaning sync.Mutex

	// door is held shared by each call that uses Badger, and alone by Close.
	door    sync.RWMutex
	closed  atomic.Bool
	nudge   chan struct{}
	stop    chan struct{}
	stopped sync.WaitGroup
}

// Open opens the store at o.Path, and makes it if it does not exist. If something that was
// acknowledged is missing, Open returns an error that names the file, and changes nothing. If the
// directory was copied back or moved, the error is a *CopiedError.
func Open(o Options) (_ *Store, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open store %q: %w", o.Path, err)
		}
	}()
	switch len(o.EncryptionKey) {
	case 0, 16, 24, 32:
	default:
		return nil, fmt.Errorf("encryption key of %d bytes: it must be 16, 24 or 32", len(o.EncryptionKey))
	}
	if o.Path == "" {
		return nil, errors.New("no path given")
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.MaxNonces == 0 {
		o.MaxNonces = DefaultMaxNonces
	}
	if err := missingTokens(o.Path); err != nil {
		return nil, err
	}
	for _, dir := range []string{"tokens", "nonces"} {
		if err := disk.MakeDir(filepath.Join(o.Path, dir), disk.SyncDir); err != nil {
			return nil, err
		}
	}

	s := &Store{
		clock:         o.Clock,
		log:           o.Logger,
		encryptionKey: bytes.Clone(o.EncryptionKey),
		consumers:     newCache[tokenstore.Consumer](cacheBytes),
		accessTokens:  newCache[storedAccessToken](cacheBytes),
		nudge:         make(chan struct{}, 1),
		stop:          make(chan struct{}),
	}
	if s.tokens, err = openDatabase(filepath.Join(o.Path, "tokens"), o.EncryptionKey, o.Logger.Named("tokens"), o.tune); err != nil {
		return nil, err
	}
	s.generations, err = loadGenerations(s.tokens, cmp.Or(o.Generation, filepath.Clean(o.Path)+GenerationSuffix))
	if err != nil && !(o.Adopt != 0 && errors.Is(err, tokenstore.ErrCopied)) {
		return nil, errors.Join(err, s.tokens.close())
	}
	if err := s.beginSealing(o.Sealer); err != nil {
		return nil, errors.Join(err, s.tokens.close())
	}
	for _, load := range []func() error{s.loadOrigin, s.loadIdle, s.loadRevocations, s.loadRequestCounts} {
		if err := load(); err != nil {
			return nil, errors.Join(err, s.tokens.close())
		}
	}
	secret, err := s.secret()
	if err != nil {
		return nil, errors.Join(err, s.tokens.close())
	}
	if s.nonces, err = noncelog.Open(noncelog.Options{
		Dir:       filepath.Join(o.Path, "nonces"),
		Secret:    secret,
		State:     &nonceKeeper{s.tokens, &s.stateLock},
		MaxNonces: o.MaxNonces,
		Sync:      o.Sync,
		Reserve:   reserveToAdd,
		// Without a log the store does not open, and nothing can be revoked.
		ReserveToOpen: reserveToRemove,
		Logger:        o.Logger,
		Clock:         o.Clock,
		Boot:          o.bootID,
		Synced:        o.afterSync,
	}); err != nil {
		return nil, errors.Join(err, s.tokens.close())
	}
	if o.AdoptEmpty {
		err = s.checkEmpty()
	}
	if o.Adopt != 0 && err == nil {
		err = s.adopt(o.Adopt, o.AdoptKeep)
	}
	if err == nil {
		err = s.generations.raise()
	}
	if err != nil {
		return nil, errors.Join(err, s.nonces.Close(), s.tokens.close())
	}
	s.stopped.Go(func() { s.nonces.Maintain(s.stop) })
	s.stopped.Go(s.maintain)
	s.stopped.Go(func() { s.tokens.verifyTables(s.stop, s.log) })
	s.stopped.Go(s.removeInBackground)
	return s, nil
}

// missingTokens returns an error if the whole tokens database is gone, so that no empty one is made
// in its place.
func missingTokens(path string) error {
	state, err := readLedger(filepath.Join(path, ledgerName))
	if err != nil || state == nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(path, "tokens")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%q is missing, and %d changes were acknowledged: %w", filepath.Join(path, "tokens"), state.acknowledged, errLost)
	}
	return nil
}

// SetSync changes Options.Sync while the store is open.
func (s *Store) SetSync(sync bool) { s.nonces.SetSync(sync) }

// Close ends the store, after waiting for the calls that have begun.
func (s *Store) Close() error {
	s.door.Lock()
	defer s.door.Unlock()
	if s.closed.Swap(true) {
		return nil
	}
	close(s.stop)
	s.stopped.Wait()
	err := s.nonces.Close()
	if s.tokens.usable() == nil {
		// A copy that was made while the store was open is older than what is left. Without that, as
		// after kill -9, only such a copy is not noticed.
		if raising := s.generations.raise(); raising != nil {
			s.log.Warn("the generation of the store could not be raised", zap.Error(raising))
		}
	}
	return errors.Join(err, s.tokens.close())
}

// usable returns the error of a store that is closed or has failed. Such a store does not return
// what it has in memory either.
func (s *Store) usable() error {
	if s.closed.Load() {
		return tokenstore.ErrClosed
	}
	return s.tokens.usable()
}

// enter holds the door, shared, for a call that uses Badger. If it returns nil, leave must be
// called.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.door.RLock()
	if err := s.usable(); err != nil {
		s.door.RUnlock()
		return err
	}
	return nil
}

func (s *Store) leave() { s.door.RUnlock() }

// maintain forgets consumers and request tokens that are over, every few seconds and when wake is
// called.
func (s *Store) maintain() {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		case <-s.nudge:
		}
		now := s.clock()
		if err := s.sweepConsumers(now, s.stop); err != nil {
			s.log.Error("forgetting self-registered consumers", zap.Error(err))
		}
		if err := s.sweepRequests(now); err != nil {
			s.log.Error("forgetting request tokens", zap.Error(err))
		}
	}
}

// wake makes maintain look now.
func (s *Store) wake() {
	select {
	case s.nudge <- struct{}{}:
	default:
	}
}

// UseNonce remembers the nonce until it expires.
func (s *Store) UseNonce(ctx context.Context, n tokenstore.Nonce) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if s.usedElsewhere(&n) {
		return tokenstore.ErrNonceUsed
	}
	err := s.nonces.Use(&n)
	if errors.Is(err, tokenstore.ErrNonceForgotten) {
		return s.refusedAfterImport(&n)
	}
	return err
}

// Secret returns the store's 32 random bytes.
func (s *Store) Secret(ctx context.Context) (secret [32]byte, err error) {
	if err := s.enter(ctx); err != nil {
		return secret, err
	}
	defer s.leave()
	if err := s.incomplete(); err != nil {
		return secret, err
	}
	return s.secretOfPages()
}

// secretOfPages returns the secret that the store has, or that it was imported with.
func (s *Store) secretOfPages() ([32]byte, error) {
	if o := s.origin.Load(); o != nil {
		return o.secret, nil
	}
	return s.secret()
}

func (s *Store) secret() (secret [32]byte, err error) {
	s.secretLock.Lock()
	defer s.secretLock.Unlock()

	key := []byte{prefixSecret}
	err = s.tokens.view(func(txn *reader) error {
		return get(txn, key, func(v []byte) error {
			if copy(secret[:], v) != len(secret) || len(v) != len(secret) {
				return record.ErrDamaged
			}
			return nil
		})
	})
	switch {
	case err == nil:
		return secret, nil
	case !errors.Is(err, badger.ErrKeyNotFound):
		return [32]byte{}, fmt.Errorf("read the store's secret: %w", err)
	}
	var made [32]byte
	rand.Read(made[:])
	var c change
	c.put(key, made[:], 0)
	if err := s.tokens.commit(c); err != nil {
		return [32]byte{}, fmt.Errorf("make the store's secret: %w", err)
	}
	return made, nil
}

// Check writes a few random bytes and reads them.
func (s *Store) Check(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.incomplete(); err != nil {
		return err
	}
	if err := s.nonces.Check(); err != nil {
		return err
	}
	want := make([]byte, 16)
	rand.Read(want)
	key := append([]byte{prefixCheck}, want[:2]...) // so that concurrent checks rarely read each other's bytes
	s.secretLock.Lock()
	defer s.secretLock.Unlock()
	var c change
	c.put(key, want, ttl(time.Now().Add(time.Minute)))
	if err := s.tokens.commit(c); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	return s.tokens.view(func(txn *reader) error {
		return get(txn, key, func(v []byte) error {
			if !bytes.Equal(v, want) {
				return errors.New("check: the store did not return the bytes that were written")
			}
			return nil
		})
	})
}

// stripes are mutexes. A key has the mutex of its hash, and shares it with others.
type stripes [256]sync.Mutex

var stripeSeed = maphash.MakeSeed()

func (s *stripes) lock(key string) *sync.Mutex {
	m := s.of(key)
	m.Lock()
	return m
}

func (s *stripes) of(key string) *sync.Mutex {
	return &s[maphash.String(stripeSeed, key)%uint64(len(s))]
}

// ttl is when Badger may drop an entry; the zero time means never. It only cleans up: the Store's
// clock decides what is expired.
func ttl(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(t.Unix()+1, 1))
}

// forgotten reports whether an access token that expires then is no longer remembered.
func forgotten(expires, now time.Time) bool {
	return !expires.IsZero() && !now.Before(expires.Add(tokenstore.Retention))
}

// retained returns until when an access token that expires then is remembered.
func retained(expires time.Time) time.Time {
	if expires.IsZero() {
		return expires
	}
	return expires.Add(tokenstore.Retention)
}

// notFound turns Badger's error into tokenstore's.
func notFound(err error) error {
	if errors.Is(err, badger.ErrKeyNotFound) {
		return tokenstore.ErrNotFound
	}
	return err
}

// checkLimit refuses a page that can't hold anything.
func checkLimit(limit int) error {
	if limit < 1 {
		return fmt.Errorf("a page of %d records", limit)
	}
	return nil
}

var _ tokenstore.Store = (*Store)(nil)
