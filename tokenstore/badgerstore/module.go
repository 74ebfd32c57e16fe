package badgerstore

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func init() {
	caddy.RegisterModule(Module{})
}

// Module keeps consumers, tokens and nonces in an embedded Badger database, in a directory that one
// process has for itself. It is the default store. Several replicas of a service can't share it.
//
// An acknowledged consumer, token, review, exchange or revocation survives the end of the process
// and a power cut; an accepted nonce survives the end of the process. No used nonce is accepted
// again after a power cut either: with `sync` it is on disk, and without, requests from before the
// power cut are refused.
//
// If a file is missing, damaged or an older copy, so that something that was acknowledged is lost,
// the store does not open: the error names the file, and nothing is changed. Damage to the log of
// nonces is the exception: every request is refused for one timestamp window.
//
// If the directory was copied back or moved, the store does not open either: see `generation`. Use
// `oauth1 backup` and `oauth1 restore`, not copies of the directory.
type Module struct {
	// The directory. If it does not exist it is made, readable for its owner alone. Placeholders
	// such as `{env.X}` are expanded when the configuration is loaded. Default: the folder `oauth1`
	// in Caddy's data directory.
	//
	// The directory holds every secret of every consumer and token, unencrypted unless the app has
	// `keys`, or `encryption_key` is given.
	Path string `json:"path,omitempty"`

	// Whether a request waits until its nonce is on disk (fsync; concurrent requests share one).
	// Default: false. Then a request waits only if its timestamp is some 10 seconds or more ahead
	// of the server's clock. After a power cut, or a crash of the operating system, requests are
	// refused if their timestamps lie before it, or up to 20 seconds after it. When the machine is
	// up again, a client whose clock is right notices nothing. A client whose clock is slow gets
	// `Timestamp appears to come from bad system clock.` for as many seconds. With `sync`, no
	// request is refused for that reason. Consumers and tokens are always synced. A reload may
	// change it.
	Sync bool `json:"sync,omitempty"`

	// Encrypts consumers and tokens on disk with AES: 16, 24 or 32 bytes, in hexadecimal or base64.
	// Use a placeholder, such as `{file./run/secrets/oauth1.key}` or `{env.X}`: the key itself
	// would be stored with Caddy's configuration. Default: none, not encrypted.
	//
	// The log of used nonces is not encrypted: it holds the times of requests, and keyed hashes,
	// whose key is encrypted.
	//
	// Without the key, the store can't be read. It must be given from the first start on: it can't
	// be added, changed or removed later. The app's `keys` can.
	EncryptionKey string `json:"encryption_key,omitempty"`

	// A file outside the directory that shows that the directory was copied back or moved. In such a
	// copy revoked tokens are valid again, so the store does not open with it: restore a backup, or
	// run `oauth1 store adopt`. The file is written each time the store is opened and closed. Its
	// own directory must exist. Default: the path with `.generation` behind it. Name another place
	// where that one is not kept, such as where a volume is mounted exactly at the path. On another
	// disk than the directory it notices a disk that was set back as a whole, too.
	Generation string `json:"generation,omitempty"`

	key    []byte
	sealer tokenstore.Sealer
	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  tokenstore.ModuleNamespace + ".badger",
		New: func() caddy.Module { return new(Module) },
	}
}

// Provision expands placeholders and sets defaults.
func (m *Module) Provision(ctx caddy.Context) error {
	m.logger = ctx.Logger()
	repl := caddy.NewReplacer()

	if m.Path == "" {
		m.Path = filepath.Join(caddy.AppDataDir(), "oauth1")
	}
	path, err := repl.ReplaceOrErr(m.Path, true, true)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	m.Path = path
	if m.Generation, err = repl.ReplaceOrErr(m.Generation, true, true); err != nil {
		return fmt.Errorf("generation: %w", err)
	}

	if m.EncryptionKey == "" {
		return nil
	}
	text, err := repl.ReplaceOrErr(m.EncryptionKey, true, true)
	if err != nil {
		return fmt.Errorf("encryption_key: %w", err)
	}
	if m.key, err = parseKey(text); err != nil {
		return fmt.Errorf("encryption_key: %w", err)
	}
	return nil
}

// parseKey reads a key of 16, 24 or 32 bytes. Its errors don't show it.
func parseKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	decodings := []func(string) ([]byte, error){
		hex.DecodeString,
		base64.StdEncoding.DecodeString,
		base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString,
		base64.RawURLEncoding.DecodeString,
	}
	for _, decode := range decodings {
		key, err := decode(text)
		if err != nil {
			continue
		}
		switch len(key) {
		case 16, 24, 32:
			return key, nil
		}
	}
	return nil, fmt.Errorf("%d characters that are not 16, 24 or 32 bytes in hexadecimal or base64", len(text))
}

// PoolKey names the directory, which all configurations of the same store have in common.
func (m *Module) PoolKey() (string, error) {
	path, err := resolve(m.Path)
	if err != nil {
		return "", fmt.Errorf("store badger: path %q: %w", m.Path, err)
	}
	return "badger:" + path, nil
}

