package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// optionsFor returns options for the servers of a lab. The timeout is for a machine that is busy.
func optionsFor(lab *redislab.Lab) Options {
	o := Options{
		Addresses: lab.Addresses(),
		Prefix:    defaultPrefix,
		Timeout:   5 * time.Second,
		Lead:      defaultLead,
		MaxStale:  defaultMaxStale,
		Logger:    zap.NewNop(),
	}
	if len(lab.Sentinels) > 0 {
		o.SentinelMaster = redislab.MasterName
	}
	return o
}

// connectTo connects, for the time of the test.
func connectTo(t *testing.T, o Options, invalidated func([]string)) *link {
	t.Helper()
	if invalidated == nil {
		invalidated = func([]string) {}
	}
	l, err := connect(o, invalidated)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

// set writes a key as long as a test allows, and returns when it did.
func set(ctx context.Context, l *link, key string) error {
	ctx, cancel := context.WithTimeout(ctx, l.options.Load().Timeout)
	defer cancel()
	c, err := l.client()
	if err != nil {
		return err
	}
	return c.Do(ctx, c.B().Set().Key(key).Value("1").Build()).Error()
}

// manualRights returns the rights of the user in the manual.
func manualRights(t testing.TB) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/replicas.md")
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`(?m)^user oauth1 on >\S+ (.+)$`).FindSubmatch(page)
	if match == nil {
		t.Fatal("docs/replicas.md has no user")
	}
	return string(match[1])
}

func TestMisconfigurations(t *testing.T) {
	t.Parallel()
	plain := redislab.Single(t, redislab.Options{Config: []string{
		"user default on >the-password ~* &* +@all", "user app on >secret " + manualRights(t),
	}})
	withRight := func(o Options) Options { o.Username, o.Password = "app", "secret"; return o }
	for name, c := range map[string]struct {
		options func(o Options) Options
		want    string // "": no error
	}{
		"a user with the rights of the manual": {withRight, ""},
		"no password":                          {func(o Options) Options { return o }, "asks for a password"},
		"a wrong password": {func(o Options) Options { o.Password = "other-secret"; return o },
			"username or password is wrong"},
		"a db that is not there": {func(o Options) Options { o.Password, o.DB = "the-password", 99; return o },
			"no db of that number"},
		"a replica is missing": {func(o Options) Options { o = withRight(o); o.Replicas = 1; return o },
			"0 connected replicas, and replicas is 1"},
		"keys of another prefix": {func(o Options) Options { o = withRight(o); o.Prefix = "other"; return o },
			"lacks a right"},
		"Sentinel where a server is": {func(o Options) Options { o = withRight(o); o.SentinelMaster = "main"; return o },
			"no Sentinel"},
		"two servers that are no Cluster": {func(o Options) Options {
			o.Password = "the-password"
			o.Addresses = append(o.Addresses, "localhost"+o.Addresses[0][strings.LastIndex(o.Addresses[0], ":"):])
			return o
		}, "this is none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantMisconfiguration(t, c.options(optionsFor(plain)), c.want)
		})
	}
}

// wantMisconfiguration connects, and wants an error of one line with a text, and without the
// passwords of these tests.
func wantMisconfiguration(t *testing.T, o Options, want string) {
	t.Helper()
	l, err := connect(o, func([]string) {})
	if err == nil {
		defer l.close()
	}
	switch {
	case want == "" && err != nil:
		t.Errorf("got %v", err)
	case want == "":
		if err := l.check(t.Context()); err != nil {
			t.Errorf("check: %v", err)
		}
	case err == nil || !isMisconfiguration(err) || !strings.Contains(err.Error(), want):
		t.Errorf("got %v, want a misconfiguration with %q", err, want)
	case strings.Contains(err.Error(), "\n") || o.Password != "" && strings.Contains(err.Error(), o.Password):
		t.Errorf("an error of several lines, or with the password: %q", err)
	}
}

