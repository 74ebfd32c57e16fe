package badgerstore

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disktest"
)

// makeStoresEnv makes TestMakeStores write stores of the present program to testdata/stores, with
// names that begin with its value. Run it before a format changes:
//
//	OAUTH1_MAKE_STORES=2 go test ./tokenstore/badgerstore -run TestMakeStores
const makeStoresEnv = "OAUTH1_MAKE_STORES"

// keptNow is so late that Badger drops no entry of the kept stores.
var keptNow = time.Unix(4_000_000_000, 0).UTC()

const keptWindow = 6 * 3600

func keptOptions(path string) Options {
	return Options{Path: path, Clock: func() time.Time { return keptNow }, bootID: "kept"}
}

var keptConsumers = []*tokenstore.Consumer{
	{Key: "plain", Name: "Plain", Secret: "plain secret", Created: keptNow},
	{Key: "full", Name: "Full", Homepage: "https://full.example", Secret: "new", PreviousSecret: "old",
		PreviousSecretExpires: keptNow.Add(time.Hour), SignatureMethods: []string{"HMAC-SHA256", "PLAINTEXT"},
		Callbacks: []string{"https://full.example/*"}, Permissions: []string{"READ_PUBLIC"},
		Created: keptNow, Expires: keptNow.Add(1000 * time.Hour)},
	{Key: "rsa", RSAPublicKey: "-----BEGIN PUBLIC KEY-----\nMFw=\n-----END PUBLIC KEY-----\n", Created: keptNow},
	{Key: "two legged", Secret: "s", TwoLegged: &tokenstore.TwoLegged{User: "robot", Permission: "WRITE_PUBLIC"}, Created: keptNow},
	{Key: "disabled", Secret: "s", Disabled: true, Created: keptNow},
	{Key: "self", SelfRegistered: true, Created: keptNow},
	{Key: "self with a token", SelfRegistered: true, Created: keptNow},
}

func keptRequestTokens() (tokens []*tokenstore.RequestToken, reviews map[string]tokenstore.Review) {
	token := func(key, callback string) {
		tokens = append(tokens, &tokenstore.RequestToken{Key: key, Secret: "secret of " + key, Consumer: "full",
			Callback: callback,
			Created:  keptNow, Expires: keptNow.Add(2 * time.Hour)})
	}
	token("waiting", "")
	token("waiting with a callback", "https://full.example/back")
	token("reviewed", "oob")
	token("refused", "")
	return tokens, map[string]tokenstore.Review{
		"reviewed": {User: "u", Permission: "READ_PUBLIC", Context: "c", Verifier: "v", Time: keptNow, Expires: keptNow.Add(9 * time.Hour)},
		"refused":  {User: "u", Permission: tokenstore.Unauthorized, Time: keptNow},
	}
}

func keptAccessTokens() (tokens []*tokenstore.AccessToken) {
	for i := range 30 {
		t := &tokenstore.AccessToken{Key: fmt.Sprint("access ", i), Secret: fmt.Sprint("secret ", i), Consumer: "full",
			User: fmt.Sprint("user ", i%3), Permission: "READ_PUBLIC", Created: keptNow}
		if i%2 == 0 {
			t.Context, t.Expires = "c", keptNow.Add(time.Duration(i+1)*time.Hour)
		}
		if i%5 == 0 {
			t.LastUsed = keptNow.Add(-time.Hour)
		}
		tokens = append(tokens, t)
	}
	return append(tokens, &tokenstore.AccessToken{Key: "self", Consumer: "self with a token", User: "u",
		Created: keptNow})
}

// keptTouched returns when tokens were used after their creation.
func keptTouched() map[string]time.Time {
	return map[string]time.Time{"access 0": keptNow.Add(-time.Minute), "access 1": keptNow.Add(-time.Second)}
}

// keptNonces have timestamps in every second of a span, so that they lie on both sides of many
// bucket ends.
func keptNonces() (nonces []tokenstore.Nonce) {
	for i := range int64(240) {
		at := keptNow.Unix() - 300 + 3*i
		n := tokenstore.Nonce{Consumer: "full", Token: fmt.Sprint("access ", i%30), Timestamp: at, Value: fmt.Sprint(i),
			Expires: time.Unix(at+1+keptWindow, 0)}
		if i%7 == 0 {
			n.Consumer, n.Token = "two legged", ""
		}
		nonces = append(nonces, n)
	}
	return nonces
}

