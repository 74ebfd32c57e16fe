package redisstore

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func init() {
	caddy.RegisterModule(Module{})
}

// Module keeps consumers, tokens and nonces in Redis (7.0 or later) or Valkey (8 or later): one
// server, a master with replicas under Sentinel, or a Cluster. Any number of Caddys share it.
//
// An acknowledged consumer, token, review, exchange or revocation is on the master and on as many
// replicas as `replicas` says. No nonce is accepted twice, whatever happens to the servers: after a
// failover, a restart or a FLUSHALL, requests are refused with 503 for `lead` and one second more.
//
// The servers must not evict keys (`maxmemory-policy noeviction`), and should write to disk
// (`appendonly yes`). They hold every secret of every consumer and token, unencrypted unless the app
// has `keys`: nobody else may reach them.
//
// If the servers can't be reached at the start, Caddy starts, refuses requests with 503, and goes
// on when they can. If they can be reached but not used (a wrong password, a user without rights, a
// certificate of another name, too few replicas), it does not start.
type Module struct {
	// The servers, as `host:port`; the port's default is 6379. Either one server, or some nodes of
	// a Cluster: the others are found. Placeholders such as `{env.X}` are expanded in every text
	// when the configuration is loaded; one that expands to nothing is an error. Required, unless
	// `sentinel` is set.
	Address []string `json:"address,omitempty"`

	// The Sentinels that know which server is the master, in place of `address`.
	Sentinel *Sentinel `json:"sentinel,omitempty"`

	// The user of the servers' access control list. Default: the default user.
	//
	// It needs the rights that docs/replicas.md lists, and no more.
	Username string `json:"username,omitempty"`

	// The password. Use a placeholder, such as `{file./run/secrets/redis}` or `{env.X}`: the
	// password itself would be stored with Caddy's configuration. Default: none. A reload may
	// change it. Sentinels that ask for a password get the same username and password.
	Password string `json:"password,omitempty"`

	// The number of the database. A Cluster has 0 only. Default: 0.
	DB int `json:"db,omitempty"`

	// Connects with TLS, to Sentinels too. Default: no TLS. Without it everybody on the way can
	// read the password and the tokens' secrets.
	TLS *TLS `json:"tls,omitempty"`

	// The name that the servers' certificates must have, if it is not the host in the address.
	// Default: the host in the address. In a Cluster and under Sentinel, the addresses are those
	// that the servers announce, which are mostly IP addresses.
	ServerName string `json:"server_name,omitempty"`

	// What the names of all keys begin with. Stores with different prefixes are apart from each
	// other. Default: `oauth1`.
	Prefix string `json:"prefix,omitempty"`

	// How many replicas must have a change before it is acknowledged. Default: 1. With 0, a
	// failover loses what was acknowledged just before it: a revoked token may be valid again, and
	// a nonce may be accepted again. Use 0 only if there is no replica.
	Replicas *int `json:"replicas,omitempty"`

	// How long a call may take. Then the request is refused with 503. From 10ms to 1m. Default:
	// 500ms. A reload may change it.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How far ahead of the clock nonces may be accepted without asking the replicas. Requests are
	// refused for so long, and a second more, after a failover. At least four times `timeout`, at
	// most 1m. Default: 5s. It must be the same at all Caddys; a reload may change it.
	Lead caddy.Duration `json:"lead,omitempty"`

	// How old what is cached in this process may be. Changes are heard of at once; this is for the
	// case that the connection is lost. A revoked token whose requests have no nonce (PLAINTEXT)
	// may be accepted for so long. From 10ms to 1m. Default: 1s. A reload may change it.
	MaxStale caddy.Duration `json:"max_stale,omitempty"`

	options Options
}

// Sentinel names a master, and the Sentinels that watch it.
type Sentinel struct {
	// The name that the Sentinels have for the master.
	Master string `json:"master"`
	// The Sentinels, as `host:port`; the port's default is 26379. Name all: others are asked when
	// one does not answer.
	Address []string `json:"address"`
}

