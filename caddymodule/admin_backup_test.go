package caddymodule

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/backup"
)

// TestAdminBackup: the answer is a whole backup; with a recipient it is encrypted, and a wrong
// recipient is not repeated if it is an identity.
func TestAdminBackup(t *testing.T) {
	a := newTestAdmin(t, "")
	a.must("POST", "/oauth1/consumers", `{"key":"a","secret":"s"}`)
	w := a.call("GET", "/oauth1/backup", "")
	if _, n, err := backup.Verify(w.Body); w.Code != 200 || err != nil || n.Consumers < 1 {
		t.Errorf("%d: %+v, %v", w.Code, n, err)
	}
	const recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
	w = a.call("GET", "/oauth1/backup?recipient="+recipient, "")
	if _, _, err := backup.Verify(w.Body); w.Code != 200 || !errors.Is(err, backup.ErrEncrypted) {
		t.Errorf("with a recipient: %d, %v", w.Code, err)
	}
	for query, want := range map[string]string{
		"recipient=AGE-SECRET-KEY-1QQQ": "is not an age recipient",
		"recipient=":                    "is not an age recipient",
		"recipients=" + recipient:       "unknown query parameter",
	} {
		w := a.call("GET", "/oauth1/backup?"+query, "")
		if body := w.Body.String(); w.Code != 400 || !strings.Contains(body, want) || strings.Contains(body, "1QQQ") {
			t.Errorf("%s: %d %s", query, w.Code, body)
		}
	}
	for _, method := range []string{"GET", "HEAD"} { // remote administration is over TLS
		r := httptest.NewRequest(method, "/oauth1/backup?recipient="+recipient, nil)
		r.TLS = &tls.ConnectionState{}
		w := httptest.NewRecorder()
		if a.ServeHTTP(w, r); w.Code != 403 {
			t.Errorf("%s over TLS: %d", method, w.Code)
		}
	}
	if w := a.call("HEAD", "/oauth1/backup", ""); w.Code != 200 || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d, %d bytes", w.Code, w.Body.Len())
	}
}

// TestVerifyNamesTheRecipients: who has the backup learns which identities read it.
func TestVerifyNamesTheRecipients(t *testing.T) {
	a := newTestAdmin(t, "")
	var ids [2]*age.X25519Identity
	var query, want []string
	for i := range ids {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		ids[i], query, want = id, append(query, "recipient="+id.Recipient().String()), append(want, id.Recipient().String())
	}
	w := a.call("GET", "/oauth1/backup?"+strings.Join(query, "&"), "")
	file, identity := filepath.Join(t.TempDir(), "a.backup"), filepath.Join(t.TempDir(), "identity.txt")
	if err := errors.Join(os.WriteFile(file, w.Body.Bytes(), 0o600), os.WriteFile(identity, []byte(ids[1].String()), 0o600)); err != nil {
		t.Fatal(err)
	}
	if got, err := verifyBackup(file, identity); err != nil || !slices.Equal(got.Recipients, want) {
		t.Errorf("got %q, %v, want %q", got.Recipients, err, want)
	}
}

// heldWriter is a caller that reads nothing until it is let go.
type heldWriter struct {
	*httptest.ResponseRecorder
	once          sync.Once
	reached, held chan struct{}
}

func (w *heldWriter) Write(b []byte) (int, error) {
	w.once.Do(func() { close(w.reached) })
	<-w.held
	return w.ResponseRecorder.Write(b)
}

// TestOneBackupIsSentAtATime: each holds the space of what is changed meanwhile.
func TestOneBackupIsSentAtATime(t *testing.T) {
	a := newTestAdmin(t, "")
	first := &heldWriter{ResponseRecorder: httptest.NewRecorder(), reached: make(chan struct{}), held: make(chan struct{})}
	var sent sync.WaitGroup
	sent.Go(func() { a.ServeHTTP(first, httptest.NewRequest("GET", "/oauth1/backup", nil)) })
	<-first.reached
	if w := a.call("GET", "/oauth1/backup", ""); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "one at a time") {
		t.Errorf("the second: %d %s", w.Code, w.Body)
	}
	close(first.held)
	sent.Wait()
	if _, _, err := backup.Verify(first.Body); err != nil {
		t.Errorf("the first: %v", err)
	}
	if w := a.call("GET", "/oauth1/backup", ""); w.Code != http.StatusOK {
		t.Errorf("after it: %d %s", w.Code, w.Body)
	}
}

// slowWriter is a caller that reads so many bytes a second.
type slowWriter struct {
	http.ResponseWriter
	rate     int
	deadline time.Time
}

func (w *slowWriter) Header() http.Header { return http.Header{} }

func (w *slowWriter) SetWriteDeadline(t time.Time) error {
	w.deadline = t
	return nil
}

func (w *slowWriter) Write(b []byte) (int, error) {
	end := time.Now().Add(time.Duration(len(b)) * time.Second / time.Duration(w.rate))
	if end.After(w.deadline) {
		time.Sleep(time.Until(w.deadline))
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(time.Until(end))
	return len(b), nil
}

// TestSlowReaderOfABackupIsCutOff: by what it takes itself, not by what the store takes.
func TestSlowReaderOfABackupIsCutOff(t *testing.T) {
	const chunk, chunks = 64 << 10, 16 << 10 // 1 GiB
	for _, c := range []struct {
		name  string
		rate  int
		store time.Duration // of each chunk
		cut   time.Duration // after; 0: never
	}{
		{"1 MiB/s, a slow store", backupRate, time.Second, 0},
		{"512 KiB/s", backupRate / 2, 0, 2 * time.Minute},
		{"1 KiB/s", 1 << 10, 0, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &patientWriter{w: &slowWriter{rate: c.rate}}
				b, begin := make([]byte, chunk), time.Now()
				for i := range chunks {
					time.Sleep(c.store)
					_, err := w.Write(b)
					if err == nil {
						continue
					}
					if took := time.Since(begin); c.cut == 0 || took < c.cut-time.Second || took > c.cut+2*time.Second {
						t.Errorf("cut off after %v and %d chunks: %v", took, i, err)
					}
					return
				}
				if c.cut != 0 {
					t.Error("never cut off")
				}
			})
		})
	}
}
