package tokenstore

import (
	"context"
	"log/slog"
)

// ModuleNamespace is the namespace of Caddy's modules that are stores: `store redis` in a Caddyfile
// loads the module `oauth1.stores.redis`.
const ModuleNamespace = "oauth1.stores"

// DefaultModule is the store of a configuration that names none.
const DefaultModule = "badger"

// A Module is a guest module of the namespace: it reads the configuration of a store, and opens it.
// To write one:
//
//   - Register a caddy.Module whose ID is ModuleNamespace, a dot, and the store's name. It has a
//     logger of its own (ctx.Logger()). Fields with JSON tags are its options. Implement
//     caddyfile.Unmarshaler, so that it can be used in a Caddyfile.
//   - Provision sets defaults and expands placeholders. Provision and Validate open nothing:
//     `caddy validate` calls them beside a server that runs.
//   - The Store that Open returns passes the suite in storetest, with its replicas if several
//     processes can share it, and keeps its values as package record writes them.
//   - A Caddy that is built with the module's package has the store. Nothing else is registered.
//
// Caddy loads a new configuration beside the one that runs. The app opens a store when the first
// configuration with its PoolKey starts, shares it among all configurations with the same key, and
// closes it (Store.Close) with the last of them.
//
// A Module, or its Store, may have optional capabilities, which the app finds by type assertion:
// see Describer, Statter, CredentialFinder, Forgetter, Keeper, Transferrer, Snapshotter, Finder,
// Adopter, KeyUser and Rewrapper, and for monitoring Measurer, Failer and SyncWatcher.
type Module interface {
	// PoolKey names what must not be opened twice: a directory, a cluster. It begins with the
	// store's name, and has nothing in it that can be changed by a reload. It is called before
	// Open, when the configuration starts.
	PoolKey() (string, error)
	// Open opens the store.
	Open() (Store, error)
	// Configure applies the module's options to a store that another module with the same PoolKey
	// opened: the one of an earlier configuration, or of a later one that failed to start. It
	// returns an error for what can't be changed while the store is open.
	Configure(Store) error
}

// A Describer is a Module that tells operators which store it opened.
type Describer interface {
	// Describe returns what stands in the log when the store has been opened, beside its name:
	// where it is, and what is special about it. Never a secret.
	Describe() []slog.Attr
}

// A Statter is a Store that knows how much is in it.
type Statter interface {
	// Stats returns how many of each kind there are. It may take seconds and be inexact where
	// others write meanwhile, but it holds up no other call, Close neither. With an error it
	// returns those that it has.
	Stats(ctx context.Context) ([]Stat, error)
}

// A Stat is how many of a kind a store holds.
type Stat struct {
	// Name is the kind, in the plural, lower case, with underscores: consumers, access_tokens,
	// request_tokens, nonces.
	Name  string
	Value int64
	// Parts divide the value, if the store knows how: consumers into stored and idle (registered
	// themselves, and have no access token); request_tokens into waiting, refused and expired.
	Parts []Stat
}

// A CredentialFinder is a Store that finds both records of a signed request in one step. A store
// should be one if each look-up is a round trip.
type CredentialFinder interface {
	// Credentials returns what Consumer and AccessToken return for the two keys. A record that is
	// not there is nil, and no error: the one may be there without the other, and a request with an
	// unknown consumer is refused with other words than a request with an unknown token. Every
	// other error is about both. The work is the same whether the records are there or not.
	Credentials(ctx context.Context, consumer, token string) (*Consumer, *AccessToken, error)
}

// A Forgetter is a Store that tells which self-registered consumers it forgets, for the audit trail.
type Forgetter interface {
	// OnForgotten sets the function that is called with the keys of consumers after the store has
	// forgotten them. With several replicas, one of them calls it.
	OnForgotten(f func(keys []string))
}

// A Keeper is a Store that keeps a few small values for the app, such as the ends of audit trails.
// Without it, lines that are cut off the end of a trail are not found.
type Keeper interface {
	// Keep keeps a value, durably, in place of the one that has the name already. A value has at
	// most 64 KiB.
	Keep(ctx context.Context, name string, value []byte) error
	// Kept returns all values whose names begin with the prefix.
	Kept(ctx context.Context, prefix string) (map[string][]byte, error)
}