// TLS are the files of a TLS connection. All are PEM, and are read when the configuration is
// loaded.
type TLS struct {
	// The authorities of which the servers' certificates may be. Default: those of the system.
	CA string `json:"ca,omitempty"`
	// Our certificate, if the servers ask for one. Default: none.
	Certificate string `json:"certificate,omitempty"`
	// The key of our certificate.
	Key string `json:"key,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  tokenstore.ModuleNamespace + ".redis",
		New: func() caddy.Module { return new(Module) },
	}
}

// Provision expands placeholders, sets defaults and reads the files of TLS.
func (m *Module) Provision(ctx caddy.Context) error {
	if err := m.expand(caddy.NewReplacer()); err != nil {
		return err
	}
	m.setDefaults()
	o, err := m.newOptions(ctx.Logger())
	if err != nil {
		return err
	}
	m.options = o
	return nil
}

// expand expands the placeholders in all texts. Its errors show none of them.
func (m *Module) expand(repl *caddy.Replacer) error {
	type text struct {
		option string
		value  *string
	}
	texts := []text{
		{"username", &m.Username}, {"password", &m.Password}, {"server_name", &m.ServerName},
		{"prefix", &m.Prefix},
	}
	for i := range m.Address {
		texts = append(texts, text{"address", &m.Address[i]})
	}
	if m.Sentinel != nil {
		texts = append(texts, text{"sentinel", &m.Sentinel.Master})
		for i := range m.Sentinel.Address {
			texts = append(texts, text{"sentinel", &m.Sentinel.Address[i]})
		}
	}
	if m.TLS != nil {
		texts = append(texts,
			text{"tls", &m.TLS.CA}, text{"tls", &m.TLS.Certificate}, text{"tls", &m.TLS.Key})
	}
	for _, t := range texts {
		expanded, err := repl.ReplaceOrErr(*t.value, true, true)
		if err != nil {
			return fmt.Errorf("%s: %w", t.option, err)
		}
		*t.value = expanded
	}
	m.Password = strings.TrimRight(m.Password, "\r\n")
	return nil
}

func (m *Module) setDefaults() {
	if m.Prefix == "" {
		m.Prefix = defaultPrefix
	}
	if m.Replicas == nil {
		replicas := defaultReplicas
		m.Replicas = &replicas
	}
	for duration, value := range map[*caddy.Duration]time.Duration{
		&m.Timeout: defaultTimeout, &m.Lead: defaultLead, &m.MaxStale: defaultMaxStale,
	} {
		if *duration == 0 {
			*duration = caddy.Duration(value)
		}
	}
}

// newOptions returns the options of the store.
func (m *Module) newOptions(logger *zap.Logger) (Options, error) {
	o := Options{
		Username: m.Username,
		Password: m.Password,
		DB:       m.DB,
		Prefix:   m.Prefix,
		Replicas: *m.Replicas,
		Timeout:  time.Duration(m.Timeout),
		Lead:     time.Duration(m.Lead),
		MaxStale: time.Duration(m.MaxStale),
		Logger:   logger,
	}
	addresses, option, port := m.Address, "address", "6379"
	if m.Sentinel != nil {
		if len(m.Address) > 0 {
			return o, errors.New("address and sentinel exclude each other")
		}
		o.SentinelMaster = m.Sentinel.Master
		addresses, option, port = m.Sentinel.Address, "sentinel", "26379"
		if o.SentinelMaster == "" {
			return o, errors.New("sentinel: the name of the master is missing")
		}
	}
	if len(addresses) == 0 {
		return o, fmt.Errorf("%s is missing: the store has no default", option)
	}
	for _, text := range addresses {
		address, err := parseAddress(text, port)
		if err != nil {
			return o, fmt.Errorf("%s: %w", option, err)
		}
		if !slices.Contains(o.Addresses, address) {
			o.Addresses = append(o.Addresses, address)
		}
	}
	if m.TLS == nil {
		if m.ServerName != "" {
			return o, errors.New("server_name needs tls")
		}
		return o, nil
	}
	var err error
	o.TLS, o.tlsDigest, err = m.TLS.load(m.ServerName)
	if err != nil {
		return o, fmt.Errorf("tls: %w", err)
	}
	return o, nil
}

// parseAddress returns host:port.
func parseAddress(text, defaultPort string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil { // there is no port
		host, port = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"), defaultPort
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", fmt.Errorf("%q is not host:port", text)
		}
	}
	if host == "" || strings.ContainsAny(host, "/@[] ,\t") {
		return "", fmt.Errorf("%q is not host:port", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q has no port from 1 to 65535", text)
	}
	return net.JoinHostPort(strings.ToLower(host), port), nil
}

// load reads the files. The digest is equal for equal files.
func (t *TLS) load(serverName string) (*tls.Config, string, error) {
	config := &tls.Config{ServerName: serverName, MinVersion: tls.VersionTLS12}
	digest := sha256.New()
	fmt.Fprintf(digest, "%q", serverName)
	read := func(path string) ([]byte, error) {
		text, err := os.ReadFile(path)
		fmt.Fprintf(digest, "%q", text)
		return text, err
	}
	if t.CA != "" {
		text, err := read(t.CA)
		if err != nil {
			return nil, "", err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, "", fmt.Errorf("%s holds no certificate in PEM", t.CA)
		}
	}
	if (t.Certificate == "") != (t.Key == "") {
		return nil, "", errors.New("a certificate and its key belong together")
	}
	if t.Certificate != "" {
		certificate, err := read(t.Certificate)
		if err != nil {
			return nil, "", err
		}
		key, err := read(t.Key)
		if err != nil {
			return nil, "", err
		}
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			return nil, "", fmt.Errorf("%s and %s: %w", t.Certificate, t.Key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, hex.EncodeToString(digest.Sum(nil)), nil
}

// Validate looks at the values. It connects nowhere.
func (m *Module) Validate() error {
	if m.DB < 0 {
		return fmt.Errorf("db is %d: it can't be negative", m.DB)
	}
	if *m.Replicas < 0 || *m.Replicas > maxReplicas {
		return fmt.Errorf("replicas is %d: it can be 0 to %d", *m.Replicas, maxReplicas)
	}
	if strings.ContainsFunc(m.Prefix, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`{}*?[]\"'`, r) }) {
		return fmt.Errorf("prefix %q has a character other than letters, digits and simple punctuation", m.Prefix)
	}
	for _, d := range []struct {
		option string
		value  caddy.Duration
		least  time.Duration
	}{
		{"timeout", m.Timeout, minDuration},
		{"lead", m.Lead, 4 * time.Duration(m.Timeout)}, // a raise begins at half of it
		{"max_stale", m.MaxStale, minDuration},
	} {
		if value := time.Duration(d.value); value < d.least || value > maxDuration {
			return fmt.Errorf("%s is %v: it can be %v to %v", d.option, value, d.least, maxDuration)
		}
	}
	return nil
}

