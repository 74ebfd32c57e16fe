package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// A clock that was ahead for a moment does not free a consumer of its limit.
func TestLimitsAfterTheClockWasAhead(t *testing.T) {
	now := int64(1_800_000_000)
	s := openTest(t, Options{Clock: func() time.Time { return time.Unix(now, 0) }})
	s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 10, RequestTokens: 100})
	made := 0
	create := func() error {
		made++
		return s.CreateRequestToken(context.Background(), &tokenstore.RequestToken{Key: fmt.Sprint("r", made), Consumer: "k",
			Expires: time.Unix(now+7200, 0)})
	}
	now += 86400
	if err := create(); err != nil {
		t.Fatal(err)
	}
	now -= 86400
	for range 100 {
		if err := create(); err != nil {
			if !errors.Is(err, tokenstore.ErrTooMany) {
				t.Errorf("request token %d: %v", made, err)
			}
			return
		}
	}
	t.Errorf("%d request tokens where 10 may wait", made)
}

// What one consumer's user refuses takes the room of nobody else.
func TestRefusalsOfOneConsumer(t *testing.T) {
	s := openTest(t, Options{})
	s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 10, RequestTokens: 200})
	for i := range 200 {
		key := fmt.Sprint("r", i)
		err := s.CreateRequestToken(context.Background(), &tokenstore.RequestToken{Key: key, Consumer: "hostile", Expires: time.Now().Add(2 * time.Hour)})
		if err != nil {
			t.Log("stopped at", i, err)
			break
		}
		if _, err := s.Review(context.Background(), key, tokenstore.Review{User: "mallory", Permission: tokenstore.Unauthorized}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CreateRequestToken(context.Background(), &tokenstore.RequestToken{Key: "honest", Consumer: "other", Expires: time.Now().Add(2 * time.Hour)}); err != nil {
		t.Errorf("another consumer: %v", err)
	}
}

// Request tokens that nobody granted do not take the nonces of those who have a grant.
func TestNoncesOfRequestTokens(t *testing.T) {
	const limit, waiting = 100_000, 1000 // a tenth of the defaults
	now := time.Now()
	s := openTest(t, Options{MaxNonces: limit, Clock: func() time.Time { return now }})
	use := func(token string, i int) error {
		return s.UseNonce(context.Background(), tokenstore.Nonce{Consumer: "k", Token: token, Timestamp: now.Unix(), Value: fmt.Sprint(token, i),
			Expires: now.Add(5 * time.Minute)})
	}
	sent := 0
	for i, full := 0, 0; full < waiting; i++ {
		full = 0
		for r := range waiting {
			if err := use(fmt.Sprint("request", r), i); err != nil {
				full++
			} else {
				sent++
			}
		}
	}
	passed := 0
	for user := range 1000 {
		if use(fmt.Sprint("access", user), 0) == nil {
			passed++
		}
	}
	t.Logf("%d nonces of request tokens; then of 1000 users with a grant %d pass once", sent, passed)
	if passed < 1000 {
		t.Errorf("%d of 1000 users are locked out", 1000-passed)
	}
}

// Many consumers that registered themselves and are forgotten at once cost a bounded time each.
func TestManyConsumersAreForgottenAtOnce(t *testing.T) {
	for _, n := range []int{2000, envOr("FORGET", 8000)} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var mu sync.Mutex
			now := time.Unix(1_800_000_000, 0)
			s := openTest(t, Options{Path: t.TempDir(), Clock: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
			var all sync.WaitGroup
			for w := range 32 {
				all.Go(func() {
					for i := w; i < n; i += 32 {
						key := fmt.Sprint("c", i)
						if err := s.CreateConsumer(context.Background(), &tokenstore.Consumer{Key: key, SelfRegistered: true}); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			mu.Lock()
			now = now.Add(25 * time.Hour)
			mu.Unlock()
			start, cpu := time.Now(), cpuTime(t)
			s.wake()
			time.Sleep(200 * time.Millisecond)
			most := 0
			var slowest time.Duration
			for i := 0; ; i++ {
				p := s.removals.pending()
				if p == nil && len(s.self.someDue(now, 1)) == 0 {
					break
				}
				if p != nil {
					most = max(most, len(*p))
				}
				at := time.Now()
				if err := s.CreateAccessToken(context.Background(), &tokenstore.AccessToken{Key: fmt.Sprint("t", i), Consumer: "x", User: "u"}); err != nil {
					t.Fatal(err)
				}
				slowest = max(slowest, time.Since(at))
				time.Sleep(5 * time.Millisecond)
			}
			t.Logf("%d consumers: %v, CPU %v, marks at once %d, slowest other write %v", n, time.Since(start).Round(time.Millisecond),
				(cpuTime(t) - cpu).Round(time.Millisecond), most, slowest)
		})
	}
}

// floodEnv makes the test binary use nonces of the store at its value as fast as it can, until it is killed: segments are
// filled, sealed and removed all the time.
const floodEnv = "BADGERSTORE_TEST_FLOOD"

func init() {
	path := os.Getenv(floodEnv)
	if path == "" {
		return
	}
	var clock atomic.Int64
	base, start := int64(2_000_000_000), time.Now()
	if v, err := strconv.ParseInt(os.Getenv("FLOOD_BASE"), 10, 64); err == nil {
		base = v
	}
	clock.Store(base)
	s, err := Open(Options{Path: path, MaxNonces: 1 << 40, bootID: "same", Clock: func() time.Time { return time.Unix(clock.Load(), 0) },
		Logger: zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(os.Stdout), zap.WarnLevel))})
	if err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				now := clock.Load()
				n := tokenstore.Nonce{Consumer: "k", Token: fmt.Sprint("t", i%100), Timestamp: now, Value: fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i),
					Expires: time.Unix(now+121, 0)}
				if err := s.UseNonce(context.Background(), n); err != nil {
					fmt.Println("refused:", err)
					return
				}
				if i%2000 == 0 {
					fmt.Printf("used %d %s %s\n", now, n.Token, n.Value)
				}
			}
		}()
	}
	for { // a second of ours is a minute of the store's
		clock.Store(base + int64(time.Since(start).Seconds()*60))
		fmt.Println("clock", clock.Load())
		_ = s.nonces.lookAfter(s.clock(), nil)
		time.Sleep(20 * time.Millisecond)
	}
}

