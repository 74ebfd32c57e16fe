package badgerstore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/internal/disktest"
)

// copyStore copies a store's directory, without its generation, as cp would.
func copyStore(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func openAndClose(t *testing.T, o Options) error {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		return err
	}
	return s.Close()
}

// TestCopiesAreNoticed: a directory that is not the one that was used last does not open.
func TestCopiesAreNoticed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm func(t *testing.T, path string)
		want string // in the error; empty: it opens
	}{
		"nothing": {func(*testing.T, string) {}, ""},
		"copied back after a stop": {func(t *testing.T, path string) {
			copyStore(t, path, path+".copy")
			if err := openAndClose(t, Options{Path: path}); err != nil {
				t.Fatal(err)
			}
			copyStore(t, path+".copy", path)
		}, "2 openings and closings later"},
		"copied back to what was open": {func(t *testing.T, path string) {
			s, err := Open(Options{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			running := disktest.Crash(t, path)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			copyStore(t, running, path)
		}, "1 openings and closings later"},
		"an older copy, and kill -9 since": {func(t *testing.T, path string) {
			copyStore(t, path, path+".copy")
			s, err := Open(Options{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			killed := disktest.Crash(t, path)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			disktest.CopyGeneration(t, killed, path)
			copyStore(t, path+".copy", path)
		}, "1 openings and closings later"},
		"removed": {func(t *testing.T, path string) {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}, "new, or older"},
		"the generation is missing": {func(t *testing.T, path string) {
			if err := os.Remove(path + GenerationSuffix); err != nil {
				t.Fatal(err)
			}
		}, "is missing"},
		"the generation is damaged": {func(t *testing.T, path string) {
			if err := os.WriteFile(path+GenerationSuffix, []byte(generationMagic+"0000\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is damaged"},
		"the generation of another store": {func(t *testing.T, path string) {
			if err := openAndClose(t, Options{Path: path + ".other"}); err != nil {
				t.Fatal(err)
			}
			disktest.CopyGeneration(t, path+".other", path)
		}, "of another store"},
		"the generation is an older copy": {func(t *testing.T, path string) {
			disktest.CopyGeneration(t, path, path+".copy")
			if err := openAndClose(t, Options{Path: path}); err != nil {
				t.Fatal(err)
			}
			disktest.CopyGeneration(t, path+".copy", path)
		}, "older copy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "store")
			if err := openAndClose(t, Options{Path: path}); err != nil {
				t.Fatal(err)
			}
			c.harm(t, path)
			err := openAndClose(t, Options{Path: path})
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			for _, want := range []string{c.want, "tokens that were revoked since are valid again", "oauth1 store adopt --config"} {
				if !errors.Is(err, tokenstore.ErrCopied) || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
			if err := openAndClose(t, Options{Path: path}); !errors.Is(err, tokenstore.ErrCopied) {
				t.Errorf("the second time: %v", err)
			}
			// Once it is adopted, it opens as usual.
			if err := openAndClose(t, Options{Path: path, Adopt: time.Now().Unix()}); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := openAndClose(t, Options{Path: path}); err != nil {
					t.Errorf("after it was adopted: %v", err)
				}
			}
		})
	}
}

// TestKillBetweenTheTwoWrites: at no moment of an opening does kill -9 make a store a copy.
func TestKillBetweenTheTwoWrites(t *testing.T) {
	t.Parallel()
	type pair struct{ inside, outside int64 } // -1: none
	for name, at := range map[string]pair{
		"new, nothing written":       {-1, -1},
		"new, outside first":         {-1, 0},
		"new, then inside":           {1, 0},
		"new, both":                  {1, 1},
		"opened again, inside first": {8, 7},
		"opened again, both":         {8, 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "store")
			s, err := Open(Options{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			g := s.generations.now
			var c change
			if at.inside < 0 {
				c.remove([]byte{prefixGeneration})
			} else {
				c.put([]byte{prefixGeneration}, generationKind.Encode(&generation{g.id, at.inside}), 0)
			}
			if err := s.tokens.commit(c); err != nil {
				t.Fatal(err)
			}
			killed := disktest.Crash(t, path)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(killed + GenerationSuffix); err != nil {
				t.Fatal(err)
			}
			if at.outside >= 0 {
				if err := writeGeneration(killed+GenerationSuffix, generation{g.id, at.outside}); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if err := openAndClose(t, Options{Path: killed}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestAdopt: the nonces of one window are refused for as long, as something to try again later, and
// the pages' secret stays.
func TestAdopt(t *testing.T) {
	t.Parallel()
	ctx, now := t.Context(), time.Unix(1_800_000_000, 0)
	path := filepath.Join(t.TempDir(), "store")
	o := Options{Path: path, Clock: func() time.Time { return now }}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := s.Secret(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateConsumer(ctx, &tokenstore.Consumer{Key: "k"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copyStore(t, path, path+".copy")
	s = openTest(t, o)
	used := windowNonce(now.Unix()+testWindow, "used")
	if err := s.UseNonce(ctx, used); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copyStore(t, path+".copy", path)

	o.Adopt, o.AdoptEmpty = now.Unix()+testWindow, true
	if err := openAndClose(t, o); !errors.Is(err, tokenstore.ErrNotEmpty) {
		t.Errorf("adopted as an empty store: %v", err)
	}
	o.AdoptEmpty, o.AdoptKeep = false, &tokenstore.Kept{Name: "why", Value: []byte("adopted")}
	if err := openAndClose(t, o); err != nil {
		t.Fatal(err)
	}
	o.Adopt = 0
	s = openTest(t, o)
	if got, err := s.Secret(ctx); err != nil || got != secret {
		t.Errorf("the secret: %v", err)
	}
	var later *tokenstore.LaterError
	if err := s.UseNonce(ctx, used); !errors.As(err, &later) {
		t.Errorf("a used nonce: %v", err)
	}
	if err := s.UseNonce(ctx, windowNonce(now.Unix(), "new")); !errors.As(err, &later) || later.After != (testWindow+1)*time.Second {
		t.Errorf("a new nonce: %v, after %v", err, later)
	}
	if err := s.UseNonce(ctx, windowNonce(now.Unix()+testWindow+1, "new")); err != nil {
		t.Error(err)
	}
	if kept, err := s.Kept(ctx, "why"); err != nil || string(kept["why"]) != "adopted" {
		t.Errorf("kept %q, %v", kept, err)
	}
}

// TestAnAdoptionThatIsKilled: before the directory can be used, what is to be kept is there.
func TestAnAdoptionThatIsKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{Path: filepath.Join(dir, "store"), Generation: filepath.Join(dir, "generations", "store")}
	if err := os.Mkdir(filepath.Dir(o.Generation), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := openAndClose(t, o); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Dir(o.Generation)); err != nil { // the last step will fail
		t.Fatal(err)
	}
	o.Adopt, o.AdoptKeep = 1, &tokenstore.Kept{Name: "why", Value: []byte("adopted")}
	if err := openAndClose(t, o); err == nil {
		t.Fatal("the generation was written")
	}
	tokens, err := openDatabase(filepath.Join(o.Path, "tokens"), nil, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tokens.close()
	if err := tokens.view(func(txn *reader) error {
		return get(txn, recordKey(prefixKept, "why"), func([]byte) error { return nil })
	}); err != nil {
		t.Errorf("what is to be kept: %v", err)
	}
}

// TestGenerationOnADiskThatRefuses: the error says which file, and what to do.
func TestGenerationOnADiskThatRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	err := openAndClose(t, Options{Path: filepath.Join(dir, "store"), Generation: filepath.Join(dir, "none", "generation")})
	if err == nil || !strings.Contains(err.Error(), "none/generation") || !strings.Contains(err.Error(), "option generation") {
		t.Errorf("got %v", err)
	}
	other := filepath.Join(dir, "text")
	if err := os.WriteFile(other, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := openAndClose(t, Options{Path: filepath.Join(dir, "second"), Generation: other}); err == nil || !strings.Contains(err.Error(), "is not the generation") {
		t.Errorf("got %v", err)
	}
	if b, _ := os.ReadFile(other); string(b) != "text" {
		t.Error("the file was overwritten")
	}
}

// TestGenerationIsCaughtUpWith: an opening whose file can't be written leaves the two one apart, and
// the next one does not make that two.
func TestGenerationIsCaughtUpWith(t *testing.T) {
	tokens, err := openDatabase(t.TempDir(), nil, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tokens.close() })
	path := filepath.Join(t.TempDir(), "generation")
	for i := range 4 {
		g, err := loadGenerations(tokens, path)
		if err != nil {
			t.Fatalf("opening %d: %v", i, err)
		}
		g.path = filepath.Join(t.TempDir(), "missing", "generation")
		if err := g.raise(); err == nil {
			t.Fatal("the file was written in a folder that is not there")
		}
	}
}
