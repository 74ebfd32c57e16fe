package redisstore

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

func pointer(n int) *int { return &n }

func TestUnmarshalCaddyfile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		block string
		want  Module
		err   string
	}{
		"one server":         {block: "address 10.0.0.1:6379", want: Module{Address: []string{"10.0.0.1:6379"}}},
		"nodes of a Cluster": {block: "address a:1 b:2", want: Module{Address: []string{"a:1", "b:2"}}},
		"Sentinels":          {block: "sentinel main a b:1", want: Module{Sentinel: &Sentinel{Master: "main", Address: []string{"a", "b:1"}}}},
		"all options": {
			block: "address a\nusername u\npassword {env.P}\ndb 3\ntls ca.pem cert.pem key.pem\nserver_name redis\n" +
				"prefix p\nreplicas 0\ntimeout 1s\nlead 10s\nmax_stale 2s",
			want: Module{Address: []string{"a"}, Username: "u", Password: "{env.P}", DB: 3,
				TLS: &TLS{CA: "ca.pem", Certificate: "cert.pem", Key: "key.pem"}, ServerName: "redis", Prefix: "p",
				Replicas: pointer(0), Timeout: caddy.Duration(time.Second), Lead: caddy.Duration(10 * time.Second),
				MaxStale: caddy.Duration(2 * time.Second)},
		},
		"TLS with the system's authorities": {block: "address a\ntls", want: Module{Address: []string{"a"}, TLS: &TLS{}}},
		"TLS with an authority":             {block: "address a\ntls ca", want: Module{Address: []string{"a"}, TLS: &TLS{CA: "ca"}}},
		"TLS with a certificate of ours":    {block: "address a\ntls c k", want: Module{Address: []string{"a"}, TLS: &TLS{Certificate: "c", Key: "k"}}},

		"nothing":                  {block: "", err: "needs address, or sentinel"},
		"no server":                {block: "address", err: "address needs a server"},
		"servers and Sentinels":    {block: "address a\nsentinel main b", err: "needs address, or sentinel in its place"},
		"a master alone":           {block: "sentinel main", err: "sentinel needs the name of the master, and the Sentinels"},
		"an option twice":          {block: "address a\naddress b", err: "address is given twice"},
		"an unknown option":        {block: "address a\nkeys k", err: `no option "keys": it has address, sentinel,`},
		"an empty value":           {block: "address a\npassword \"\"", err: "password is empty"},
		"a value that is missing":  {block: "address a\npassword", err: "password needs a value"},
		"a password of two words":  {block: "address a\npassword very secret", err: "password takes one value"},
		"four files for TLS":       {block: "address a\ntls a b c d", err: "tls takes an authority, a certificate and its key"},
		"a db that is no number":   {block: "address a\ndb x", err: `db is a number from 0 on, not "x"`},
		"negative replicas":        {block: "address a\nreplicas -1", err: `replicas is a number from 0 on, not "-1"`},
		"a duration without units": {block: "address a\ntimeout 500", err: `timeout is a duration such as 500ms, not "500"`},
		"a duration of nothing":    {block: "address a\nmax_stale 0s", err: `max_stale is a duration`},
		"an option with a block":   {block: "address a\ndb 1 {\nx\n}", err: "db takes no block"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var m Module
			err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser("redis {\n" + c.block + "\n}"))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), "Testfile:") ||
					strings.Contains(err.Error(), "secret") {
					t.Fatalf("got error %v, want one with %q and the line", err, c.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(m, c.want) {
				t.Errorf("got %+v, %v, want %+v", m, err, c.want)
			}
		})
	}
	var m Module
	if err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser("redis 10.0.0.1:6379")); err == nil ||
		!strings.Contains(err.Error(), "address") {
		t.Errorf("an argument: got %v", err)
	}
}

// load does what Caddy does with a module, but for the start.
func load(t *testing.T, config string) (*Module, error) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	loaded, err := ctx.LoadModuleByID("oauth1.stores.redis", json.RawMessage(config))
	if err != nil {
		return nil, err
	}
	return loaded.(*Module), nil
}

