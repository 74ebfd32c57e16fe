package badgerstore

import (
	"context"
	crand "crypto/rand"
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

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// openOnceEnv makes the test binary open the store at its value, use it a little and close it.
const openOnceEnv = "BADGERSTORE_TEST_OPEN_ONCE"

func init() {
	path := os.Getenv(openOnceEnv)
	if path == "" {
		return
	}
	o := Options{Path: path, Logger: zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewProductionEncoderConfig()),
		zapcore.AddSync(os.Stdout), zap.WarnLevel))}
	if key := os.Getenv("ONCE_KEY"); key != "" {
		o.EncryptionKey = []byte(key)
	}
	if os.Getenv(smallEnv) != "" {
		o.tune = tuneSmall
	}
	if os.Getenv("ONCE_KEPT") != "" {
		o.Clock, o.bootID = func() time.Time { return time.Unix(4_000_000_000, 0) }, "kept"
	}
	fmt.Println("begin")
	s, err := Open(o)
	if err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
	fmt.Println("opened")
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := range 20 {
				n := s.clock().Unix()
				key := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				if err := s.UseNonce(context.Background(), crashNonce(key, n)); err != nil {
					fmt.Println("refused:", err)
				}
				if i%5 == 0 {
					_ = s.CreateAccessToken(context.Background(), &tokenstore.AccessToken{Key: key, Consumer: "k", User: "u"})
				}
			}
		})
	}
	all.Wait()
	fmt.Println("closing")
	if err := s.Close(); err != nil {
		fmt.Println("refused: close:", err)
	}
	fmt.Println("closed")
	os.Exit(0)
}

// openOnce lets a child have the store, and kills it at a moment after it said that it has begun, if a moment is given.
func openOnce(t *testing.T, path string, kill time.Duration, env ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), openOnceEnv+"="+path), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	buf := make([]byte, 4096)
	n, _ := out.Read(buf)
	b.Write(buf[:n])
	if kill > 0 {
		time.AfterFunc(kill, func() { _ = cmd.Process.Kill() })
	}
	for {
		n, err := out.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			break
		}
	}
	_ = cmd.Wait()
	return b.String()
}

// A store that was killed while it was made, opened or closed opens again, without a word of damage.
func TestKillWhileOpeningAndClosing(t *testing.T) {
	for _, c := range []struct {
		name  string
		fresh bool
		env   []string
		most  time.Duration
	}{
		{"first start", true, nil, 40 * time.Millisecond},
		{"first start, encrypted", true, []string{"ONCE_KEY=0123456789abcdef"}, 40 * time.Millisecond},
		{"restarts", false, nil, 120 * time.Millisecond},
		{"restarts, encrypted", false, []string{"ONCE_KEY=0123456789abcdef"}, 120 * time.Millisecond},
		{"restarts, small", false, []string{smallEnv + "=1"}, 120 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store")
			stages := map[string]int{}
			bad := 0
			for round := range 60 {
				if c.fresh {
					path = filepath.Join(t.TempDir(), "store")
				}
				kill := 100*time.Microsecond + time.Duration(rand.Int64N(int64(c.most)))
				said := openOnce(t, path, kill, c.env...)
				lines := strings.Split(strings.TrimSpace(said), "\n")
				stages[lines[len(lines)-1]]++
				again := said
				if c.fresh || round%5 == 4 {
					again = openOnce(t, path, 0, c.env...)
				}
				for _, l := range strings.Split(again, "\n") {
					if strings.Contains(l, "refused") || strings.Contains(l, "error") || strings.Contains(l, "warn") {
						if bad++; bad < 4 {
							t.Errorf("killed after %v: %s", kill, l)
						}
					}
				}
			}
			t.Log(stages, "bad:", bad)
		})
	}
}