// Killed while segments are filled, sealed, trimmed and removed: no used nonce passes again, and there is no alarm.
func TestKillWhileSegmentsComeAndGo(t *testing.T) {
	path := t.TempDir()
	base, used, checked := int64(2_000_000_000), [][3]string{}, 0
	for round := range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), floodEnv+"="+path, "FLOOD_BASE="+fmt.Sprint(base))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.Duration(rand.IntN(2500)) * time.Millisecond
		if round%3 == 0 {
			kill = time.Duration(rand.IntN(150)) * time.Millisecond // while it is opened
		}
		time.AfterFunc(kill, func() { _ = cmd.Process.Kill() })
		b, _ := io.ReadAll(out)
		_ = cmd.Wait()
		for _, l := range strings.Split(string(b), "\n") {
			f := strings.Fields(l)
			switch {
			case len(f) == 4 && f[0] == "used":
				used = append(used, [3]string{f[1], f[2], f[3]})
			case len(f) == 2 && f[0] == "clock":
				if v, err := strconv.ParseInt(f[1], 10, 64); err == nil {
					base = max(base, v)
				}
			case strings.Contains(l, "refused") || strings.Contains(l, "error") || strings.Contains(l, "warn"):
				t.Errorf("round %d, killed after %v: %s", round, kill, l)
			}
		}
		core, logs := observer.New(zap.WarnLevel)
		copied := crash(t, path)
		s, err := Open(Options{Path: copied, bootID: "same", MaxNonces: 1 << 40, Clock: func() time.Time { return time.Unix(base, 0) }, Logger: zap.New(core)})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range logs.All() {
			t.Errorf("round %d: %s %v", round, l.Message, l.ContextMap())
		}
		for _, u := range used {
			ts, _ := strconv.ParseInt(u[0], 10, 64)
			if ts+121 < base {
				continue
			}
			checked++
			err := s.UseNonce(context.Background(), tokenstore.Nonce{Consumer: "k", Token: u[1], Timestamp: ts, Value: u[2], Expires: time.Unix(ts+121, 0)})
			if !errors.Is(err, tokenstore.ErrNonceUsed) && !errors.Is(err, tokenstore.ErrNonceForgotten) {
				t.Errorf("round %d: a used nonce of %d gets %v", round, ts, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(copied)
	}
	segments, _ := filepath.Glob(filepath.Join(path, "nonces", "*"+segmentSuffix))
	t.Log(checked, "checked, last segments", segments[len(segments)-1])
}

// Everything at once, and Close in the middle of it: no deadlock, and with -race no race.
func TestEverythingAtOnce(t *testing.T) {
	for round := range 4 {
		var clock atomic.Int64
		clock.Store(time.Now().Unix())
		path := t.TempDir()
		s, err := Open(Options{Path: path, tune: tuneSmall, Clock: func() time.Time { return time.Unix(clock.Load(), 0) }})
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		names := []string{"", "a", "b", "a\x00b", "\x00", strings.Repeat("n", 255), "ü\xff"}
		stop := make(chan struct{})
		var all sync.WaitGroup
		for w := range 8 {
			all.Go(func() {
				r := rand.New(rand.NewPCG(uint64(w), uint64(round)))
				for i := 0; !isClosed(stop); i++ {
					name, user := names[r.IntN(len(names))], names[r.IntN(len(names))]
					key := fmt.Sprintf("%d-%d", w, i)
					exp := time.Unix(clock.Load()+int64(r.IntN(100)), 0)
					var err error
					switch r.IntN(14) {
					case 0:
						_, err = s.Revoke(ctx, tokenstore.Filter{User: user, Consumer: name})
						if user+name == "" {
							err = nil
						}
					case 1:
						err = s.DeleteConsumer(ctx, name)
					case 2:
						err = s.RegisterConsumer(ctx, &tokenstore.Consumer{Key: name, SelfRegistered: true},
							&tokenstore.RequestToken{Key: key, Consumer: name, Expires: exp})
					case 3, 4:
						err = s.CreateRequestToken(ctx, &tokenstore.RequestToken{Key: key, Consumer: name, Expires: exp})
						if err == nil {
							_, err = s.Review(ctx, key, tokenstore.Review{User: user, Permission: []string{"P", tokenstore.Unauthorized}[r.IntN(2)]})
						}
						if err == nil {
							_, err = s.Exchange(ctx, key, "", key, "s")
						}
					case 5:
						err = s.CreateAccessToken(ctx, &tokenstore.AccessToken{Key: key, Consumer: name, User: user, Expires: exp})
					case 6:
						_, _, err = s.AccessTokens(ctx, tokenstore.Filter{User: user, Consumer: name}, "", 10)
					case 7:
						err = s.Touch(ctx, map[string]time.Time{fmt.Sprintf("%d-%d", w, i-1): time.Now()})
					case 8:
						_, err = s.UpdateConsumer(ctx, name, func(c *tokenstore.Consumer) error { c.SelfRegistered = r.IntN(2) == 0; return nil })
					case 9:
						clock.Add(int64(r.IntN(2000) - 100))
					case 10:
						s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 1 + r.IntN(1000), RequestTokens: 1 + r.IntN(5000)})
					case 11:
						err = s.UseNonce(ctx, tokenstore.Nonce{Consumer: name, Token: user, Timestamp: clock.Load(), Value: key, Expires: time.Unix(clock.Load()+60, 0)})
					case 12:
						s.removals.garbage.Add(20 << 20)
						s.removals.wake()
					case 13:
						err = s.RevokeToken(ctx, fmt.Sprintf("%d-%d", w, i-1))
						s.wake()
					}
					known := false
					for _, e := range []error{nil, tokenstore.ErrNotFound, tokenstore.ErrExists, tokenstore.ErrTooMany, tokenstore.ErrTooManyInAll, tokenstore.ErrTooManyConsumers,
						tokenstore.ErrExpired, tokenstore.ErrRefused, tokenstore.ErrNonceForgotten, tokenstore.ErrClosed, tokenstore.ErrAlreadyReviewed} {
						known = known || errors.Is(err, e)
					}
					if !known {
						t.Errorf("%q %q: %v", name, user, err)
					}
				}
			})
		}
		time.Sleep(2 * time.Second)
		if round%2 == 1 {
			close(stop)
			all.Wait()
			for range 3000 {
				if s.removals.pending() == nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if got, want := counted(s), recounted(t, s); got != want {
				t.Errorf("before it was closed: counted %v, on disk %v", got, want)
			}
		}
		closed := make(chan error)
		begin := time.Now()
		go func() { closed <- s.Close() }()
		select {
		case err := <-closed:
			if err != nil {
				t.Error(err)
			}
			t.Log("closed after", time.Since(begin))
		case <-time.After(30 * time.Second):
			panic("Close hangs")
		}
		if round%2 == 0 {
			close(stop)
			all.Wait()
		}
		s, err = Open(Options{Path: path, tune: tuneSmall, Clock: func() time.Time { return time.Unix(clock.Load(), 0) }})
		if err != nil {
			t.Fatal(err)
		}
		for range 3000 {
			if s.removals.pending() == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got, want := counted(s), recounted(t, s); got != want {
			t.Errorf("counted %v, on disk %v", got, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func envOr(name string, n int) int {
	if v, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return v
	}
	return n
}

// Nor is it, where the clock was ahead only while the store was opened.
func TestLimitsAfterTheClockWasAheadAtStart(t *testing.T) {
	now := int64(1_800_000_000 + 86400)
	s := openTest(t, Options{Clock: func() time.Time { return time.Unix(now, 0) }})
	s.SetLimits(tokenstore.Limits{RequestTokensOfConsumer: 10, RequestTokens: 100})
	now -= 86400
	for i := range 11 {
		err := s.CreateRequestToken(context.Background(), &tokenstore.RequestToken{Key: fmt.Sprint("r", i), Consumer: "k",
			Expires: time.Unix(now+7200, 0)})
		if want := i == 10; errors.Is(err, tokenstore.ErrTooMany) != want {
			t.Errorf("request token %d: %v", i+1, err)
		}
	}
}
