package noncelog

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/usednonce"
)

const (
	// bucketSeconds is how many seconds of oauth_timestamp are forgotten together.
	bucketSeconds = 60

	// lookEvery is how often Maintain looks after the log. lead is how far it raises the ceiling
	// above the clock, so that requests don't reach the ceiling before the next tick, or the one
	// after it.
	lookEvery = 5 * time.Second
	lead      = 20 // seconds

	// ceilingSlack is how much further ahead the ceiling may be, in seconds, when the clock was set
	// back a little.
	ceilingSlack = 60
)

// Options say where a log is and how it is kept. Boot and Synced may be empty.
type Options struct {
	// Dir is the log's directory, which must exist. The log ignores other files in it.
	Dir string
	// Secret is the key of the hashes in the log. It must always be the same for one log, and must
	// not be stored in Dir.
	Secret [32]byte
	// State keeps the log's state, which Open needs.
	State Keeper
	// MaxNonces is how many live nonces one consumer may have. One of its tokens may have as many
	// as are still free: one greedy token gets half of them, and two get a third each.
	MaxNonces int
	// Sync makes an accepted nonce survive a power cut too, at the price of an fsync for each batch
	// of requests. Without Sync, requests from before the power cut are refused after it.
	Sync bool
	// Reserve is how many bytes of the disk must be free when the log grows. ReserveToOpen is how
	// many must be free, beside one segment, when it is opened.
	Reserve, ReserveToOpen uint64
	// Logger gets what was lost, and the errors of Maintain.
	Logger *zap.Logger
	// Clock tells the time.
	Clock func() time.Time

	// Boot names this run of the machine. Empty means that the system is asked. Tests set it.
	Boot string
	// Synced is called with the path of each file after it was synced. Its error counts as an error
	// of the sync. Tests set it; nil does nothing.
	Synced func(path string) error
}

// A Keeper keeps the state of the log, a small record. No two calls happen at the same time.
type Keeper interface {
	// Load returns what Save was last given, or nil if it never was.
	Load() ([]byte, error)
	// Save returns when the record is on disk. On a nearly full disk it should succeed for as long
	// as possible: removing a segment needs it, and makes room.
	Save(record []byte) error
	// Usable returns nil, or the error after which nothing can be saved any more.
	Usable() error
}

// A Log looks nonces up in memory, and keeps a journal that memory is restored from. A nonce is
// used from the moment it is in memory. It is accepted when it is in the journal.
type Log struct {
	keeper  Keeper
	journal *journal
	set     *set
	hashKey [16]byte
	hashed  [256]atomic.Pointer[hashedConsumer]
	clock   func() time.Time
	log     *zap.Logger
	sync    atomic.Bool

	// Copies of fields of state, for lock-free reads. The ceiling's copy is the journal's.
	floor, window atomic.Int64
	stateLock     sync.Mutex
	state         logState
	// lowered is the new ceiling while the state's is being lowered; otherwise none.
	lowered int64

	nudge   chan struct{}
	looking sync.Mutex
	// raised is the journal's position when the ceiling was last raised, or when the log was
	// opened.
	raised int64
}

// Open opens the log in a directory, or makes one if there is none. Damage is not an error: see
// restore.
func Open(o Options) (*Log, error) {
	key := sha256.Sum256(append([]byte("oauth1 nonces\x00"), o.Secret[:]...))
	l := &Log{
		keeper:  o.State,
		set:     newSet(math.MaxInt), // all that was accepted is loaded, whatever the limit
		hashKey: [16]byte(key[:16]),
		clock:   o.Clock,
		log:     o.Logger,
		nudge:   make(chan struct{}, 1),
		lowered: none,
	}
	l.journal = newJournal(o, binary.LittleEndian.Uint64(key[16:]), l.wake)
	l.sync.Store(o.Sync)
	if err := l.restore(o); err != nil {
		return nil, fmt.Errorf("load nonces: %w", err)
	}
	l.journal.keep = func(list []segmentRecord) error {
		return l.change(func(s *logState) { s.segments = list })
	}
	l.set.limit = int64(o.MaxNonces)
	return l, nil
}

// SetSync changes Options.Sync while the log is open.
func (l *Log) SetSync(sync bool) { l.sync.Store(sync) }

// Syncs reports whether accepted nonces are synced.
func (l *Log) Syncs() bool { return l.sync.Load() }