// An encrypted store whose first start ended between two of Badger's files opens: nothing was ever acknowledged.
func TestFirstStartOfAnEncryptedStoreThatEndedEarly(t *testing.T) {
	path := t.TempDir()
	o := Options{Path: path, EncryptionKey: []byte("0123456789abcdef")}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(path, "tokens", "MANIFEST"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.Path = t.TempDir()
	if err := os.Mkdir(filepath.Join(o.Path, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	// Badger makes the MANIFEST, and then the KEYREGISTRY. The MANIFEST of a new store is its magic alone.
	if err := os.WriteFile(filepath.Join(o.Path, "tokens", "MANIFEST"), manifest[:8], 0o600); err != nil {
		t.Fatal(err)
	}
	openTest(t, o)
}

// A table that Badger removes while it is read in the background is no damage.
func TestVerifyWhileTablesAreRemoved(t *testing.T) {
	path := t.TempDir()
	s, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for range 3000 { // one table of several MiB
		var c change
		c.put([]byte("z"+crand.Text()), make([]byte, 4000), 0)
		go s.tokens.commit(c)
	}
	s.tokens.writes.flush()
	time.Sleep(time.Second)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d := &database{dir: filepath.Join(path, "tokens")}
	state, err := readLedger(filepath.Join(path, ledgerName))
	if err != nil {
		t.Fatal(err)
	}
	x, err := examine(databaseOptions(d.dir, nil, zap.NewNop()), state)
	if err != nil {
		t.Fatal(err)
	}
	defer x.close()
	tables, _ := filepath.Glob(filepath.Join(d.dir, "*.sst"))
	sst := ""
	var size int64
	for _, p := range tables {
		if i, err := os.Stat(p); err == nil && i.Size() > size {
			sst, size = p, i.Size()
		}
	}
	t.Log("table of", size)
	b, err := os.ReadFile(sst)
	if err != nil {
		t.Fatal(err)
	}
	alarms, rounds := 0, 300
	var last error
	for i := range rounds {
		p := filepath.Join(t.TempDir(), fmt.Sprintf("%06d.sst", i+100))
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := z.OpenMmapFile(p, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		x.unverified = nil
		for range 1 {
			x.unverified = append(x.unverified, tableFile{id: uint64(i + 100), path: p, size: size})
		}
		go func() {
			time.Sleep(time.Duration(rand.Int64N(int64(3 * time.Millisecond))))
			_ = m.Delete() // as Badger does after a compaction
		}()
		if err := x.verify(nil); err != nil {
			alarms++
			last = err
		}
		for {
			if _, err := os.Stat(p); err != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	if alarms > 0 {
		t.Errorf("%d false alarms in %d: %v", alarms, rounds, last)
	}
}

// A clock that was wrong when the machine started, and that no request was judged by, refuses nobody later.
func TestClockAheadAtStart(t *testing.T) {
	const year = 365 * 86400
	now := int64(1_800_000_000)
	o := Options{Path: t.TempDir(), Clock: func() time.Time { return time.Unix(now, 0) }, bootID: "one"}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.UseNonce(context.Background(), windowNonce(now, "a")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The machine starts with its clock a year ahead, and five seconds later looks after the log.
	now += year
	o.bootID = "two"
	s = openTest(t, o)
	if err := s.nonces.lookAfter(s.clock(), nil); err != nil {
		t.Fatal(err)
	}
	now -= year - 60 // NTP
	if err := s.nonces.lookAfter(s.clock(), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.UseNonce(context.Background(), windowNonce(now, "b")); err != nil {
		t.Fatal("before the power cut:", err)
	}
	o.Path, o.bootID = crash(t, o.Path), "three" // a power cut
	now += 120
	core, logs := observer.New(zap.WarnLevel)
	o.Logger = zap.New(core)
	s = openTest(t, o)
	if err := s.UseNonce(context.Background(), windowNonce(now, "c")); err != nil {
		t.Errorf("after the power cut: %v", err)
		for _, l := range logs.All() {
			t.Log(l.Message, l.ContextMap())
		}
		t.Log("refused for another", time.Duration(s.nonces.floor.Load()-now)*time.Second)
	}
	// What could an operator do? Taking the log away does not help either.
	o.Path = crash(t, o.Path)
	if err := os.RemoveAll(filepath.Join(o.Path, "nonces")); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, o)
	t.Log("without the folder nonces, refused for another", time.Duration(s.nonces.floor.Load()-now)*time.Second)
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

// A record of a later version costs that record, and nothing else.
func TestOneRecordOfALaterVersion(t *testing.T) {
	o := Options{Path: t.TempDir()}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for _, key := range []string{"a", "b"} {
		if err := s.CreateConsumer(ctx, &tokenstore.Consumer{Key: key}); err != nil {
			t.Fatal(err)
		}
		if err := s.CreateRequestToken(ctx, &tokenstore.RequestToken{Key: "r" + key, Consumer: key, Expires: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	var c change
	c.put(recordKey(prefixConsumer, "a"), setVersion(encodeConsumer(&tokenstore.Consumer{Key: "a"}), 2), 0)
	if err := s.tokens.commit(c); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Consumer(ctx, "b"); err != nil {
		t.Error(err)
	}
}

// A store that failed lets nothing through, what is in its memory neither.
func TestAFailedStoreRefusesWhatIsCached(t *testing.T) {
	s := openTest(t, Options{})
	ctx := context.Background()
	if err := s.CreateConsumer(ctx, &tokenstore.Consumer{Key: "k"}); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateAccessToken(ctx, &tokenstore.AccessToken{Key: "t", Consumer: "k", User: "u"}); err != nil {
		t.Fatal(err)
	}
	read := func() (errs []error) {
		_, err := s.Consumer(ctx, "k")
		errs = append(errs, err)
		_, err = s.AccessToken(ctx, "t")
		errs = append(errs, err)
		return append(errs, s.UseNonce(ctx, windowNonce(time.Now().Unix(), crand.Text())))
	}
	read()
	damage := errors.New("a table is damaged")
	s.tokens.failed.Store(&damage)
	for i, err := range read() {
		if err == nil {
			t.Errorf("%s passes", []string{"consumer", "access token", "nonce"}[i])
		}
	}
}

// The time that damage costs is one window of now, not the widest that ever was.
func TestDamageCostsTheWindowOfNow(t *testing.T) {
	now := int64(1_800_000_000)
	o := Options{Path: t.TempDir(), Clock: func() time.Time { return time.Unix(now, 0) }, bootID: "same"}
	s := openTest(t, o)
	n := windowNonce(now, "wide")
	n.Expires = time.Unix(now+7*86400, 0)
	if err := s.UseNonce(context.Background(), n); err != nil {
		t.Fatal(err)
	}
	now += 30 * 86400
	if err := s.nonces.lookAfter(s.clock(), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.UseNonce(context.Background(), windowNonce(now, "narrow")); err != nil {
		t.Fatal(err)
	}
	o.Path = crash(t, o.Path)
	if err := os.RemoveAll(filepath.Join(o.Path, "nonces")); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, o)
	if costs := s.nonces.floor.Load() - now; costs > 2*testWindow {
		t.Errorf("refused for %v, with a window of %v", time.Duration(costs)*time.Second, testWindow*time.Second)
	}
}

// While Badger compacts, tables are read in the background as after a start. The store is small, so they are read again
// and again; with some GiB once takes as long.
func TestVerifyWhileBadgerCompacts(t *testing.T) {
	s := openTest(t, Options{})
	stop, filled := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(filled)
		for range 1500 {
			v := make([]byte, 100<<10)
			crand.Read(v)
			var c change
			c.put([]byte("z"+crand.Text()), v, 0)
			if err := s.tokens.commit(c); err != nil {
				t.Error(err)
				break
			}
		}
		close(stop)
	}()
	alarms, read := 0, 0
	var last error
	for !isClosed(stop) {
		x := &examination{dir: s.tokens.dir, opt: s.tokens.found.opt, registry: s.tokens.found.registry, index: s.tokens.found.index}
		if x.index == nil {
			var err error
			if x.index, err = newIndexCache(); err != nil {
				t.Fatal(err)
			}
		}
		if x.registry == nil {
			var err error
			if x.registry, err = badger.OpenKeyRegistry(badger.KeyRegistryOptions{ReadOnly: true, Dir: s.tokens.dir}); err != nil {
				t.Fatal(err)
			}
		}
		for _, info := range s.tokens.db.Tables() {
			path := table.NewFilename(info.ID, s.tokens.dir)
			if i, err := os.Stat(path); err == nil {
				x.unverified = append(x.unverified, tableFile{id: info.ID, path: path, size: i.Size()})
			}
		}
		read += len(x.unverified)
		if err := x.verify(stop); err != nil {
			alarms++
			last = err
		}
	}
	<-filled
	t.Logf("%d false alarms in %d tables", alarms, read)
	if alarms > 0 {
		t.Error(last)
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

// One token of a later version does not keep what else was revoked on disk, nor from being reclaimed.
func TestRemovalPassesOverALaterVersion(t *testing.T) {
	s := openTest(t, Options{})
	ctx := context.Background()
	for _, key := range []string{"t1", "t2"} {
		if err := s.CreateAccessToken(ctx, &tokenstore.AccessToken{Key: key, Consumer: "k", User: "u" + key}); err != nil {
			t.Fatal(err)
		}
	}
	later := &tokenstore.AccessToken{Key: "t3", Consumer: "k", User: "ut1"}
	var c change
	putAccessToken(&c, later)
	c.put(recordKey(prefixAccessToken, "t3"), setVersion(encodeAccessToken(later), 2), 0)
	if err := s.tokens.commit(c); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"ut1", "ut2"} {
		if _, err := s.Revoke(ctx, tokenstore.Filter{User: user}); err != nil {
			t.Fatal(err)
		}
	}
	s.removals.wake()
	time.Sleep(500 * time.Millisecond)
	if p := s.removals.pending(); p != nil {
		for f := range *p {
			t.Errorf("still marked: %+v", f)
		}
	}
}

// Killed while a store of an earlier format is opened for the first time.
func TestKillWhileAnOldStoreIsOpened(t *testing.T) {
	archives, _ := filepath.Glob("testdata/stores/*.tgz")
	for _, archive := range archives {
		for range 8 {
			path := t.TempDir()
			unpack(t, archive, path)
			for range 3 {
				openOnce(t, path, time.Duration(rand.IntN(30_000))*time.Microsecond, "ONCE_KEPT=1")
			}
			core, logs := observer.New(zap.WarnLevel)
			o := keptOptions(path)
			o.Logger = zap.New(core)
			s, err := Open(o)
			if err != nil {
				t.Errorf("%s: %v", archive, err)
				continue
			}
			for _, l := range logs.All() {
				t.Errorf("%s: %s %v", archive, l.Message, l.ContextMap())
			}
			wantKept(t, s)
			_ = s.Close()
		}
	}
}

// A window that was made narrower lets go of what is over by the new one, not by the old one for as long as that was.
func TestNarrowerWindowFreesNonces(t *testing.T) {
	now := int64(1_800_000_000)
	s := openTest(t, Options{MaxNonces: 10_000, Clock: func() time.Time { return time.Unix(now, 0) }, bootID: "same"})
	use := func(value string, window int64) error {
		return s.UseNonce(context.Background(), tokenstore.Nonce{Consumer: "k", Token: fmt.Sprint("t", now), Timestamp: now, Value: value,
			Expires: time.Unix(now+1+window, 0)})
	}
	if err := use("wide", 86400); err != nil {
		t.Fatal(err)
	}
	for minute := range 24 * 60 {
		now += 60
		for i := range 40 { // 440 in the narrow window of eleven minutes
			if err := use(fmt.Sprint(i), 300); err != nil {
				t.Fatalf("%d minutes after the window became 5m: %v", minute, err)
			}
		}
		if err := s.nonces.lookAfter(s.clock(), nil); err != nil {
			t.Fatal(err)
		}
	}
}

// A store that is open with little space left, and revokes, opens again with as much.
func TestRestartWithLittleSpace(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=200m", "none", dir).CombinedOutput(); err != nil {
		t.Skip(string(out))
	}
	defer exec.Command("umount", "-l", dir).Run()
	o := Options{Path: filepath.Join(dir, "store")}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateAccessToken(context.Background(), &tokenstore.AccessToken{Key: "t", Consumer: "c", User: "u"}); err != nil {
		t.Fatal(err)
	}
	free, err := freeSpace(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "others"), make([]byte, free-50<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.UseNonce(context.Background(), windowNonce(time.Now().Unix(), "a")); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	if err := s.RevokeToken(context.Background(), "t"); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
