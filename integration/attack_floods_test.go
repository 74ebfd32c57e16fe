package integration

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// CWE-770: resources that cost nothing to ask for must be bounded. A consumer that registered
// itself may have 100 waiting request tokens. The refusal of another says so.
func TestAttackFloodOfRequestTokens(t *testing.T) {
	srv := startServer(t, site{Handler: "respond ok", App: demoApp + "registration open"}, "")
	w := walker{t, srv, "flooder", ""}
	var ok, refused atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 75 {
				req := srv.request("GET", "/+request-token?"+form(plaintext("flooder", "", token{})), nil)
				got, err := srv.do(req)
				switch {
				case err == nil && got.Status == http.StatusOK:
					ok.Add(1)
				case err == nil && got.is(http.StatusServiceUnavailable, "Too many request tokens are waiting for this consumer. Try again later.") == nil && got.Header.Get("Retry-After") != "":
					refused.Add(1)
				default:
					t.Errorf("%v %v", got, err)
				}
			}
		})
	}
	wg.Wait()
	if ok.Load() != 100 || refused.Load() != 200 {
		t.Errorf("%d request tokens, %d refused", ok.Load(), refused.Load())
	}
	want(t, "another consumer", walker{t, srv, "honest", ""}.post("/+request-token",
		plaintext("honest", "", token{})), http.StatusOK, "")
	want(t, "a declared one", w.post("/+request-token", plaintext(demoKey, demoSecret, token{})), http.StatusOK, "")

	t.Run("invalid keys register nothing", func(t *testing.T) {
		for _, key := range []string{"", " ", "a\x00", "a\nb", string(make([]byte, 5000)), "\xff\xfe"} {
			got := w.post("/+request-token", plaintext(key, "", token{}))
			if got.Status == http.StatusOK {
				t.Errorf("%q is registered", key)
			}
		}
		got := w.post("/+request-token", plaintext("guesser", "a-secret", token{}))
		want(t, "a secret that nobody agreed on", got, http.StatusUnauthorized, "Invalid OAuth signature.")
		if status, _, _ := srv.adminDo("GET", "/oauth1/consumers/guesser", nil); status != http.StatusNotFound {
			t.Errorf("a consumer was registered by a bad signature: %d", status)
		}
		// Registrations take no place from declared consumers.
		want(t, "a declared consumer, without its secret", w.post("/+request-token", plaintext(demoKey, "", token{})),
			http.StatusUnauthorized, "Invalid OAuth signature.")
	})
}

