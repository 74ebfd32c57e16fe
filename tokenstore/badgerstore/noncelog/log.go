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
)

const (
	// bucketSeconds is how many seconds of oauth_timestamp are forgotten together.
	bucketSeconds = 60

	// lookEvery is how often the log is looked after, and lead how far the ceiling is raised above
	// the clock: so that requests don't reach it before the next tick, or the one after that.
	lookEvery = 5 * time.Second
	lead      = 20 // seconds

	// ceilingSlack is how much further ahead the ceiling may be, in seconds, when the clock was set
	// back a little.
	ceilingSlack = 60
)

// Options say where a log is and how it is kept. Boot and Synced may be empty.
type Options struct {
	// Dir is the log's directory, which must be there and have nothing else in it.
	Dir string
	// Secret is what hashes in the log are keyed with. It must always be the same for one log, and
	// must not lie beside it.
	Secret [32]byte
	// State keeps what must be known of the log when it is opened.
	State Keeper
	// MaxNonces is how many live nonces one consumer may have. One of its tokens may have as many
	// as are still free: half of them alone, a third each of two that are greedy.
	MaxNonces int
	// Sync makes an accepted nonce survive a power cut too, at the price of an fsync for each batch
	// of requests. Without it, requests from before the restart are refused after one.
	Sync bool
	// Reserve is how many bytes of the disk must be free when the log grows, and ReserveToOpen when
	// it is opened (beside what it takes then).
	Reserve, ReserveToOpen uint64
	// Logger is told of what was lost, and of what went wrong in Maintain.
	Logger *zap.Logger
	// Clock tells the time.
	Clock func() time.Time

	// Boot names this run of the machine. Empty means what the system says. Tests set it.
	Boot string
	// Synced is called with the path of each file that was brought to disk, before anything relies
	// on it; its error counts as that of the disk. Tests set it.
	Synced func(path string) error
}

// A Keeper keeps one small record beside the log, where it is encrypted if anything is. It is never
// called twice at the same time.
type Keeper interface {
	// Load returns what Save was last given, or nil if it never was.
	Load() ([]byte, error)
	// Save returns when the record is on disk. A full disk should not keep it from that for as long
	// as possible: it is needed to forget, which makes room.
	Save(record []byte) error
	// Usable returns the error after which the keeper must not be used any more, or nil.
	Usable() error
}

// A Log decides in memory whether a nonce was used, and keeps a journal that memory is restored
// from. A nonce is used from the moment it is in memory, and accepted when it is in the journal.
type Log struct {
	keeper  Keeper
	journal *journal
	set     *set
	hashKey [16]byte
	hashed  [256]atomic.Pointer[hashedConsumer]
	clock   func() time.Time
	log     *zap.Logger
	sync    atomic.Bool

	// What logState says, for those who only read; its ceiling is the journal's.
	floor, window atomic.Int64
	stateLock     sync.Mutex
	state         logState
	// lowered is below the ceiling of the state while that is being lowered, else none.
	lowered int64

	nudge   chan struct{}
	looking sync.Mutex
	// raised is the journal's position when the ceiling was last raised, or the journal opened.
	raised int64
}

// Open opens the log in a directory, and makes it where the directory is empty. Damage is no error:
// see restore.
func Open(o Options) (*Log, error) {
	key := sha256.Sum256(append([]byte("oauth1 nonces\x00"), o.Secret[:]...))
	n := &Log{
		keeper:  o.State,
		set:     newSet(math.MaxInt), // what was accepted is loaded, however much it is
		hashKey: [16]byte(key[:16]),
		clock:   o.Clock,
		log:     o.Logger,
		nudge:   make(chan struct{}, 1),
		lowered: none,
	}
	n.journal = newJournal(o, binary.LittleEndian.Uint64(key[16:]), n.wake)
	n.sync.Store(o.Sync)
	if err := n.restore(o); err != nil {
		return nil, fmt.Errorf("load nonces: %w", err)
	}
	n.journal.keep = func(list []segmentRecord) error {
		return n.change(func(s *logState) { s.segments = list })
	}
	n.set.limit = int64(o.MaxNonces)
	return n, nil
}