const (
	maxReplicas = 100
	minDuration = 10 * time.Millisecond
	maxDuration = time.Minute
)

// PoolKey names the servers, the database and the prefix, which all configurations of the same
// store have in common.
func (m *Module) PoolKey() (string, error) {
	key := "redis:" + strings.Join(slices.Sorted(slices.Values(m.options.Addresses)), ",")
	if m.options.SentinelMaster != "" {
		key += " sentinel " + strconv.Quote(m.options.SentinelMaster)
	}
	return key + " db " + strconv.Itoa(m.DB) + " prefix " + m.Prefix, nil
}

// Open opens the store.
func (m *Module) Open() (tokenstore.Store, error) {
	s, err := Open(m.options)
	if err != nil {
		return nil, fmt.Errorf("store redis: %w", err) // not s: a nil *Store is not a nil tokenstore.Store
	}
	return s, nil
}

// Configure applies all options to a store that is open. It fails if the servers refuse them.
func (m *Module) Configure(store tokenstore.Store) error {
	s, ok := store.(*Store)
	if !ok {
		return fmt.Errorf("store redis: open as a %T", store)
	}
	if err := s.Configure(m.options); err != nil {
		return fmt.Errorf("store redis: %w", err)
	}
	return nil
}

// UseKeys says which keys encrypt what the store keeps.
func (m *Module) UseKeys(sealer tokenstore.Sealer) { m.options.Sealer = sealer }