// CWE-770: the secret of a mobile app's consumer is public. The request tokens that wait are
// limited for each consumer and for all together. A refused request leaves no nonce and no consumer
// behind.
func TestAttackFloodOfOneConsumersRequestTokens(t *testing.T) {
	const ofOne, inAll = 300, 400
	srv := startServer(t, site{Handler: "respond ok",
		App: demoApp + fmt.Sprintf("registration open\nmax_request_tokens %d %d\n", ofOne, inAll) +
			"consumer second {\n secret s\n}\n"}, "")
	flood := func(consumer, secret string, n int) (ok int64, refused map[string]int) {
		t.Helper()
		var mu sync.Mutex
		var wg sync.WaitGroup
		refused = make(map[string]int)
		for range 4 {
			wg.Go(func() {
				for range n / 4 {
					got, err := srv.do(srv.request("GET",
						"/+request-token?"+form(plaintext(consumer, secret, token{})), nil))
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					switch {
					case got.Status == http.StatusOK:
						ok++
					case got.Status == http.StatusServiceUnavailable && got.Header.Get("Retry-After") != "":
						refused[got.Body]++
					default:
						t.Errorf("%d %s", got.Status, got.Body)
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		return ok, refused
	}
	ofConsumer, ofAll := "Too many request tokens are waiting for this consumer. Try again later.",
		"Too many request tokens of all consumers are waiting. Try again later."
	before := diskUsage(t, filepath.Join(srv.dir, "store"))
	if ok, refused := flood(demoKey, demoSecret, 2000); ok != ofOne || refused[ofConsumer] != 2000-ofOne {
		t.Errorf("of one consumer: %d request tokens, and %v", ok, refused)
	}
	if ok, refused := flood("second", "s", 1000); ok != inAll-ofOne || refused[ofAll] != 1000-(inAll-ofOne) {
		t.Errorf("of another: %d request tokens, and %v", ok, refused)
	}
	if ok, refused := flood("stranger", "", 400); ok != 0 || refused[ofAll] != 400 {
		t.Errorf("of an unknown consumer: %d request tokens, and %v", ok, refused)
	}
	if more := diskUsage(t, filepath.Join(srv.dir, "store")) - before; more > inAll*700+64<<10 {
		t.Errorf("the store grew by %d bytes", more)
	}
	if status, _, _ := srv.adminDo("GET", "/oauth1/consumers/stranger", nil); status != http.StatusNotFound {
		t.Errorf("a consumer was registered without a request token: %d", status)
	}

	// The store removes revoked tokens afterwards, and then has room again.
	srv.mustAdmin(t, "POST", "/oauth1/revoke", object{"consumer": demoKey})
	w := walker{t, srv, demoKey, demoSecret}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got := w.post("/+request-token", plaintext(demoKey, demoSecret, token{}))
		if got.Status == http.StatusOK {
			break
		}
		want(t, "until there is room", got, http.StatusServiceUnavailable, ofAll)
		if time.Now().After(deadline) {
			t.Fatal("no room after a revocation")
		}
	}
}

// CWE-770: a request token is answered once. A second answer, an answer to an unknown token, and
// the form of another token leave nothing behind.
func TestAttackFloodOfReviews(t *testing.T) {
	srv := startServer(t, site{Handler: "respond ok", App: demoApp + "registration open"}, "")
	w := walker{t, srv, "flooder", ""}
	tok := w.requestToken()
	address := srv.origin() + "/+authorize-token?oauth_token="
	fields := fillIn(srv.asUser(t, "GET", address+tok.Key, "alice", nil).Body, "READ_PUBLIC")
	before := diskUsage(t, filepath.Join(srv.dir, "store"))
	var answered sync.Map // for each answered token, the place to which the answer leads
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 300 {
				key, permission := tok.Key, "WRITE_PRIVATE"
				if i%3 == 1 {
					key = newNonce()
				}
				if got := srv.asUser(t, "POST", address+key, "alice", fields); got.Status == http.StatusSeeOther {
					answered.Store("alice, "+got.Header.Get("Location"), true)
				} else if got.Status/100 != 4 {
					t.Errorf("%d %s", got.Status, got.Body)
				}
				if i%3 == 2 {
					key = newNonce()
				}
				status, answer, err := srv.adminDo("POST", "/oauth1/request-tokens/"+key+"/review",
					object{"user": "eve", "permission": permission})
				switch {
				case err == nil && status/100 == 2:
					answered.Store("eve", true)
				case err != nil || status/100 != 4:
					t.Errorf("%d %v %v", status, answer, err)
				}
			}
		})
	}
	wg.Wait()
	var answers []any
	answered.Range(func(answer, _ any) bool {
		answers = append(answers, answer)
		return true
	})
	if len(answers) != 1 {
		t.Errorf("it has the answers %v, want one", answers)
	}
	if more := diskUsage(t, filepath.Join(srv.dir, "store")) - before; more > 64<<10 {
		t.Errorf("the store grew by %d bytes", more)
	}
	w.want(w.exchange(tok), http.StatusOK, "")
	w.want(w.exchange(tok), http.StatusUnauthorized, "The request token is unknown, or was used already.")
	if items, _ := srv.mustAdmin(t, "GET", "/oauth1/tokens?consumer=flooder", nil)["items"].([]any); len(items) != 1 {
		t.Errorf("%d access tokens, want 1", len(items))
	}
}

// CWE-770: with registration closed, requests of unknown consumers leave nothing behind.
func TestAttackFloodOfUnknownConsumers(t *testing.T) {
	srv := startServer(t, site{Handler: "respond ok"}, "")
	before := diskUsage(t, filepath.Join(srv.dir, "store"))
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 500 {
				for _, endpoint := range []string{"/+request-token", "/+access-token", "/"} {
					key := fmt.Sprintf("unknown-%d-%d", worker, i)
					got, err := srv.do(srv.request("GET", endpoint+"?"+form(plaintext(key, "", token{key, "s"})), nil))
					if err != nil || got.Status != http.StatusUnauthorized {
						t.Errorf("%v %v", got, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if more := diskUsage(t, filepath.Join(srv.dir, "store")) - before; more > 64<<10 {
		t.Errorf("the store grew by %d bytes", more)
	}
	if items, _ := srv.mustAdmin(t, "GET", "/oauth1/consumers", nil)["items"].([]any); len(items) != 1 {
		t.Errorf("%d consumers, want the declared one", len(items))
	}
}
