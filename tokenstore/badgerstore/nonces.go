package badgerstore

import (
	"context"
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
	// DefaultMaxNonces is how many live nonces a consumer may have where Options don't say: some 3,000 requests a second
	// through a timestamp window of five minutes.
	DefaultMaxNonces = 1_000_000

	// bucketSeconds is how many seconds of oauth_timestamp are forgotten together.
	bucketSeconds = 60

	// nonceTick is how often the log is looked after, and nonceLead how far the ceiling is raised above the clock: so
	// that requests don't reach it before the next tick, or the one after that.
	nonceTick = 5 * time.Second
	nonceLead = 20 // seconds

	// ceilingSlack is how much further ahead the ceiling may be, in seconds, when the clock was set
	// back a little.
	ceilingSlack = 60
)

// nonces decides in memory whether a nonce was used, and keeps a log that memory is restored from. A nonce is used from
// the moment it is in memory, and accepted when it is in the log.
type nonces struct {
	tokens  *database
	log     *nonceLog
	set     *nonceSet
	hashKey [16]byte
	hashed  [256]atomic.Pointer[hashedConsumer]
	clock   func() time.Time
	sync    atomic.Bool

	// What nonceState says, for those who only read; its ceiling is the log's.
	floor, window atomic.Int64
	stateLock     sync.Mutex
	state         nonceState
	// lowered is below the ceiling of the state while that is being lowered, else none.
	lowered int64

	nudge   chan struct{}
	looking sync.Mutex
	// raised is the log's position when the ceiling was last raised, or the log opened.
	raised int64
}

func openNonces(dir string, tokens *database, secret [32]byte, o Options) (*nonces, error) {
	key := sha256.Sum256(append([]byte("oauth1 nonces\x00"), secret[:]...))
	n := &nonces{
		tokens:  tokens,
		set:     newNonceSet(math.MaxInt), // what was accepted is loaded, however much it is
		hashKey: [16]byte(key[:16]),
		clock:   o.Clock,
		nudge:   make(chan struct{}, 1),
		lowered: none,
	}
	n.log = newNonceLog(dir, binary.LittleEndian.Uint64(key[16:]), n.wake)
	n.log.afterSync = o.afterSync
	n.sync.Store(o.Sync)
	if err := n.restore(o); err != nil {
		return nil, fmt.Errorf("load nonces: %w", err)
	}
	n.log.keep = func(list []segmentRecord) error {
		return n.change(func(s *nonceState) { s.segments = list })
	}
	n.set.limit = int64(o.MaxNonces)
	return n, nil
}

// UseNonce remembers the nonce until it expires.
func (s *Store) UseNonce(ctx context.Context, n tokenstore.Nonce) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	return s.nonces.use(&n)
}

func (n *nonces) use(nonce *tokenstore.Nonce) error {
	l, err := n.digest(nonce)
	if err != nil {
		return err
	}
	if window := ceilUnix(nonce.Expires) - nonce.Timestamp; window > n.window.Load() {
		if err := n.change(func(s *nonceState) { s.window = max(s.window, window) }); err != nil {
			return err
		}
	}
	if err := n.set.use(&l, &n.floor); err != nil {
		return err
	}
	sync := n.sync.Load()
	if !sync && nonce.Timestamp > n.log.ceiling.Load() &&
		nonce.Timestamp <= n.clock().Unix()+nonceLead {
		n.wake() // it is synced: after a power cut nobody would refuse it
	}
	return n.log.append(l, sync)
}

// digest is what is kept of a nonce. Every part begins with its length, so that no two nonces are written alike. SHA-256
// with a secret key in front is as good as an HMAC where half of the hash is never shown.
func (n *nonces) digest(nonce *tokenstore.Nonce) (l loggedNonce, err error) {
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
func (n *nonces) consumerID(consumer string) consumerID {
	place := &n.hashed[maphash.String(stripeSeed, consumer)%uint64(len(n.hashed))]
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

type hashedConsumer struct {
	consumer string
	id       consumerID
}

// endpointID stands for all the request tokens of a consumer.
const endpointID tokenID = 1<<tokenBits - 1

// tokenID need be no cryptographic hash: two tokens of one consumer that are alike would share what one may have, and
// nobody chooses the tokens that a server gives out.
func (n *nonces) tokenID(token string) tokenID {
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

// maintain does beforehand what requests would have to wait for, and forgets what has expired.
func (n *nonces) maintain(stop <-chan struct{}, log *zap.Logger) {
	tick := time.NewTicker(nonceTick)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		case <-n.nudge:
		}
		if err := n.lookAfter(n.clock(), stop); err != nil {
			log.Error("looking after the nonces", zap.Error(err))
		}
	}
}

func (n *nonces) lookAfter(now time.Time, stop <-chan struct{}) error {
	n.looking.Lock()
	defer n.looking.Unlock()
	return errors.Join(n.lowerCeiling(now), n.raiseCeiling(now),
		n.log.settle(), n.forget(now, stop), n.log.prepare())
}

// wake makes maintain look now.
func (n *nonces) wake() {
	select {
	case n.nudge <- struct{}{}:
	default:
	}
}

// raiseCeiling keeps the ceiling ahead of the clock while requests come.
func (n *nonces) raiseCeiling(now time.Time) error {
	position := n.log.position()
	if n.sync.Load() || position == n.raised || n.log.ceiling.Load() > now.Unix()+nonceLead/2 {
		return nil
	}
	n.raised = position
	return n.change(func(s *nonceState) { s.ceiling = max(s.ceiling, now.Unix()+nonceLead) })
}

// lowerCeiling brings back a ceiling that a clock which was ahead has raised: after a power cut
// every client would be refused until then. What was written below it is brought to disk first;
// what is written from now on is synced above the new one already.
func (n *nonces) lowerCeiling(now time.Time) error {
	ceiling := now.Unix() + nonceLead
	if n.log.ceiling.Load() <= ceiling+ceilingSlack {
		return nil
	}
	lower := func(to int64) {
		n.stateLock.Lock()
		defer n.stateLock.Unlock()
		n.lowered = to
		n.publish()
	}
	lower(ceiling)
	if err := n.log.syncWritten(); err != nil {
		return err
	}
	if err := n.change(func(s *nonceState) { s.ceiling = ceiling }); err != nil {
		return err
	}
	lower(none)
	return nil
}

// forget drops the buckets that are over, the oldest first, and no further than to the first that is still needed: all
// below the floor is forgotten. The floor is on disk before anything goes.
func (n *nonces) forget(now time.Time, stop <-chan struct{}) error {
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
		if err := n.change(func(s *nonceState) { s.floor = max(s.floor, floor) }); err != nil {
			return err
		}
		for _, bucket := range over {
			if isClosed(stop) {
				return nil
			}
			n.set.drop(bucket)
		}
	}
	// A use that passed the old floor may still be on its way to the log. What it leaves there does no harm.
	return n.log.remove(bucketBelow(n.floor.Load()), stop)
}

// rest lets requests through where there is only one processor. Who does not rest has it for ten milliseconds, and longer
// with calls of the kernel that take two: to remove a segment is one. Merely to yield it does not make Go look at the
// network.
func rest() { time.Sleep(time.Millisecond) }

func (n *nonces) close() error {
	if err := n.log.close(); err != nil {
		return err
	}
	if n.tokens.usable() != nil {
		return nil // said long ago; and so the end is not clean
	}
	err := n.change(func(s *nonceState) { s.clean, s.counts, s.segments = true, 0, n.log.list() })
	if err != nil {
		return err
	}
	return n.log.tidy()
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
