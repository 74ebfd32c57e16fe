package redisstore

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// The defaults of Module.
const (
	defaultPrefix   = "oauth1"
	defaultReplicas = 1
	defaultTimeout  = 500 * time.Millisecond
	defaultLead     = 5 * time.Second
	defaultMaxStale = time.Second
)

// maxNonces is how many live nonces of one consumer a process accepts: some 3,000 requests a second
// through a timestamp window of five minutes.
const maxNonces = 1_000_000

// skew is how far the clocks of servers may be apart that take over from one another.
const skew = time.Second

// Options say where the data is, and how it is kept. Module documents them, and has the defaults.
type Options struct {
	// Addresses (host:port) are a server, or some nodes of a Cluster. If SentinelMaster is not
	// empty, they are Sentinels that watch the master of that name.
	Addresses      []string
	SentinelMaster string
	Username       string
	Password       string
	DB             int
	TLS            *tls.Config // nil: no TLS
	// tlsDigest is equal for two configurations that were made of the same files.
	tlsDigest string

	Prefix   string
	Replicas int
	Timeout  time.Duration
	Lead     time.Duration
	MaxStale time.Duration

	// Sealer encrypts records, and hashes the names in indexes; nil means neither.
	Sealer tokenstore.Sealer

	Logger *zap.Logger

	// For tests: the clock (nil: time.Now), and the limit of a consumer's nonces (0: maxNonces).
	clock     func() time.Time
	maxNonces int
}

// Configure goes on with other options. It fails, and changes nothing, if the servers refuse them,
// or if they can't be changed while the store is open.
func (s *Store) Configure(o Options) error {
	if o.Replicas != s.replicas {
		return fmt.Errorf("replicas is %d while the store is open: another number needs a restart", s.replicas)
	}
	if err := s.link.configure(o); err != nil {
		return err
	}
	if err := s.useKeys(context.Background(), o.Sealer); err != nil {
		return err
	}
	s.settings.Store(&settings{o.Timeout, o.Lead, o.MaxStale})
	return nil
}

// sameConnection reports whether a client made with these options is as good for the others.
func (o Options) sameConnection(other Options) bool {
	return slices.Equal(o.Addresses, other.Addresses) &&
		o.SentinelMaster == other.SentinelMaster &&
		o.Username == other.Username && o.Password == other.Password && o.DB == other.DB &&
		(o.TLS == nil) == (other.TLS == nil) && o.tlsDigest == other.tlsDigest &&
		o.Timeout == other.Timeout
}
