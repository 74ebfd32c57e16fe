package integration

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const nonceUsed = "This nonce has been used already."

// RFC 5849 section 3.3 and 4.9 (replay): a request is accepted once.
func TestAttackReplay(t *testing.T) {
	up := newQuickUpstream(t)
	srv := startServer(t, site{}, up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PUBLIC", nil)

	t.Run("64 at once: one passes", func(t *testing.T) {
		for range 5 {
			req := signer{Consumer: demoKey, Secret: demoSecret, Token: tok}.sign(t,
				srv.request("GET", "/a?b=c", nil), "")
			var wg sync.WaitGroup
			var passed, refused atomic.Int64
			start := make(chan struct{})
			for range 64 {
				wg.Go(func() {
					<-start
					got, err := srv.do(req.Clone(t.Context()))
					switch {
					case err == nil && got.Status == http.StatusOK:
						passed.Add(1)
					case err == nil && got.is(http.StatusUnauthorized, nonceUsed) == nil:
						refused.Add(1)
					default:
						t.Errorf("%v %v", got, err)
					}
				})
			}
			close(start)
			wg.Wait()
			if passed.Load() != 1 || refused.Load() != 63 {
				t.Errorf("%d passed and %d were refused", passed.Load(), refused.Load())
			}
		}
	})
	t.Run("a bad signature stores no nonce", func(t *testing.T) {
		good := signer{Consumer: demoKey, Secret: demoSecret, Token: tok}.repeated()
		bad := good
		bad.Secret = "guessed"
		want(t, "the guess", srv.mustDo(t, bad.sign(t, srv.request("GET", "/", nil), "")), http.StatusUnauthorized,
			"Invalid signature.")
		req := good.sign(t, srv.request("GET", "/", nil), "")
		want(t, "the genuine request after it", srv.mustDo(t, req), http.StatusOK, "ok")
		want(t, "its replay", srv.mustDo(t, req), http.StatusUnauthorized, nonceUsed)
	})
	t.Run("the same parameters in another place, spelling or method are a bad signature", func(t *testing.T) {
		s := signer{Consumer: demoKey, Secret: demoSecret, Token: tok}.repeated()
		req := s.sign(t, srv.request("GET", "/a", nil), "")
		want(t, "the first", srv.mustDo(t, req), http.StatusOK, "ok")
		header := req.Header.Get("Authorization")
		for what, changed := range map[string]string{
			"a nonce that is spelt otherwise":     strings.Replace(header, s.Nonce, "%"+fmt.Sprintf("%02x", s.Nonce[0])+s.Nonce[1:], 1),
			"a timestamp with a leading zero":     strings.Replace(header, `="`+s.Timestamp, `="0`+s.Timestamp, 1),
			"a timestamp with a plus":             strings.Replace(header, `="`+s.Timestamp, `="+`+s.Timestamp, 1),
			"one more parameter":                  header + `, x="y"`,
			"an empty parameter that was not hid": header + `, oauth_version="1.0"`,
			"another realm":                       header + `, realm="elsewhere"`,
			"another scheme's case":               "OAUTH" + strings.TrimPrefix(header, "OAuth"),
		} {
			again := srv.request("GET", "/a", nil)
			again.Header.Set("Authorization", changed)
			if got := srv.mustDo(t, again); got.Status != http.StatusUnauthorized && got.Status != http.StatusBadRequest {
				t.Errorf("%s: %d %s", what, got.Status, got.Body)
			}
		}
		for _, method := range []string{"get", "Get"} {
			got := srv.raw(t, srv.message(method, "/a", []string{"Authorization: " + header}, ""))
			if got.Status == http.StatusOK {
				t.Errorf("the method %s passes", method)
			}
		}
		got := srv.raw(t, srv.message("GET", "http://127.0.0.1:"+srv.port+"/a", []string{"Authorization: " + header},
			""))
		want(t, "the absolute form", got, http.StatusUnauthorized, nonceUsed)
	})
}

// RFC 5849 section 3.3: at no second is a timestamp acceptable while its nonces are forgotten
// already.
func TestAttackReplayAtTheEdges(t *testing.T) {
	const window = 3
	up := newQuickUpstream(t)
	srv := startServer(t, site{App: demoApp + fmt.Sprintf("timestamp_window %ds", window)}, up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PUBLIC", nil)
	signed := func(t *testing.T, at int64) *http.Request {
		return signer{Consumer: demoKey, Secret: demoSecret, Token: tok, Timestamp: strconv.FormatInt(at, 10)}.sign(t,
			srv.request("GET", "/a?b=c", nil), "")
	}
	// Each replay is tried until the clock has passed the whole window.
	for _, edge := range []int64{-window, 0, window} {
		t.Run(fmt.Sprintf("a timestamp of %+d s in a window of %d s, until it is too old", edge, window),
			func(t *testing.T) {
				t.Parallel()
				var req *http.Request
				srv.waitUntil("a request comes before its second is over", func() error {
					req = signed(t, time.Now().Unix()+edge)
					return srv.mustDo(t, req).is(http.StatusOK, "ok")
				})
				deadline := time.Now().Add(patience)
				for time.Now().Before(deadline) {
					got := srv.mustDo(t, req)
					if got.is(http.StatusUnauthorized, "Timestamp appears to come from bad system clock.") == nil {
						return
					}
					if err := got.is(http.StatusUnauthorized, nonceUsed); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Millisecond)
				}
				t.Error("the timestamp never got too old")
			})
	}
	t.Run("beyond the edges", func(t *testing.T) {
		for _, off := range []int64{-window - 1, window + 1, -1 << 31, 1 << 40} {
			at := time.Now().Unix() + off
			got := srv.mustDo(t, signed(t, at))
			// Meanwhile the clock may have moved the timestamp into the window, but not out of it
			// again.
			if got.Status == http.StatusOK && time.Now().Unix()+window < at || got.Status == http.StatusOK && off < 0 {
				t.Errorf("%+d passes", off)
			}
		}
	})
}

// CWE-294 and RFC 5849 section 3.3: a nonce outlives the process and the configuration.
func TestAttackReplayAcrossRestarts(t *testing.T) {
	up := newQuickUpstream(t)
	for _, sync := range []string{"on", "off"} {
		t.Run("sync "+sync, func(t *testing.T) {
			s := site{Sync: sync}
			srv := startServer(t, s, up.URL)
			tok := srv.issue(t, demoKey, "salgado", "WRITE_PUBLIC", nil)
			signed := func() *http.Request {
				req := signer{Consumer: demoKey, Secret: demoSecret, Token: tok}.sign(t, srv.request("GET", "/", nil),
					"")
				want(t, "the first", srv.mustDo(t, req), http.StatusOK, "ok")
				return req
			}
			recent := signed()
			srv.kill()
			srv.start()
			want(t, "after kill -9", srv.mustDo(t, recent), http.StatusUnauthorized, nonceUsed)
			recent = signed()
			if err := srv.load(srv.caddyfile(s)); err != nil {
				t.Fatal(err)
			}
			want(t, "after a reload", srv.mustDo(t, recent), http.StatusUnauthorized, nonceUsed)
			srv.stop()
			srv.start()
			want(t, "after a restart", srv.mustDo(t, recent), http.StatusUnauthorized, nonceUsed)
		})
	}
}

// CWE-294: when the window is widened, an old timestamp whose nonce is forgotten would be
// acceptable again. Nonces are forgotten by the minute, so the timestamp here is the last second of
// a minute. The test takes up to a minute and a half.
func TestAttackReplayWhenTheWindowBecomesWider(t *testing.T) {
	t.Parallel()
	up := newQuickUpstream(t)
	narrow, wide := site{App: demoApp + "timestamp_window 2s"}, site{App: demoApp + "timestamp_window 1h"}
	srv := startServer(t, narrow, up.URL)
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PUBLIC", nil)
	const tooOld = "Timestamp appears to come from bad system clock."
	var req *http.Request
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		last := time.Now().Unix()/60*60 + 59
		req = signer{Consumer: demoKey, Secret: demoSecret, Token: tok,
			Timestamp: strconv.FormatInt(last, 10)}.sign(t, srv.request("GET", "/", nil), "")
		got := srv.mustDo(t, req)
		if got.Status == http.StatusOK {
			break
		}
		if time.Since(began) > time.Minute+patience {
			t.Fatalf("the last second of a minute never passes: %d %s", got.Status, got.Body)
		}
	}
	if err := srv.load(srv.caddyfile(wide)); err != nil {
		t.Fatal(err)
	}
	srv.waitUntil("the wider window is in force", func() error {
		fresh := signer{Consumer: demoKey, Secret: demoSecret, Token: tok,
			Timestamp: strconv.FormatInt(time.Now().Unix()+3000, 10)}
		return srv.mustDo(t, fresh.sign(t, srv.request("GET", "/", nil), "")).is(http.StatusOK, "ok")
	})
	srv.waitUntil("the nonce is forgotten", func() error {
		got := srv.mustDo(t, req)
		if got.Status == http.StatusOK {
			t.Fatal("a request is replayed when the window has become wider")
		}
		return got.is(http.StatusUnauthorized, tooOld)
	})
	srv.kill()
	srv.site = wide
	srv.start()
	want(t, "after kill -9", srv.mustDo(t, req), http.StatusUnauthorized, tooOld)
}