// fillKept writes the content of the kept stores to a store.
func fillKept(ctx context.Context, s *Store) error {
	var errs []error
	do := func(err error) { errs = append(errs, err) }
	for _, c := range keptConsumers {
		do(s.CreateConsumer(ctx, c))
	}
	requests, reviews := keptRequestTokens()
	for _, r := range requests {
		do(s.CreateRequestToken(ctx, r))
	}
	for key, r := range reviews {
		_, err := s.Review(ctx, key, r)
		do(err)
	}
	for _, a := range keptAccessTokens() {
		do(s.CreateAccessToken(ctx, a))
	}
	do(s.Touch(ctx, keptTouched()))
	for _, n := range keptNonces() {
		do(s.UseNonce(ctx, n))
	}
	_, err := s.Secret(ctx)
	do(err)
	return errors.Join(errs...)
}

// wantKept fails the test if the store lacks some of the content that fillKept writes.
func wantKept(t *testing.T, s *Store) {
	t.Helper()
	ctx := t.Context()
	same := func(got, want any, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	for _, want := range keptConsumers {
		got, err := s.Consumer(ctx, want.Key)
		same(got, want, err)
	}
	requests, reviews := keptRequestTokens()
	for _, want := range requests {
		if r, ok := reviews[want.Key]; ok {
			want.Review = &r
		}
		got, err := s.RequestToken(ctx, want.Key)
		same(got, want, err)
	}
	for _, want := range keptAccessTokens() {
		used := want.LastUsed
		if at, ok := keptTouched()[want.Key]; ok {
			used = at
		}
		at, err := s.LastUsed(ctx, want.Key)
		same(at, used, err)
		got, err := s.AccessToken(ctx, want.Key)
		same(got, want, err)
	}
	page, _, err := s.AccessTokens(ctx, tokenstore.Filter{User: "user 1"}, "", 100)
	same(len(page), 10, err)
	for _, n := range keptNonces() {
		if err := s.UseNonce(ctx, n); !errors.Is(err, tokenstore.ErrNonceUsed) && !errors.Is(err, tokenstore.ErrNonceForgotten) {
			t.Errorf("nonce %q of timestamp %d: %v", n.Value, n.Timestamp, err)
		}
	}
	if s.self.has("self with a token") || !s.self.has("self") {
		t.Error("it does not know which self-registered consumers have no access token")
	}
}

func TestMakeStores(t *testing.T) {
	name := os.Getenv(makeStoresEnv)
	if name == "" {
		t.Skip(makeStoresEnv + " is not set")
	}
	path := t.TempDir()
	s := openTest(t, keptOptions(path))
	if err := fillKept(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	pack(t, disktest.Crash(t, path), filepath.Join("testdata", "stores", name+"-killed.tgz"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	pack(t, path, filepath.Join("testdata", "stores", name+"-closed.tgz"))
}

// TestKeptStores opens the stores of earlier programs, and finds all of their content.
func TestKeptStores(t *testing.T) {
	archives, err := filepath.Glob("testdata/stores/*.tgz")
	if err != nil || len(archives) < 2 {
		t.Fatalf("%q, %v", archives, err)
	}
	for _, archive := range archives {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			t.Parallel()
			o := keptOptions(t.TempDir())
			unpack(t, archive, o.Path)
			for range 2 { // as the earlier program left it, and as this program leaves it
				s, err := Open(o)
				if err != nil {
					t.Fatal(err)
				}
				wantKept(t, s)
				n := keptNonces()[0]
				n.Value = "new"
				if err := s.UseNonce(t.Context(), n); err != nil && !errors.Is(err, tokenstore.ErrNonceUsed) {
					t.Errorf("a new nonce: %v", err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// packedSize is the PAX record with a file's real size: the zeros at its end are left out.
const packedSize = "OAUTH1.size"

func pack(t *testing.T, dir, archive string) {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		full := len(content)
		content = bytes.TrimRight(content, "\x00")
		h := &tar.Header{Name: filepath.ToSlash(name), Mode: 0o600, Size: int64(len(content)), Format: tar.FormatPAX,
			PAXRecords: map[string]string{packedSize: strconv.Itoa(full)}}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	if err := errors.Join(err, w.Close(), z.Close(), os.WriteFile(archive, b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d bytes", archive, b.Len())
}

func unpack(t testing.TB, archive, dir string) {
	t.Helper()
	if err := unpackTo(archive, dir); err != nil {
		t.Fatalf("%s: %v", archive, err)
	}
}

func unpackTo(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(h.PAXRecords[packedSize], 10, 64)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := errors.Join(os.WriteFile(path, content, 0o600), os.Truncate(path, size)); err != nil {
			return err
		}
	}
}