// SetSync changes Options.Sync while the log is open.
func (n *Log) SetSync(sync bool) { n.sync.Store(sync) }

// Syncs reports whether accepted nonces are synced.
func (n *Log) Syncs() bool { return n.sync.Load() }

// Live returns how many nonces are remembered.
func (n *Log) Live() int64 { return n.set.live() }

// Check returns what is wrong with the log, and makes sure that there is room for a nonce.
func (n *Log) Check() error { return n.journal.check() }

// Use remembers the nonce until it expires. See tokenstore.Store.UseNonce for its errors.
func (n *Log) Use(nonce *tokenstore.Nonce) error {
	l, err := n.digest(nonce)
	if err != nil {
		return err
	}
	if window := ceilUnix(nonce.Expires) - nonce.Timestamp; window > n.window.Load() {
		if err := n.change(func(s *logState) { s.window = max(s.window, window) }); err != nil {
			return err
		}
	}
	if err := n.set.use(&l, &n.floor); err != nil {
		return err
	}
	sync := n.sync.Load()
	if !sync && nonce.Timestamp > n.journal.ceiling.Load() &&
		nonce.Timestamp <= n.clock().Unix()+lead {
		n.wake() // it is synced: after a power cut nobody would refuse it
	}
	return n.journal.append(l, sync)
}

// digest is what is kept of a nonce. Every part begins with its length, so that no two nonces are
// written alike. SHA-256 with a secret key in front is as good as an HMAC where half of the hash is
// never shown.
func (n *Log) digest(nonce *tokenstore.Nonce) (l loggedNonce, err error) {
	expires := max(ceilUnix(nonce.Expires), nonce.Timestamp)
	if nonce.Timestamp < 0 || expires > math.MaxUint32-bucketSeconds {
		return l, fmt.Errorf("nonce of timestamp %d that expires %v: out of range", nonce.Timestamp, nonce.Expires)
	}
	l.timestamp, l.expires = uint32(nonce.Timestamp), uint32(expires)

	var buf [512]byte
	b := append(buf[:0], n.hashKey[:]...)
	b = append(b, 'n')
	b = binary.AppendVarint(b, nonce.Timestamp)
	for _, part := range [...]string{nonce.Consumer, nonce.Token, nonce.Value} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	sum := sha256.Sum256(b)
	copy(l.digest[:], sum[:])

	l.consumer = n.consumerID(nonce.Consumer)
	switch {
	case nonce.Endpoint:
		l.token = endpointID
	case nonce.Token != "":
		l.token = n.tokenID(nonce.Token)
	}
	return l, nil
}

// consumerID is kept for those who sign most.
func (n *Log) consumerID(consumer string) consumerID {
	place := &n.hashed[maphash.String(hashedSeed, consumer)%uint64(len(n.hashed))]
	if h := place.Load(); h != nil && h.consumer == consumer {
		return h.id
	}
	b := append(append(n.hashKey[:len(n.hashKey):len(n.hashKey)], 'c'), consumer...)
	sum := sha256.Sum256(b)
	h := &hashedConsumer{strings.Clone(consumer), consumerID(binary.LittleEndian.Uint64(sum[:])) & (1<<consumerBits - 1)}
	if len(consumer) <= 256 { // longer ones would take memory
		place.Store(h)
	}
	return h.id
}

var hashedSeed = maphash.MakeSeed()

type hashedConsumer struct {
	consumer string
	id       consumerID
}

// endpointID stands for all the request tokens of a consumer.
const endpointID tokenID = 1<<tokenBits - 1