// CWE-770: bad signatures, unknown tokens and unknown consumers leave nothing behind, in the store
// or in memory.
func TestAttackFloodOfBadSignatures(t *testing.T) {
	srv := startServer(t, site{Handler: "respond ok"}, "")
	tok := srv.issue(t, demoKey, "salgado", "WRITE_PUBLIC", nil)
	flood := func(n int) {
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				for i := range n / 4 {
					s := signer{Consumer: demoKey, Secret: "guessed", Token: tok,
						Nonce: newNonce() + strings.Repeat("n", 100)}
					switch i % 3 {
					case 1:
						s.Token.Key = fmt.Sprintf("unknown%dx%d", worker, i)
					case 2:
						s.Consumer = fmt.Sprintf("unknown%dx%d", worker, i)
					}
					if got, err := srv.do(s.sign(t, srv.request("GET", "/", nil), "")); err != nil || got.Status != http.StatusUnauthorized {
						t.Errorf("%v %v", got, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	flood(3000) // fills the pools and the connections
	disk, heap := diskUsage(t, filepath.Join(srv.dir, "store")), heapInUse(t, srv)
	const n = 12000
	flood(n)
	moreDisk, moreHeap := diskUsage(t, filepath.Join(srv.dir, "store"))-disk, heapInUse(t, srv)-heap
	t.Logf("%d bad requests: %d bytes more on disk, %d more in memory", n, moreDisk, moreHeap)
	if moreDisk > 64<<10 {
		t.Errorf("the store grew by %d bytes", moreDisk)
	}
	if moreHeap > n*200 {
		t.Errorf("the heap grew by %d bytes", moreHeap)
	}
}

// diskUsage returns the size of the files of a folder.
func diskUsage(t *testing.T, folder string) (bytes int64) {
	t.Helper()
	filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			bytes += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	return bytes
}

var heapMetric = regexp.MustCompile(`(?m)^go_memstats_heap_alloc_bytes (\S+)$`)

// heapInUse returns the size of the server's heap after a garbage collection.
func heapInUse(t *testing.T, srv *server) int64 {
	t.Helper()
	get := func(path string) string {
		resp, err := http.Get("http://127.0.0.1:" + srv.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	get("/debug/pprof/heap?gc=1")
	get("/debug/pprof/heap?gc=1") // sync.Pool keeps its content for one more collection
	found := heapMetric.FindStringSubmatch(get("/metrics"))
	if found == nil {
		t.Fatal("no go_memstats_heap_alloc_bytes")
	}
	heap, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int64(heap)
}
