package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore"
)

// optionModule is a store module with one option. It gives the option to the store at its path.
type optionModule struct {
	path, option string
	set          *string
}

func (m optionModule) PoolKey() (string, error) { return "test:" + m.path, nil }

func (m optionModule) Open() (tokenstore.Store, error) {
	*m.set = m.option
	return badgerstore.Open(badgerstore.Options{Path: m.path})
}

func (m optionModule) Configure(tokenstore.Store) error {
	*m.set = m.option
	return nil
}

// A failed reload shares the store with the running configuration, whose options must stay in
// force.
func TestAReloadThatFailsLeavesTheStoreAsItWas(t *testing.T) {
	path, set := t.TempDir(), ""
	load := func(option string, declared ...string) (*App, error) {
		a := &App{
			module:    optionModule{path, option, &set},
			logger:    zap.NewNop(),
			ready:     make(chan struct{}),
			diagnoser: &diagnoser{off: true},
			declared:  make(map[string]*tokenstore.Consumer),

			MaxRequestTokensOfConsumer: len(option),
		}
		for _, key := range declared {
			a.declared[key] = &tokenstore.Consumer{Key: key}
		}
		return a, a.Start()
	}
	first := new(App)
	clean := func(a *App) {
		t.Helper()
		if err := a.Cleanup(); err != nil {
			t.Fatal(err)
		}
	}
	want := func(option string) {
		t.Helper()
		if running := first.store; running != nil { // the limit is the option's length
			key, n := tokenstore.NewKey(), 0
			for ; n < 100; n++ {
				r := &tokenstore.RequestToken{Key: tokenstore.NewKey(), Consumer: key, Expires: time.Now().Add(time.Hour)}
				if err := running.CreateRequestToken(t.Context(), r); err != nil {
					break
				}
			}
			if n != len(option) {
				t.Errorf("%d request tokens may wait, want %d", n, len(option))
			}
		}
		if set != option {
			t.Errorf("the store has the option %q, want %q", set, option)
		}
	}

	var err error
	first, err = load("first")
	if err != nil {
		t.Fatal(err)
	}
	want("first")
	if err := first.store.CreateConsumer(t.Context(), &tokenstore.Consumer{Key: "stored"}); err != nil {
		t.Fatal(err)
	}

	failed, err := load("it fails itself", "stored")
	if err == nil || !strings.Contains(err.Error(), `consumer "stored": declared`) {
		t.Fatalf("got %v", err)
	}
	clean(failed)
	want("first")

	failed, err = load("another app fails after it")
	if err != nil {
		t.Fatal(err)
	}
	clean(failed)
	want("first")

	second, err := load("second")
	if err != nil {
		t.Fatal(err)
	}
	clean(first)
	want("second")
	if _, err := second.store.Consumer(t.Context(), "stored"); err != nil {
		t.Errorf("after the reload: %v", err)
	}
	clean(second)
	if _, err := second.store.Consumer(t.Context(), "stored"); err != tokenstore.ErrClosed {
		t.Errorf("after the last one: got %v, want %v", err, tokenstore.ErrClosed)
	}
}

// TestAnExpiredDeclaredConsumerIsToldOf: a wrong date is logged at load. A consumer that has
// expired does not prevent a start.
func TestAnExpiredDeclaredConsumerIsToldOf(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.InfoLevel)
	levels, err := policy.NewLevels(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	consumer := func(key, expires string) *DeclaredConsumer {
		return &DeclaredConsumer{Key: key, Secret: "s", ConsumerSettings: adminapi.ConsumerSettings{Expires: expires}}
	}
	a := &App{
		logger: zap.New(core),
		levels: levels,
		now:    func() time.Time { return now },
		Consumers: []*DeclaredConsumer{consumer("ended", "2026-11-26"), consumer("lives", "2026-11-27"),
			consumer("for ever", "")},
	}
	if err := a.provisionConsumers(); err != nil {
		t.Fatal(err)
	}
	if all := logs.All(); len(all) != 1 || all[0].Level != zap.WarnLevel ||
		all[0].ContextMap()["consumer"] != "ended" {
		t.Errorf("the log has %v", all)
	}
}

// TestNullsInJSON: a null in a list of the configuration is an error, and not a panic.
func TestNullsInJSON(t *testing.T) {
	for _, test := range []struct{ apps, want string }{
		{`{"oauth1":{"consumers":[null]}}`, "consumers: number 1 is null"},
		{`{"http":{"servers":{"s":{"routes":[{"handle":[{"handler":"oauth1","policies":[{},null]}]}]}}}}`,
			"policy 2: is null"},
	} {
		var config caddy.Config
		text := `{"admin":{"disabled":true},"apps":` + test.apps + `}`
		if err := json.Unmarshal([]byte(text), &config); err != nil {
			t.Fatal(err)
		}
		_, err := caddy.ProvisionContext(&config)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.apps, err)
		}
	}
	config := []byte(`{"apps":{"oauth1":{"consumers":[null]},"http":{}}}`)
	if _, _, err := provisionWithoutSecrets(config); err == nil || !strings.Contains(err.Error(), "is null") {
		t.Errorf("without secrets: %v", err)
	}
}