// resolve returns the absolute path without symbolic links. The part of it that does not exist
// stays as it is.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	missing := ""
	for {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			return filepath.Join(real, missing), nil
		}
		parent := filepath.Dir(path)
		if !errors.Is(err, fs.ErrNotExist) || parent == path {
			return "", err
		}
		missing = filepath.Join(filepath.Base(path), missing)
		path = parent
	}
}

// Open opens the store.
func (m *Module) Open() (tokenstore.Store, error) { return m.open(Options{}) }

// Exists reports whether there is anything in the directory.
func (m *Module) Exists() (bool, error) {
	path, err := resolve(m.Path)
	if err != nil {
		return false, fmt.Errorf("store badger: path %q: %w", m.Path, err)
	}
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return len(entries) > 0, err
}

// Adopt opens the store though it was copied back or moved.
func (m *Module) Adopt(floor int64, empty bool, keep *tokenstore.Kept) (tokenstore.Store, error) {
	return m.open(Options{Adopt: floor, AdoptEmpty: empty, AdoptKeep: keep})
}

func (m *Module) open(o Options) (tokenstore.Store, error) {
	path, err := resolve(m.Path)
	if err != nil {
		return nil, fmt.Errorf("open store %q: %w", m.Path, err)
	}
	generation := m.Generation
	if generation != "" {
		if generation, err = filepath.Abs(generation); err != nil {
			return nil, fmt.Errorf("generation %q: %w", m.Generation, err)
		}
		if below, err := filepath.Rel(path, generation); err == nil && filepath.IsLocal(below) {
			return nil, fmt.Errorf("generation %q: it lies in the store's directory, and would be copied with it", m.Generation)
		}
	}
	o.Path, o.Generation, o.Sync, o.EncryptionKey, o.Logger = path, generation, m.Sync, m.key, m.logger
	o.Sealer = m.sealer
	s, err := Open(o)
	if err != nil {
		return nil, err // not s: a nil *Store is not a nil tokenstore.Store
	}
	return s, nil
}

// Configure applies the options that can be changed to a store that is open.
func (m *Module) Configure(store tokenstore.Store) error {
	s, ok := store.(*Store)
	if !ok {
		return fmt.Errorf("store badger: %q is open as a %T", m.Path, store)
	}
	if subtle.ConstantTimeCompare(s.encryptionKey, m.key) == 0 {
		return fmt.Errorf("store badger: %q is open with another encryption_key: a new one needs a restart, and a new path", m.Path)
	}
	if err := s.UseKeys(context.Background(), m.sealer); err != nil {
		return fmt.Errorf("store badger: %q: %w", m.Path, err)
	}
	s.SetSync(m.Sync)
	return nil
}

// UseKeys says which keys encrypt what the store keeps.
func (m *Module) UseKeys(sealer tokenstore.Sealer) { m.sealer = sealer }

// Describe says where the store is.
func (m *Module) Describe() []slog.Attr {
	path, err := resolve(m.Path)
	if err != nil {
		path = m.Path
	}
	return []slog.Attr{
		slog.String("path", path),
		slog.Bool("encrypted", len(m.key) > 0 || m.sealer != nil),
		slog.Bool("sync", m.Sync),
	}
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store badger [<path>] {
//	    path           <path>
//	    sync           on|off
//	    encryption_key <key>
//	    generation     <file>
//	}
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	seen := make(map[string]bool)
	if d.NextArg() {
		m.Path, seen["path"] = d.Val(), true
		if m.Path == "" { // it would be the default
			return d.Err("store badger: path is empty")
		}
		if d.NextArg() {
			return d.Errf("store badger takes one path, but %q follows it", d.Val())
		}
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		switch option {
		case "path", "sync", "encryption_key", "generation":
		default:
			return d.Errf("store badger has no option %q: it has path, sync, encryption_key, generation", option)
		}
		if seen[option] {
			return d.Errf("store badger: %s is given twice", option)
		}
		seen[option] = true
		if !d.NextArg() {
			return d.Errf("store badger: %s needs a value", option)
		}
		value := d.Val()
		if value == "" {
			return d.Errf("store badger: %s is empty", option)
		}
		switch option {
		case "path":
			m.Path = value
		case "encryption_key":
			m.EncryptionKey = value
		case "generation":
			m.Generation = value
		case "sync":
			switch value {
			case "on":
				m.Sync = true
			case "off":
				m.Sync = false
			default:
				return d.Errf("store badger: sync is on or off, not %q", value)
			}
		}
		if d.NextArg() {
			return d.Errf("store badger: %s takes one value", option) // the rest may be part of a secret
		}
		if d.NextBlock(nesting + 1) {
			return d.Errf("store badger: %s takes no block", option)
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Module          = Module{}
	_ caddy.Provisioner     = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
	_ tokenstore.Module     = (*Module)(nil)
	_ tokenstore.Describer  = (*Module)(nil)
	_ tokenstore.KeyUser    = (*Module)(nil)
	_ tokenstore.Adopter    = (*Module)(nil)
	_ tokenstore.Finder     = (*Module)(nil)
)