func TestProvision(t *testing.T) {
	lab := redislab.Single(t, redislab.Options{TLS: true})
	t.Setenv("REDISSTORE_HOST", "redis.example.com")
	t.Setenv("REDISSTORE_EMPTY", "")
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	password, broken := write("password", "the password\r\n"), write("broken.pem", "no certificate")
	ca, certificate, key := lab.Authority.CA, lab.Authority.Certificate, lab.Authority.Key
	for name, c := range map[string]struct {
		config string
		want   func(o Options) bool
		err    string
	}{
		"defaults": {config: `{"address":["10.0.0.1"]}`, want: func(o Options) bool {
			return reflect.DeepEqual(o.Addresses, []string{"10.0.0.1:6379"}) && o.Prefix == "oauth1" && o.Replicas == 1 && o.DB == 0 &&
				o.Timeout == 500*time.Millisecond && o.Lead == 5*time.Second && o.MaxStale == time.Second && o.TLS == nil && o.Logger != nil
		}},
		"no replicas": {config: `{"address":["a"],"replicas":0}`, want: func(o Options) bool { return o.Replicas == 0 }},
		"addresses": {config: `{"address":["{env.REDISSTORE_HOST}:1","::1","[::1]:7","Redis.Example.com:1"]}`, want: func(o Options) bool {
			return reflect.DeepEqual(o.Addresses, []string{"redis.example.com:1", "[::1]:6379", "[::1]:7"})
		}},
		"Sentinels": {config: `{"sentinel":{"master":"main","address":["s1","s2:7"]}}`, want: func(o Options) bool {
			return o.SentinelMaster == "main" && reflect.DeepEqual(o.Addresses, []string{"s1:26379", "s2:7"})
		}},
		"a password from a file": {config: `{"address":["a"],"password":"{file.` + password + `}"}`,
			want: func(o Options) bool { return o.Password == "the password" }},
		"TLS": {config: fmt.Sprintf(`{"address":["a"],"server_name":"n","tls":{"ca":%q,"certificate":%q,"key":%q}}`, ca, certificate, key),
			want: func(o Options) bool {
				return o.TLS.ServerName == "n" && o.TLS.RootCAs != nil && len(o.TLS.Certificates) == 1
			}},

		"no server":                {config: `{}`, err: "address is missing"},
		"no Sentinel":              {config: `{"sentinel":{"master":"main"}}`, err: "sentinel is missing"},
		"no master":                {config: `{"sentinel":{"address":["a"]}}`, err: "name of the master is missing"},
		"both":                     {config: `{"address":["a"],"sentinel":{"master":"main","address":["a"]}}`, err: "exclude each other"},
		"a URL":                    {config: `{"address":["redis://a:6379/0"]}`, err: `"redis://a:6379/0" is not host:port`},
		"a list in one text":       {config: `{"address":["a:1,b:2"]}`, err: `is not host:port`},
		"port 0":                   {config: `{"address":["a:0"]}`, err: "no port from 1 to 65535"},
		"an empty placeholder":     {config: `{"address":["a"],"password":"{env.REDISSTORE_EMPTY}"}`, err: "password: "},
		"a missing placeholder":    {config: `{"address":["a"],"password":"{env.REDISSTORE_MISSING}"}`, err: "password: "},
		"a missing file":           {config: `{"address":["a"],"password":"{file./no/such}"}`, err: "password: "},
		"a missing server":         {config: `{"address":["{env.REDISSTORE_MISSING}:1"]}`, err: "address: "},
		"a missing authority":      {config: `{"address":["a"],"tls":{"ca":"/no/such"}}`, err: "tls: open /no/such"},
		"an authority of no PEM":   {config: fmt.Sprintf(`{"address":["a"],"tls":{"ca":%q}}`, broken), err: "holds no certificate"},
		"a certificate alone":      {config: fmt.Sprintf(`{"address":["a"],"tls":{"certificate":%q}}`, certificate), err: "belong together"},
		"a key of another kind":    {config: fmt.Sprintf(`{"address":["a"],"tls":{"certificate":%q,"key":%q}}`, certificate, broken), err: "tls: "},
		"a name without TLS":       {config: `{"address":["a"],"server_name":"n"}`, err: "server_name needs tls"},
		"a negative db":            {config: `{"address":["a"],"db":-1}`, err: "db is -1"},
		"too many replicas":        {config: `{"address":["a"],"replicas":101}`, err: "replicas is 101"},
		"a brace in the prefix":    {config: `{"address":["a"],"prefix":"{x}y"}`, err: "prefix"},
		"a blank in the prefix":    {config: `{"address":["a"],"prefix":"a b"}`, err: "prefix"},
		"a short timeout":          {config: `{"address":["a"],"timeout":"1ms"}`, err: "timeout is 1ms: it can be 10ms to 1m0s"},
		"a lead that is too short": {config: `{"address":["a"],"timeout":"1s","lead":"3s"}`, err: "lead is 3s: it can be 4s to 1m0s"},
		"a stale cache":            {config: `{"address":["a"],"max_stale":"2m"}`, err: "max_stale is 2m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := load(t, c.config)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !c.want(m.options) {
				t.Errorf("got %+v", m.options)
			}
		})
	}
}