// Live returns how many nonces are remembered.
func (l *Log) Live() int64 {
	all, _ := l.set.live()
	return all
}

// Figures are what a Log tells for monitoring.
type Figures struct {
	Live  int64 // how many nonces are remembered
	Most  int64 // how many the consumer has that has most of them
	Limit int64 // how many one consumer may have
	Floor int64 // the timestamp below which all nonces are forgotten, and refused; 0 at first
}

// Figures returns them. It looks at each consumer that has nonces.
func (l *Log) Figures() Figures {
	all, most := l.set.live()
	return Figures{Live: all, Most: most, Limit: l.set.limit, Floor: max(l.floor.Load(), 0)}
}

// Failed returns the error after which the log must be opened again, or nil.
func (l *Log) Failed() error { return l.journal.usable() }

// WatchSyncs has f called after each sync of a segment, with the time that it took.
func (l *Log) WatchSyncs(f func(took time.Duration)) { l.journal.watcher.Store(&f) }

// Check returns the error that the next Use would get because of the disk.
func (l *Log) Check() error { return l.journal.check() }

// Use remembers the nonce until it expires. See tokenstore.Store.UseNonce for its errors.
func (l *Log) Use(nonce *tokenstore.Nonce) error {
	r, err := l.digest(nonce)
	if err != nil {
		return err
	}
	if window := ceilUnix(nonce.Expires) - nonce.Timestamp; window > l.window.Load() {
		if err := l.change(func(s *logState) { s.window = max(s.window, window) }); err != nil {
			return err
		}
	}
	if err := l.set.use(&r, &l.floor); err != nil {
		return err
	}
	sync := l.sync.Load()
	if !sync && nonce.Timestamp > l.journal.ceiling.Load() &&
		nonce.Timestamp <= l.clock().Unix()+lead {
		l.wake() // it is above the ceiling, and so it is synced
	}
	return l.journal.append(r, sync)
}

// digest returns what is kept of a nonce.
func (l *Log) digest(nonce *tokenstore.Nonce) (r loggedNonce, err error) {
	expires := max(ceilUnix(nonce.Expires), nonce.Timestamp)
	if nonce.Timestamp < 0 || expires > math.MaxUint32-bucketSeconds {
		return r, fmt.Errorf("nonce of timestamp %d that expires %v: out of range",
			nonce.Timestamp, nonce.Expires)
	}
	r.timestamp, r.expires = uint32(nonce.Timestamp), uint32(expires)
	r.digest = digest(usednonce.Keyed(l.hashKey, nonce))

	r.consumer = l.consumerID(nonce.Consumer)
	switch {
	case nonce.Endpoint:
		r.token = endpointID
	case nonce.Token != "":
		r.token = l.tokenID(nonce.Token)
	}
	return r, nil
}

// consumerID returns the ID of the consumer. Those of frequent consumers are cached.
func (l *Log) consumerID(consumer string) consumerID {
	place := &l.hashed[maphash.String(hashedSeed, consumer)%uint64(len(l.hashed))]
	if h := place.Load(); h != nil && h.consumer == consumer {
		return h.id
	}
	b := append(append(l.hashKey[:len(l.hashKey):len(l.hashKey)], 'c'), consumer...)
	sum := sha256.Sum256(b)
	id := consumerID(binary.LittleEndian.Uint64(sum[:])) & (1<<consumerBits - 1)
	h := &hashedConsumer{strings.Clone(consumer), id}
	if len(consumer) <= 256 { // longer ones would take too much memory
		place.Store(h)
	}
	return h.id
}

var hashedSeed = maphash.MakeSeed()

type hashedConsumer struct {
	consumer string
	id       consumerID
}

// endpointID stands for all requests of a consumer to the endpoints.
const endpointID tokenID = 1<<tokenBits - 1

// tokenID is not a cryptographic hash: two tokens of one consumer with the same ID only share one
// token's part of the nonces, and clients do not choose tokens.
func (l *Log) tokenID(token string) tokenID {
	h := binary.LittleEndian.Uint64(l.hashKey[:]) ^ uint64(len(token))
	k := binary.LittleEndian.Uint64(l.hashKey[8:]) ^ 0xa0761d6478bd642f | 1
	for len(token) > 0 {
		var word [8]byte
		token = token[copy(word[:], token):]
		hi, lo := bits.Mul64(h^binary.LittleEndian.Uint64(word[:]), k)
		h = hi ^ lo ^ 0x9e3779b97f4a7c15
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return min(max(tokenID(h>>(64-tokenBits)), 1), endpointID-1)
}

// Maintain does work in advance that requests would wait for, and forgets expired nonces, until
// stop is closed.
func (l *Log) Maintain(stop <-chan struct{}) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		case <-l.nudge:
		}
		if err := l.LookAfter(l.clock(), stop); err != nil {
			l.log.Error("looking after the nonces", zap.Error(err))
		}
	}
}