func TestMisconfiguredServers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config []string
		want   string
	}{
		"evicts keys":                    {[]string{"maxmemory 100mb", "maxmemory-policy volatile-ttl"}, "set its maxmemory-policy to noeviction, it is volatile-ttl"},
		"would evict keys, has no limit": {[]string{"maxmemory-policy allkeys-lru"}, ""},
		"has a limit, evicts nothing":    {[]string{"maxmemory 100mb"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantMisconfiguration(t, optionsFor(redislab.Single(t, redislab.Options{Config: c.config})), c.want)
		})
	}
}

// TestEveryRightIsTried: without any one of the commands that the store needs, it does not open,
// and says which one is missing. The manual gives no right that is not needed.
func TestEveryRightIsTried(t *testing.T) {
	t.Parallel()
	single, sentinel, cluster := redislab.Single(t, redislab.Options{}), redislab.Sentinel(t, calm), redislab.Cluster(t, calm)
	rights := manualRights(t)
	var commands []string
	for _, c := range commandsInScripts {
		commands = append(commands, strings.ToLower(c[0]))
	}
	for right := range strings.FieldsSeq(rights) {
		if command, ok := strings.CutPrefix(right, "+"); ok && !strings.HasPrefix(command, "@") {
			commands = append(commands, command)
		}
	}
	for _, command := range commands {
		lab, o := single, optionsFor(single)
		switch command {
		case "hello":
			continue // the connection is dropped
		case "cluster|shards":
			continue // of later servers
		case "select":
			o.DB = 1
		case "role":
			lab, o = sentinel, optionsFor(sentinel)
		case "cluster|slots":
			lab, o = cluster, optionsFor(cluster)
		}
		for _, n := range lab.Nodes {
			n.Must(t, append([]string{"ACL", "SETUSER", "app", "reset", "on", ">secret"}, strings.Fields(rights+" -"+command)...)...)
		}
		o.Username, o.Password = "app", "secret"
		l, err := connect(o, func([]string) {})
		if err == nil {
			l.close()
		}
		if name, _, _ := strings.Cut(command, "|"); !isMisconfiguration(err) || !strings.Contains(strings.ToLower(err.Error()), name) {
			t.Errorf("without %s: got %v", command, err)
		}
	}
}

// TestScriptsCallKnownCommands: the check at the start tries every command that a script calls.
func TestScriptsCallKnownCommands(t *testing.T) {
	t.Parallel()
	known := []string{"INFO"} // whoScript
	for _, c := range commandsInScripts {
		known = append(known, c[0])
	}
	files, err := filepath.Glob("scripts/*.lua")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range regexp.MustCompile(`redis\.p?call\('(\w+)'`).FindAllSubmatch(source, -1) {
			if !slices.Contains(known, string(call[1])) {
				t.Errorf("%s calls %s", file, call[1])
			}
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{TLS: true})
	strict := redislab.Single(t, redislab.Options{TLS: true, Config: []string{"tls-auth-clients yes"}})
	other := redislab.Single(t, redislab.Options{TLS: true})
	for name, c := range map[string]struct {
		lab    *redislab.Lab
		config *tls.Config
		want   string
	}{
		"as it should be":               {lab, lab.Authority.Client(t, false), ""},
		"with a certificate of ours":    {strict, strict.Authority.Client(t, true), ""},
		"no certificate of ours":        {strict, strict.Authority.Client(t, false), "another certificate of ours"},
		"an unknown authority":          {lab, other.Authority.Client(t, false), "unknown authority"},
		"a certificate of another name": {lab, named(lab.Authority.Client(t, false), "redis.example.com"), "server_name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := optionsFor(c.lab)
			o.TLS = c.config
			wantMisconfiguration(t, o, c.want)
		})
	}
}

// TestRefusedCertificatesAreHeardOf: a server refuses a certificate after the handshake. What it
// says must not be lost because we write too soon.
func TestRefusedCertificatesAreHeardOf(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{TLS: true, Config: []string{"tls-auth-clients yes"}})
	for _, ours := range []bool{true, false} {
		dialer := &net.Dialer{Timeout: time.Second}
		if !ours {
			dialer.Timeout = 10 * time.Second
		}
		conn, err := dialAndListen(t.Context(), lab.Addresses()[0], dialer, lab.Authority.Client(t, ours))
		switch {
		case ours && err != nil:
			t.Error(err)
		case ours:
			conn.Close()
		case err == nil || !isMisconfiguration(explain(err, Options{TLS: new(tls.Config)})):
			t.Errorf("without a certificate: got %v, want a misconfiguration", err)
		}
	}
}

