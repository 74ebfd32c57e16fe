package redisstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

func aheadAt(i int, timestamp, span int64) nonceCall {
	return nonceCall{bucket: "b" + strconv.FormatInt(timestamp, 36), digest: strconv.Itoa(i), timestamp: timestamp, span: span}
}

// TestAheadLeavesRoomForOthers: one consumer whose requests lie ahead has no more places than are
// free, and gets them back when its nonces expire.
func TestAheadLeavesRoomForOthers(t *testing.T) {
	var a aheadNonces
	const now = 1_000_000
	n := 0
	for ; ; n++ {
		if err := a.add("greedy", aheadAt(n, now+200, 300), now); err != nil {
			if !isLater(err) {
				t.Fatal(err)
			}
			break
		}
	}
	if n != maxAhead/2 {
		t.Errorf("one consumer has %d places", n)
	}
	for i := range 1000 {
		if err := a.add("other", aheadAt(n+i, now+200, 300), now); err != nil {
			t.Fatalf("another consumer, nonce %d: %v", i, err)
		}
	}
	if err := a.add("greedy", aheadAt(-1, now+400, 300), now+499); !isLater(err) {
		t.Errorf("a second before they expire: %v", err)
	}
	if err := a.add("greedy", aheadAt(-1, now+400, 300), now+500); err != nil {
		t.Errorf("when they have expired: %v", err)
	}
}

// TestAheadIsEmptyAtTheEnd: whatever is added, taken back and expires, nothing is left afterwards.
func TestAheadIsEmptyAtTheEnd(t *testing.T) {
	var a aheadNonces
	rng := rand.New(rand.NewPCG(1, 2))
	now := int64(1_000_000)
	var live []nonceCall
	for i := range 50_000 {
		switch rng.IntN(4) {
		case 0:
			if len(live) > 0 {
				j := rng.IntN(len(live))
				a.remove(live[j])
				live[j] = live[len(live)-1]
				live = live[:len(live)-1]
			}
		case 1:
			now += rng.Int64N(2)
		default:
			c := aheadAt(i, now+rng.Int64N(300), rng.Int64N(300)-5)
			if a.add(fmt.Sprint("k", rng.IntN(20)), c, now) == nil {
				live = append(live, c)
			}
		}
	}
	if len(a.ending) < 100 || a.count < 500 {
		t.Errorf("%d nonces of %d seconds are left: the test proves nothing", a.count, len(a.ending))
	}
	if left, _ := a.live(now + 1000); len(left) != 0 || a.count != 0 || len(a.consumers) != 0 || len(a.ending) != 0 {
		t.Errorf("left: %d, %d, %v, %d seconds", len(left), a.count, a.consumers, len(a.ending))
	}
}

// TestAheadRefusedTakesNoRoom: only nonces that the servers may have are remembered.
func TestAheadRefusedTakesNoRoom(t *testing.T) {
	t.Parallel()
	s := openTest(t, testOptions(redislab.Single(t, redislab.Options{}), 0))
	awaitReady(t, s)
	n := nonceAt(time.Now().Unix()+100, "token", "n", 300)
	call := s.nonceCall(n)
	use := func(version string) error {
		keys := []string{s.states[call.slice], call.bucket, s.key(kindToken, call.slice, "token")}
		args := call.args()
		args[3], args[4] = version, "0"
		return s.useAhead(t.Context(), "consumer", call, keys, args)
	}
	remembered := func() int { return s.leases[call.slice].ahead.count }
	if err := use("8 bytes!"); !isLater(err) || remembered() != 0 {
		t.Errorf("with a token that is gone: %v, %d are remembered", err, remembered())
	}
	if err := use(""); err != nil || remembered() != 1 { // a token that is not there has no version
		t.Errorf("%v, %d are remembered", err, remembered())
	}
	if err := use(""); !errors.Is(err, tokenstore.ErrNonceUsed) || remembered() != 1 {
		t.Errorf("again: %v, %d are remembered", err, remembered())
	}
}

// TestAheadCrowd: when replicas do not answer, the requests of one consumer that lie ahead take a
// few connections, and those of another pass its crowd.
func TestAheadCrowd(t *testing.T) {
	t.Parallel()
	s := openTest(t, quickOptions(redislab.Single(t, redislab.Options{}), 0))
	awaitReady(t, s)
	crowd := s.gates.of("consumer")
	for range aheadAtOnce {
		crowd <- struct{}{}
	}
	begin := time.Now()
	n := nonceAt(begin.Unix()+100, "token", "n", 300)
	if err := s.UseNonce(t.Context(), n); !isLater(err) || time.Since(begin) > 3*s.timeout() {
		t.Errorf("behind a crowd: %v after %v", err, time.Since(begin))
	}
	other := "other"
	for i := 0; s.gates.of(other) == crowd; i++ {
		other = "other" + strconv.Itoa(i)
	}
	n.Consumer = other
	if err := s.UseNonce(t.Context(), n); err != nil {
		t.Errorf("another consumer: %v", err)
	}
	<-crowd
	n.Consumer = "consumer"
	if err := s.UseNonce(t.Context(), n); err != nil {
		t.Errorf("when one of the crowd is done: %v", err)
	}
}

// TestPutBackWithTheSpanOfTheSlice: a nonce that is put back is remembered as long as others of its
// timestamp, whatever window the site has that accepted it.
func TestPutBackWithTheSpanOfTheSlice(t *testing.T) {
	t.Parallel()
	s := openTest(t, testOptions(redislab.Single(t, redislab.Options{}), 0))
	awaitReady(t, s)
	c, err := s.link.client()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	if err := s.UseNonce(t.Context(), nonceAt(now, "token", "wide", 900)); err != nil {
		t.Fatal(err)
	}
	n := nonceAt(now+100, "token", "ahead", 300)
	if err := s.UseNonce(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	call := s.nonceCall(n)
	end := func() int64 {
		t.Helper()
		at, err := c.Do(t.Context(), c.B().Expiretime().Key(call.bucket).Build()).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	before := end()
	if err := c.Do(t.Context(), c.B().Del().Key(call.bucket).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	if err := s.putBackAhead(t.Context(), call.slice); err != nil {
		t.Fatal(err)
	}
	if after := end(); after != before || after < n.Timestamp+900 {
		t.Errorf("it ends %d seconds after its timestamp, and did %d seconds", after-n.Timestamp, before-n.Timestamp)
	}
	if err := s.UseNonce(t.Context(), n); !errors.Is(err, tokenstore.ErrNonceUsed) {
		t.Errorf("again: %v", err)
	}
}