// LookAfter does once what Maintain does every few seconds, at the given time. It ends early if
// stop is closed.
func (l *Log) LookAfter(now time.Time, stop <-chan struct{}) error {
	l.looking.Lock()
	defer l.looking.Unlock()
	return errors.Join(l.lowerCeiling(now), l.raiseCeiling(now),
		l.journal.settle(), l.forget(now, stop), l.journal.prepare())
}

// wake makes Maintain look now.
func (l *Log) wake() {
	select {
	case l.nudge <- struct{}{}:
	default:
	}
}

// raiseCeiling keeps the ceiling ahead of the clock while there are requests.
func (l *Log) raiseCeiling(now time.Time) error {
	position := l.journal.position()
	if l.sync.Load() || position == l.raised || l.journal.ceiling.Load() > now.Unix()+lead/2 {
		return nil
	}
	l.raised = position
	return l.change(func(s *logState) { s.ceiling = max(s.ceiling, now.Unix()+lead) })
}

// lowerCeiling lowers a ceiling that was raised while the clock was ahead: after a power cut, every
// client would be refused until then. First append begins to sync above the new ceiling; then the
// earlier nonces are synced; then the state has the new ceiling.
func (l *Log) lowerCeiling(now time.Time) error {
	ceiling := now.Unix() + lead
	if l.journal.ceiling.Load() <= ceiling+ceilingSlack {
		return nil
	}
	lower := func(to int64) {
		l.stateLock.Lock()
		defer l.stateLock.Unlock()
		l.lowered = to
		l.publish()
	}
	lower(ceiling)
	if err := l.journal.syncWritten(); err != nil {
		return err
	}
	if err := l.change(func(s *logState) { s.ceiling = ceiling }); err != nil {
		return err
	}
	lower(none)
	return nil
}

// forget drops the buckets that have expired, the oldest first, up to the first that is still
// needed, because all nonces below the floor are forgotten. The floor is on disk before a bucket is
// dropped.
func (l *Log) forget(now time.Time, stop <-chan struct{}) error {
	expires := l.set.buckets()
	var over []int32
	for _, bucket := range slices.Sorted(maps.Keys(expires)) {
		if int64(expires[bucket]) > now.Unix() {
			break
		}
		over = append(over, bucket)
	}
	if len(over) > 0 {
		floor := bucketEnd(over[len(over)-1]) + 1
		if err := l.change(func(s *logState) { s.floor = max(s.floor, floor) }); err != nil {
			return err
		}
		for _, bucket := range over {
			if isClosed(stop) {
				return nil
			}
			l.set.drop(bucket)
		}
	}
	// A Use that passed the old floor may append its nonce after this. That does no harm.
	return l.journal.remove(bucketBelow(l.floor.Load()), stop)
}

// rest sleeps so that requests can run on a single CPU; Gosched alone does not poll the network.
// Without it, the removal of a segment, a system call of two milliseconds, holds the CPU for ten or
// more.
func rest() { time.Sleep(time.Millisecond) }

// Close brings everything to disk. No other call may be under way, and Maintain must have returned.
func (l *Log) Close() error {
	if err := l.journal.close(); err != nil {
		return err
	}
	if l.keeper.Usable() != nil {
		return nil // the error was reported earlier, and the end is not clean
	}
	err := l.change(func(s *logState) { s.clean, s.counts, s.segments = true, 0, l.journal.list() })
	if err != nil {
		return err
	}
	return l.journal.tidy()
}

// bucketEnd is the last timestamp of a bucket.
func bucketEnd(bucket int32) int64 { return (int64(bucket)+1)*bucketSeconds - 1 }

// bucketBelow is the first bucket that is not wholly below the timestamp.
func bucketBelow(timestamp int64) int32 {
	return int32(min(max(floorDiv(timestamp, bucketSeconds), noBucket+1), math.MaxInt32))
}

// ceilUnix is the first full second that is not before t.
func ceilUnix(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
