package badgerstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestUnmarshalCaddyfile(t *testing.T) {
	for name, c := range map[string]struct {
		input string
		want  Module
		err   string
	}{
		"nothing":                     {input: `badger`},
		"a path":                      {input: `badger /data`, want: Module{Path: "/data"}},
		"an empty block":              {input: "badger {\n}"},
		"all options":                 {input: "badger {\npath {env.X}\nsync on\nencryption_key {file./run/k}\n}", want: Module{Path: "{env.X}", Sync: true, EncryptionKey: "{file./run/k}"}},
		"sync off":                    {input: "badger {\nsync off\n}"},
		"two paths":                   {input: "badger /a /b", err: `takes one path, but "/b" follows it`},
		"the path twice":              {input: "badger /a {\npath /b\n}", err: "path is given twice"},
		"an option twice":             {input: "badger {\nsync on\nsync on\n}", err: "sync is given twice"},
		"an unknown option":           {input: "badger {\nfsync on\n}", err: `no option "fsync": it has path, sync, encryption_key`},
		"an option without a value":   {input: "badger {\npath\n}", err: "path needs a value"},
		"a path that is empty":        {input: "badger \"\"", err: "path is empty"},
		"an option with an empty one": {input: "badger {\nencryption_key \"\"\n}", err: "encryption_key is empty"},
		"an option with two":          {input: "badger {\nencryption_key a b\n}", err: "encryption_key takes one value"},
		"sync maybe":                  {input: "badger {\nsync maybe\n}", err: `sync is on or off, not "maybe"`},
		"an option with a block":      {input: "badger {\nsync on {\nx\n}\n}", err: "sync takes no block"},
	} {
		t.Run(name, func(t *testing.T) {
			var m Module
			err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(c.input))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), "Testfile:") {
					t.Fatalf("got error %v, want one with %q and the line", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.Path != c.want.Path || m.Sync != c.want.Sync || m.EncryptionKey != c.want.EncryptionKey {
				t.Errorf("got %+v, want %+v", m, c.want)
			}
		})
	}
}

func TestParseKey(t *testing.T) {
	for _, size := range []int{16, 24, 32} {
		key := bytes.Repeat([]byte{0xfb}, size)
		for _, text := range []string{
			hex.EncodeToString(key), strings.ToUpper(hex.EncodeToString(key)), hex.EncodeToString(key) + "\n",
			base64.StdEncoding.EncodeToString(key), base64.RawStdEncoding.EncodeToString(key),
			base64.URLEncoding.EncodeToString(key),
		} {
			if got, err := parseKey(text); err != nil || !bytes.Equal(got, key) {
				t.Errorf("%q: got %x, %v", text, got, err)
			}
		}
	}
	for _, text := range []string{"", "short", strings.Repeat("!", 32), hex.EncodeToString(make([]byte, 15)),
		hex.EncodeToString(make([]byte, 33))} {
		if _, err := parseKey(text); err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%q: got %v, want an error that does not show it", text, err)
		}
	}
}

func provision(t *testing.T, m *Module) error {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	return m.Provision(ctx)
}

func TestProvision(t *testing.T) {
	t.Setenv("BADGERSTORE_PATH", "/somewhere")
	t.Setenv("BADGERSTORE_EMPTY", "")
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(strings.Repeat("ab", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		m    Module
		path string
		key  int
		err  string
	}{
		"the default is Caddy's data directory": {path: filepath.Join(caddy.AppDataDir(), "oauth1")},
		"a placeholder":                         {m: Module{Path: "{env.BADGERSTORE_PATH}/x"}, path: "/somewhere/x"},
		"an empty placeholder":                  {m: Module{Path: "{env.BADGERSTORE_EMPTY}"}, err: "path: "},
		"a missing placeholder":                 {m: Module{Path: "{env.BADGERSTORE_MISSING}"}, err: "path: "},
		"an unknown placeholder":                {m: Module{Path: "{no.such}"}, err: "path: "},
		"a key from a file":                     {m: Module{Path: "/x", EncryptionKey: "{file." + keyFile + "}"}, path: "/x", key: 32},
		"a missing key":                         {m: Module{EncryptionKey: "{env.BADGERSTORE_MISSING}"}, err: "encryption_key: "},
		"a missing key file":                    {m: Module{EncryptionKey: "{file./no/such}"}, err: "encryption_key: "},
		"raw characters are no key":             {m: Module{EncryptionKey: strings.Repeat("z!", 16)}, err: "encryption_key: 32 characters"},
	} {
		t.Run(name, func(t *testing.T) {
			err := provision(t, &c.m)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.m.Path != c.path || len(c.m.key) != c.key {
				t.Errorf("got path %q and a key of %d bytes, want %q and %d", c.m.Path, len(c.m.key), c.path, c.key)
			}
		})
	}
}

func TestPoolKey(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	want := "badger:" + filepath.Join(dir, "real", "new", "store")
	for _, path := range []string{"real/new/store", "link/new/store", "./link/../link/new//store/",
		filepath.Join(dir, "link/new/store")} {
		got, err := (&Module{Path: path}).PoolKey()
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", path, got, err, want)
		}
	}
}

func TestConfigure(t *testing.T) {
	path := t.TempDir()
	m := &Module{Path: path, EncryptionKey: strings.Repeat("ab", 16)}
	if err := provision(t, m); err != nil {
		t.Fatal(err)
	}
	s, err := m.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	reload := &Module{Path: path, Sync: true, EncryptionKey: m.EncryptionKey}
	if err := provision(t, reload); err != nil {
		t.Fatal(err)
	}
	if err := reload.Configure(s); err != nil {
		t.Fatal(err)
	}
	if !s.(*Store).nonces.Syncs() {
		t.Error("sync did not change")
	}
	for _, key := range []string{"", strings.Repeat("cd", 16)} {
		other := &Module{Path: path, EncryptionKey: key}
		if err := provision(t, other); err != nil {
			t.Fatal(err)
		}
		if err := other.Configure(s); err == nil || !strings.Contains(err.Error(), "restart") || key != "" && strings.Contains(err.Error(), key) {
			t.Errorf("with another key: got %v, want an error that says restart", err)
		}
	}
	if again, err := m.Open(); err == nil || again != nil {
		t.Errorf("opened twice: %v, %v", again, err)
	}
}