// tokenID need be no cryptographic hash: two tokens of one consumer that are alike would share what
// one may have, and nobody chooses the tokens that a server gives out.
func (n *Log) tokenID(token string) tokenID {
	h := binary.LittleEndian.Uint64(n.hashKey[:]) ^ uint64(len(token))
	k := binary.LittleEndian.Uint64(n.hashKey[8:]) ^ 0xa0761d6478bd642f | 1
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

// Maintain does beforehand what requests would have to wait for, and forgets what has expired,
// until stop is closed.
func (n *Log) Maintain(stop <-chan struct{}) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		case <-n.nudge:
		}
		if err := n.LookAfter(n.clock(), stop); err != nil {
			n.log.Error("looking after the nonces", zap.Error(err))
		}
	}
}

// LookAfter does at once what Maintain does every few seconds, as if it were now. It ends early
// when stop is closed.
func (n *Log) LookAfter(now time.Time, stop <-chan struct{}) error {
	n.looking.Lock()
	defer n.looking.Unlock()
	return errors.Join(n.lowerCeiling(now), n.raiseCeiling(now),
		n.journal.settle(), n.forget(now, stop), n.journal.prepare())
}

// wake makes Maintain look now.
func (n *Log) wake() {
	select {
	case n.nudge <- struct{}{}:
	default:
	}
}

// raiseCeiling keeps the ceiling ahead of the clock while requests come.
func (n *Log) raiseCeiling(now time.Time) error {
	position := n.journal.position()
	if n.sync.Load() || position == n.raised || n.journal.ceiling.Load() > now.Unix()+lead/2 {
		return nil
	}
	n.raised = position
	return n.change(func(s *logState) { s.ceiling = max(s.ceiling, now.Unix()+lead) })
}

// lowerCeiling brings back a ceiling that a clock which was ahead has raised: after a power cut
// every client would be refused until then. What was written below it is brought to disk first;
// what is written from now on is synced above the new one already.
func (n *Log) lowerCeiling(now time.Time) error {
	ceiling := now.Unix() + lead
	if n.journal.ceiling.Load() <= ceiling+ceilingSlack {
		return nil
	}
	lower := func(to int64) {
		n.stateLock.Lock()
		defer n.stateLock.Unlock()
		n.lowered = to
		n.publish()
	}
	lower(ceiling)
	if err := n.journal.syncWritten(); err != nil {
		return err
	}
	if err := n.change(func(s *logState) { s.ceiling = ceiling }); err != nil {
		return err
	}
	lower(none)
	return nil
}

// forget drops the buckets that are over, the oldest first, and no further than to the first that
// is still needed: all below the floor is forgotten. The floor is on disk before anything goes.
func (n *Log) forget(now time.Time, stop <-chan struct{}) error {
	expires := n.set.buckets()
	var over []int32
	for _, bucket := range slices.Sorted(maps.Keys(expires)) {
		if int64(expires[bucket]) > now.Unix() {
			break
		}
		over = append(over, bucket)
	}
	if len(over) > 0 {
		floor := bucketEnd(over[len(over)-1]) + 1
		if err := n.change(func(s *logState) { s.floor = max(s.floor, floor) }); err != nil {
			return err
		}
		for _, bucket := range over {
			if isClosed(stop) {
				return nil
			}
			n.set.drop(bucket)
		}
	}
	// A use that passed the old floor may still be on its way to the log. What it leaves there does
	// no harm.
	return n.journal.remove(bucketBelow(n.floor.Load()), stop)
}

// rest sleeps so that requests can run on a single CPU; Gosched alone does not poll the network.
// Without it, the removal of a segment, a system call of two milliseconds, holds the CPU for ten or
// more.
func rest() { time.Sleep(time.Millisecond) }

// Close brings everything to disk. Nobody uses the log any more, and Maintain has returned.
func (n *Log) Close() error {
	if err := n.journal.close(); err != nil {
		return err
	}
	if n.keeper.Usable() != nil {
		return nil // said long ago; and so the end is not clean
	}
	err := n.change(func(s *logState) { s.clean, s.counts, s.segments = true, 0, n.journal.list() })
	if err != nil {
		return err
	}
	return n.journal.tidy()
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