// TestTLSAtOneSideOnly: that may be a server that is just starting, so the link tries again, but it
// says what it may be.
func TestTLSAtOneSideOnly(t *testing.T) {
	t.Parallel()
	secure, plain := redislab.Single(t, redislab.Options{TLS: true}), redislab.Single(t, redislab.Options{})
	toPlain := optionsFor(plain)
	toPlain.TLS = secure.Authority.Client(t, false)
	for want, o := range map[string]Options{
		"it may speak TLS only": optionsFor(secure),
		"it may not speak TLS":  toPlain,
	} {
		l := connectTo(t, o, nil)
		if _, err := l.client(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func named(c *tls.Config, name string) *tls.Config { c.ServerName = name; return c }

// TestOutOfReachAtTheStart: the link is there at once, says so in one line, and works as soon as
// the server does.
func TestOutOfReachAtTheStart(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{})
	lab.Nodes[0].Kill()
	core, logs := observer.New(zapcore.InfoLevel)
	o := optionsFor(lab)
	o.Logger = zap.New(core)
	l := connectTo(t, o, nil)
	var later *tokenstore.LaterError
	if _, err := l.client(); !errors.As(err, &later) || later.After <= 0 {
		t.Errorf("got %v, want an error that says when to try again", err)
	}
	if err := l.check(t.Context()); err == nil {
		t.Error("ready without a server")
	}
	lab.Nodes[0].Start(t)
	within(t, 20*time.Second, func() error { return l.check(t.Context()) })
	within(t, 20*time.Second, func() error {
		var lines []string
		for _, e := range logs.All() {
			lines = append(lines, e.Level.String()+" "+e.Message)
		}
		if want := []string{"warn out of reach: requests are refused until a server answers", "info ready"}; !slices.Equal(lines, want) {
			return fmt.Errorf("logged %q, want %q", lines, want)
		}
		return nil
	})
}

// within tries until there is no error, and returns how long that took.
func within(t testing.TB, limit time.Duration, try func() error) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		err := try()
		took := time.Since(start)
		if err == nil {
			return took
		}
		if took > limit {
			t.Fatalf("not within %v: %v", limit, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestCheckSeesWhatComesUp: what becomes wrong while the store is open is said, and so is its end.
func TestCheckSeesWhatComesUp(t *testing.T) {
	t.Parallel()
	lab := redislab.Sentinel(t, redislab.Options{})
	master := lab.Masters()[0]
	o := optionsFor(lab)
	o.Replicas = 2
	l := connectTo(t, o, nil)
	if err := l.check(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name       string
		harm, mend func()
		want       string
	}{
		{"an evicting policy",
			func() {
				master.Must(t, "CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
			},
			func() { master.Must(t, "CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction") }, "noeviction"},
		{"a frozen replica",
			func() { lab.Replicas()[0].Stop(t) },
			func() {
				for _, n := range lab.Nodes {
					n.Continue(t)
				}
			}, "1 of 2 replicas confirmed"},
		{"a right that is taken away",
			func() { master.Must(t, "ACL", "SETUSER", "default", "-hsetnx") },
			func() { master.Must(t, "ACL", "SETUSER", "default", "+hsetnx") }, "HSETNX"},
		{"no memory left",
			func() { master.Must(t, "CONFIG", "SET", "maxmemory", "1") },
			func() { master.Must(t, "CONFIG", "SET", "maxmemory", "0") }, "OOM"},
	} {
		c.harm()
		err := l.check(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with %q", c.name, err, c.want)
		}
		c.mend()
		within(t, 20*time.Second, func() error { return l.check(t.Context()) })
	}
}

// TestInvalidations: every connection hears which keys others change; and that it may have missed
// some, when it was cut.
func TestInvalidations(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB, redislab.Options) *redislab.Lab{
		"one server": redislab.Single, "Sentinel": redislab.Sentinel, "Cluster": redislab.Cluster,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lab := start(t, redislab.Options{})
			var mu sync.Mutex
			heard := make(map[string]int)
			everything := 0
			reader := connectTo(t, optionsFor(lab), func(keys []string) {
				mu.Lock()
				defer mu.Unlock()
				for _, key := range keys {
					heard[key]++
				}
				if keys == nil {
					everything++
				}
			})
			writer := connectTo(t, optionsFor(lab), nil)
			writeAll := func() {
				t.Helper()
				for _, tag := range sliceTags {
					for _, kind := range []string{kindToken, kindConsumer, kindNonces} {
						key := "oauth1:" + kind + "{" + tag + "}:x"
						within(t, 20*time.Second, func() error { return set(t.Context(), reader, key+"read") }) // has a connection
						within(t, 20*time.Second, func() error { return set(t.Context(), writer, key) })
					}
				}
			}
			hearAll := func() error {
				mu.Lock()
				defer mu.Unlock()
				for _, tag := range sliceTags {
					if heard["oauth1:t{"+tag+"}:x"] == 0 || heard["oauth1:c{"+tag+"}:x"] == 0 {
						return fmt.Errorf("slice %s was not heard of", tag)
					}
					if heard["oauth1:n{"+tag+"}:x"] > 0 {
						return errors.New("heard of nonces")
					}
				}
				return nil
			}
			writeAll()
			within(t, 10*time.Second, hearAll)

			for _, n := range lab.Masters() {
				n.Must(t, "CLIENT", "KILL", "USER", "default")
			}
			within(t, 10*time.Second, func() error {
				mu.Lock()
				defer mu.Unlock()
				if everything < len(lab.Masters()) {
					return fmt.Errorf("%d connections were cut", everything)
				}
				return nil
			})
			mu.Lock()
			clear(heard)
			mu.Unlock()
			writeAll()
			within(t, 10*time.Second, hearAll)
		})
	}
}

// TestReconfigure: a password can be changed without a gap; a wrong one changes nothing.
func TestReconfigure(t *testing.T) {
	t.Parallel()
	lab := redislab.Single(t, redislab.Options{Config: []string{"user default on >one >two ~* &* +@all"}})
	o := optionsFor(lab)
	o.Password = "one"
	l := connectTo(t, o, nil)
	before, _ := l.client()
	o.MaxStale = 2 * time.Second
	if err := l.configure(o); err != nil {
		t.Fatal(err)
	}
	if c, _ := l.client(); c != before {
		t.Error("another client, though nothing of the connection changed")
	}
	wrong := o
	wrong.Password = "three"
	if err := l.configure(wrong); !isMisconfiguration(err) {
		t.Errorf("got %v, want a misconfiguration", err)
	}
	if err := l.check(t.Context()); err != nil {
		t.Error(err)
	}
	o.Password = "two"
	if err := l.configure(o); err != nil {
		t.Fatal(err)
	}
	lab.Nodes[0].Must(t, "ACL", "SETUSER", "default", "<one")
	lab.Nodes[0].Must(t, "CLIENT", "KILL", "USER", "default")
	within(t, 10*time.Second, func() error { return l.check(t.Context()) })

	lab.Nodes[0].Kill()
	o.Timeout *= 2
	if err := l.configure(o); err != nil {
		t.Errorf("a server that is out of reach prevents a reload: %v", err)
	}
	lab.Nodes[0].Start(t)
	within(t, 20*time.Second, func() error { return l.check(t.Context()) })
	if l.missing.Load() {
		t.Error("still the client of the options before")
	}
	l.close()
	if err := l.configure(o); !errors.Is(err, tokenstore.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

// blackHole accepts connections and answers nothing.
func blackHole(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

// TestServersThatSayNothing: they hold up the start for a moment only, and no call.
func TestServersThatSayNothing(t *testing.T) {
	t.Parallel()
	o := Options{Addresses: []string{blackHole(t)}, Prefix: "p", Timeout: 200 * time.Millisecond, Logger: zap.NewNop()}
	start := time.Now()
	connectTo(t, o, nil)
	if took := time.Since(start); took > 5*time.Second { // the client's own limit for an answer is 10 s
		t.Errorf("the start took %v", took)
	}
}