func TestPoolKey(t *testing.T) {
	t.Parallel()
	key := func(config string) string {
		t.Helper()
		m, err := load(t, config)
		if err != nil {
			t.Fatal(err)
		}
		key, err := m.PoolKey()
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	one := key(`{"address":["a:1","b:1"],"password":"secret"}`)
	for _, same := range []string{
		`{"address":["b:1","A:1"]}`, `{"address":["a:1","b:1"],"username":"u","password":"p","timeout":"1s","replicas":0}`,
	} {
		if got := key(same); got != one {
			t.Errorf("%s: got %q, want %q", same, got, one)
		}
	}
	seen := map[string]string{one: "the first"}
	for _, other := range []string{
		`{"address":["a:1"]}`, `{"address":["a:1","b:1"],"db":1}`, `{"address":["a:1","b:1"],"prefix":"p"}`,
		`{"sentinel":{"master":"m","address":["a:1","b:1"]}}`, `{"sentinel":{"master":"n","address":["a:1","b:1"]}}`,
	} {
		got := key(other)
		if seen[got] != "" {
			t.Errorf("%s has the key of %s: %q", other, seen[got], got)
		}
		seen[got] = other
		if !strings.HasPrefix(got, "redis:") || strings.Contains(got, "secret") {
			t.Errorf("the key %q", got)
		}
	}
}

// TestOpenAndConfigure: a reload goes on with the open store, and says what it can't change.
func TestOpenAndConfigure(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{Config: []string{"requirepass right-secret"}})
	config := func(more string) string {
		return fmt.Sprintf(`{"address":[%q],"replicas":0%s}`, lab.Addresses()[0], more)
	}
	load := func(more string) *Module {
		t.Helper()
		m, err := load(t, config(more))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	wrong := load(`,"password":"wrong-secret"`)
	if s, err := wrong.Open(); s != nil || err == nil || !strings.Contains(err.Error(), "store redis: username or password is wrong") ||
		strings.Contains(err.Error(), "wrong-secret") {
		t.Errorf("a wrong password: got %v, %v", s, err)
	}
	right := load(`,"password":"right-secret"`)
	store, err := right.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if err := load(`,"password":"right-secret","timeout":"1s","lead":"10s","max_stale":"2s"`).Configure(store); err != nil {
		t.Error(err)
	}
	if got, want := *store.(*Store).settings.Load(), (settings{time.Second, 10 * time.Second, 2 * time.Second}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for want, m := range map[string]*Module{
		"username or password is wrong": wrong,
		"needs a restart":               load(`,"password":"right-secret","replicas":1`),
	} {
		if err := m.Configure(store); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := right.Configure(struct{ tokenstore.Store }{}); err == nil {
		t.Error("configured a store of another kind")
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{"address":["a","b"],"password":"secret"}`:                   "[address=[a:6379 b:6379] db=0 prefix=oauth1 replicas=1 tls=false encrypted=false]",
		`{"sentinel":{"master":"m","address":["a"]},"tls":{},"db":2}`: "[sentinel=[m a:26379] db=2 prefix=oauth1 replicas=1 tls=true encrypted=false]",
	} {
		m, err := load(t, config)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(m.Describe()); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestManualServers: the configurations of the manual are read by real servers, and a store with
// the manual's user opens with them.
func TestManualServers(t *testing.T) {
	t.Parallel()
	common, master, cluster := manualLines(t, "redis.conf"), manualLines(t, "redis.conf, more"), manualLines(t, "redis.conf, more, of a Cluster")
	user := "user app on >secret " + manualRights(t)
	// The lab starts empty masters first, which have no replicas yet.
	for name, lab := range map[string]*redislab.Lab{
		"one server": redislab.Single(t, redislab.Options{Config: append(common, user)}),
		"Sentinel":   redislab.Sentinel(t, redislab.Options{Config: append(append(common, master...), user)}),
		"Cluster":    redislab.Cluster(t, redislab.Options{Config: append(append(common, cluster...), user)}),
	} {
		o := optionsFor(lab)
		o.Username, o.Password = "app", "secret"
		if name != "one server" {
			o.Replicas = 1
		}
		store, err := Open(o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		within(t, 30*time.Second, func() error { return store.Check(t.Context()) })
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}

	lab := redislab.Sentinel(t, redislab.Options{})
	for _, line := range manualLines(t, "sentinel.conf") {
		words := strings.Fields(line)
		if words[1] == "monitor" {
			if len(words) != 6 || words[2] != redislab.MasterName {
				t.Errorf("%q", line)
			}
			continue
		}
		lab.Sentinels[0].Must(t, "SENTINEL", "SET", words[2], words[1], words[3])
	}
}

// manualLines returns a configuration of docs/replicas.md, by the comment at its top.
func manualLines(t *testing.T, title string) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/replicas.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(page), "```text\n# "+title+"\n")
	block, _, end := strings.Cut(block, "\n```")
	if !ok || !end {
		t.Fatalf("docs/replicas.md has no %q", title)
	}
	return strings.Split(block, "\n")
}