// Describe says where the store is.
func (m *Module) Describe() []slog.Attr {
	where := slog.Any("address", m.options.Addresses)
	if m.options.SentinelMaster != "" {
		where = slog.Any("sentinel", append([]string{m.options.SentinelMaster}, m.options.Addresses...))
	}
	return []slog.Attr{
		where,
		slog.Int("db", m.DB),
		slog.String("prefix", m.Prefix),
		slog.Int("replicas", *m.Replicas),
		slog.Bool("tls", m.TLS != nil),
		slog.Bool("encrypted", m.options.Sealer != nil),
	}
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store redis {
//	    address     <address...>
//	    sentinel    <master> <address...>
//	    username    <text>
//	    password    <text>
//	    db          <number>
//	    tls         [<ca>] [<certificate> <key>]
//	    server_name <text>
//	    prefix      <text>
//	    replicas    <number>
//	    timeout     <duration>
//	    lead        <duration>
//	    max_stale   <duration>
//	}
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if d.NextArg() {
		return d.Err("store redis takes no argument: the servers stand in address, or sentinel, in its block")
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if !slices.Contains(optionNames, option) {
			return d.Errf("store redis has no option %q: it has %s", option, strings.Join(optionNames, ", "))
		}
		if seen[option] {
			return d.Errf("store redis: %s is given twice", option)
		}
		seen[option] = true
		values := d.RemainingArgs()
		if slices.Contains(values, "") {
			return d.Errf("store redis: %s is empty", option)
		}
		if err := m.set(option, values); err != nil {
			return d.Errf("store redis: %s %v", option, err)
		}
		if d.NextBlock(nesting + 1) {
			return d.Errf("store redis: %s takes no block", option)
		}
	}
	if seen["address"] == seen["sentinel"] {
		return d.Err("store redis needs address, or sentinel in its place")
	}
	return nil
}

// optionNames are the options of a Caddyfile.
var optionNames = []string{
	"address", "sentinel", "username", "password", "db", "tls", "server_name", "prefix", "replicas",
	"timeout", "lead", "max_stale",
}

// set sets an option. Its errors show no value that may be a part of a secret.
func (m *Module) set(option string, values []string) error {
	switch option {
	case "address":
		if len(values) == 0 {
			return errors.New("needs a server")
		}
		m.Address = values
		return nil
	case "sentinel":
		if len(values) < 2 {
			return errors.New("needs the name of the master, and the Sentinels")
		}
		m.Sentinel = &Sentinel{Master: values[0], Address: values[1:]}
		return nil
	case "tls":
		m.TLS = new(TLS)
		if len(values) > 3 {
			return errors.New("takes an authority, a certificate and its key")
		}
		if len(values)%2 == 1 {
			m.TLS.CA, values = values[0], values[1:]
		}
		if len(values) == 2 {
			m.TLS.Certificate, m.TLS.Key = values[0], values[1]
		}
		return nil
	}
	if len(values) == 0 {
		return errors.New("needs a value")
	}
	if len(values) > 1 {
		return errors.New("takes one value")
	}
	value := values[0]
	switch option {
	case "username":
		m.Username = value
	case "password":
		m.Password = value
	case "server_name":
		m.ServerName = value
	case "prefix":
		m.Prefix = value
	case "db":
		return setNumber(&m.DB, value)
	case "replicas":
		m.Replicas = new(int)
		return setNumber(m.Replicas, value)
	case "timeout":
		return setDuration(&m.Timeout, value)
	case "lead":
		return setDuration(&m.Lead, value)
	case "max_stale":
		return setDuration(&m.MaxStale, value)
	}
	return nil
}

func setNumber(to *int, value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		return fmt.Errorf("is a number from 0 on, not %q", value)
	}
	*to = n
	return nil
}

func setDuration(to *caddy.Duration, value string) error {
	d, err := caddy.ParseDuration(value)
	if err != nil || d <= 0 { // 0 would be the default
		return fmt.Errorf("is a duration such as 500ms, not %q", value)
	}
	*to = caddy.Duration(d)
	return nil
}

// Interface guards
var (
	_ caddy.Module          = Module{}
	_ caddy.Provisioner     = (*Module)(nil)
	_ caddy.Validator       = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
	_ tokenstore.Module     = (*Module)(nil)
	_ tokenstore.Describer  = (*Module)(nil)
	_ tokenstore.KeyUser    = (*Module)(nil)
)
