package main

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if played, err := playRole(); played {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestBenchmark runs all modes, as small as they can be.
func TestBenchmark(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: builds and starts the binary")
	}
	o, err := parseFlags(flag.NewFlagSet("", flag.ContinueOnError), []string{
		"-quick", "-rounds", "2", "-requests", "100", "-tokens", "20", "-dir", t.TempDir(),
		"-processes", "2", "-peers", "plain-signed,oauth1,oauth1-plaintext,forward_auth-200,forward_auth-go,jwt-hs256,jwt-rs256",
		"-growth-tokens", "10,200", "-growth-nonces", "0,200", "-growth-connections", "1,8",
		"-growth-policies", "1,3", "-growth-reads", "100",
		"-flows-count", "20", "-flows-clients", "4", "-reclaim-nonces", "1000",
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLab(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	e, err := l.environment()
	if err != nil {
		t.Fatal(err)
	}

	t.Run("peers", func(t *testing.T) {
		c, err := compare(l, o)
		if err != nil {
			t.Fatal(err)
		}
		report := c.markdown(e, o)
		for _, row := range []string{
			"| reverse_proxy alone | 1 | 1 |", "| **oauth1, HMAC-SHA256** | ", "| **oauth1, PLAINTEXT** | ",
			"| forward_auth to a Go OAuth 1 verifier | ", "\nAgainst reverse_proxy with signed requests, which it does not verify, in req/s and CPU: `oauth1` ", "Caddy v2.",
		} {
			if !strings.Contains(report, row) {
				t.Errorf("the report lacks %q:\n%s", row, report)
			}
		}
		// Outside of CI, there may be no network for the modules.
		if len(c.skipped) > 0 && os.Getenv("CI") == "true" {
			t.Errorf("skipped: %q", c.skipped)
		}
		wellFormed(t, c.svg(e))
	})
	t.Run("growth", func(t *testing.T) {
		g, err := grow(l, o)
		if err != nil {
			t.Fatal(err)
		}
		if report := g.markdown(e, o); !strings.Contains(report, "| live nonces | ") || !strings.Contains(report, "\n| 200 | ") {
			t.Errorf("the report lacks something:\n%s", report)
		}
		wellFormed(t, g.svg(e))
	})
	t.Run("flows", func(t *testing.T) {
		f, err := measureFlows(l, o)
		if err != nil {
			t.Fatal(err)
		}
		if report := f.markdown(e, o); !strings.Contains(report, "| flows/s | ") || !strings.Contains(report, "\n| POST /+access-token | ") {
			t.Errorf("the report lacks something:\n%s", report)
		}
	})
	t.Run("peers on Redis", func(t *testing.T) {
		o := *o
		o.redis, o.peers, o.processes = true, "", 1
		c, err := compare(l, &o)
		if err != nil {
			t.Fatal(err)
		}
		mustHaveRedis(t, c.skipped)
		report := c.markdown(e, &o)
		for _, row := range []string{
			"| **oauth1, HMAC-SHA256, one Redis server** | ", "| **oauth1, HMAC-SHA256, Redis Cluster (3 + 3)** | ",
			"| forward_auth to a Go OAuth 1 verifier, nonces in Redis | ",
		} {
			if !strings.Contains(report, row) {
				t.Errorf("the report lacks %q:\n%s", row, report)
			}
		}
	})
	t.Run("replicas", func(t *testing.T) {
		o := *o
		o.redis, o.replicas, o.replicaCounts = true, true, sizes{1, 2}
		r, err := compareReplicas(l, &o)
		if isMissing(err) {
			mustHaveRedis(t, []string{err.Error()})
		}
		if err != nil {
			t.Fatal(err)
		}
		if report := r.markdown(e, &o); !strings.Contains(report, "\n| 2 | ") {
			t.Errorf("the report lacks something:\n%s", report)
		}
		wellFormed(t, r.svg(e))
	})
	t.Run("flows on Redis", func(t *testing.T) {
		o := *o
		o.redis = true
		f, err := measureFlows(l, &o)
		if isMissing(err) {
			mustHaveRedis(t, []string{err.Error()})
		}
		if err != nil {
			t.Fatal(err)
		}
		if report := f.markdown(e, &o); !strings.Contains(report, " a Redis Cluster ") {
			t.Errorf("the report lacks something:\n%s", report)
		}
	})
	t.Run("reclaim", func(t *testing.T) {
		r, err := giveBack(l, o)
		if err != nil {
			t.Fatal(err)
		}
		if report := r.markdown(e, o); !strings.Contains(report, "\n| **while nonces are given back** | ") || !strings.Contains(report, "\n| after | ") {
			t.Errorf("the report lacks something:\n%s", report)
		}
	})
}

// mustHaveRedis skips a test for which something is not installed. In CI it fails.
func mustHaveRedis(t *testing.T, missing []string) {
	t.Helper()
	if len(missing) == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
}

func wellFormed(t *testing.T, svg string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		switch _, err := d.Token(); {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			t.Fatalf("%v:\n%s", err, svg)
		}
	}
}

func TestWrongAnswersAreFound(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"another user": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, answer("mallory")) },
		"no user":      func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, answer("")) },
		"a refusal": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "Invalid signature.", http.StatusUnauthorized)
		},
		"an empty answer": func(http.ResponseWriter, *http.Request) {},
		"a hang-up":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			upstream := httptest.NewServer(handler)
			defer upstream.Close()
			addr := strings.TrimPrefix(upstream.URL, "http://")
			_, _, err := send(t.Context(), []string{addr}, 2, []request{spell(addr, "", "alice"), spell(addr, "", "alice")})
			if err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestJWTPeerIsSkippedWithoutItsModules(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOMODCACHE", t.TempDir())
	_, err := startJWT("jwt-hs256")(&lab{ctx: t.Context(), dir: t.TempDir()})
	if !isMissing(err) || !strings.Contains(err.Error(), "GOPROXY=off") {
		t.Errorf("got %v, want a skip with the reason", err)
	}
}

func TestRequestsAreSigned(t *testing.T) {
	t.Parallel()
	v := newVerifier(newNonceMap())
	if err := v.know("10"); err != nil {
		t.Fatal(err)
	}
	request := func(host, authorization string) *http.Request {
		r := httptest.NewRequest("GET", "/verify", nil)
		r.Header.Set("X-Forwarded-Method", "GET")
		r.Header.Set("X-Forwarded-Host", host)
		r.Header.Set("X-Forwarded-Uri", requestPath+"?"+requestQuery)
		r.Header.Set("Authorization", authorization)
		return r
	}
	const host = "127.0.0.1:8080"
	for _, method := range []string{"HMAC-SHA256", "HMAC-SHA1", "PLAINTEXT"} {
		authorization, want, err := signed(method)(host, 7)
		if err != nil {
			t.Fatal(err)
		}
		if user, err := v.verify(request(host, authorization)); err != nil || user != want || user != "user-7" {
			t.Errorf("%s: %q, %v", method, user, err)
		}
		if _, err := v.verify(request(host, authorization)); err == nil {
			t.Errorf("%s: a replay passed the peer's verifier", method)
		}
		if _, err := v.verify(request("other", authorization)); err == nil {
			t.Errorf("%s: the peer's verifier let a request for another host pass", method)
		}
	}
}
