package caddymodule

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// retryingStore runs each change of a consumer twice: first for a copy that somebody else's update
// makes stale, as a store with optimistic locking does. Nothing of the first run is stored.
type retryingStore struct {
	tokenstore.Store
	stale func(*tokenstore.Consumer)
}

func (s retryingStore) UpdateConsumer(
	ctx context.Context, key string, change func(*tokenstore.Consumer) error,
) (*tokenstore.Consumer, error) {
	stored, err := s.Consumer(ctx, key)
	if err != nil {
		return nil, err
	}
	stale := stored.Clone()
	s.stale(stale)
	_ = change(stale)
	return s.Store.UpdateConsumer(ctx, key, change)
}

// TestAChangeMayRunTwice: a call of the admin API that a store runs twice has the effect of one.
func TestAChangeMayRunTwice(t *testing.T) {
	admin := newTestAdmin(t, "")
	plain := admin.app.store
	for _, c := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"a change", "PATCH", "", `{"name":"New","callbacks":["https://b.example/"],"expires":null}`, 200},
		{"a change to a key", "PATCH", "", `{"rsa_public_key":` + jsonText(t, testPublicKey(t)) + `}`, 200},
		{"a change that is refused", "PATCH", "", `{"signature_methods":["RSA-SHA1"]}`, 400},
		{"a rotation", "POST", "/rotate", `{"secret":"new"}`, 200},
		{"a rotation with an overlap", "POST", "/rotate", `{"secret":"new","overlap":"1h"}`, 200},
	} {
		for i, stale := range []func(*tokenstore.Consumer){
			func(*tokenstore.Consumer) {},
			func(c *tokenstore.Consumer) {
				c.Name, c.Secret, c.Callbacks = "stale", "stale", append(c.Callbacks, "https://stale.example/")
			},
			func(c *tokenstore.Consumer) { c.Secret, c.RSAPublicKey = "", "stale" },
		} {
			t.Run(fmt.Sprint(c.name, " ", i), func(t *testing.T) {
				var got [2]string
				for run, store := range []tokenstore.Store{plain, retryingStore{plain, stale}} {
					admin.app.store = plain
					consumer := &tokenstore.Consumer{
						Key: "k", Name: "Old", Secret: "old", Callbacks: []string{"https://a.example/"},
						Expires: admin.clock.Add(time.Hour), SelfRegistered: true,
					}
					if err := plain.CreateConsumer(t.Context(), consumer); err != nil {
						t.Fatal(err)
					}
					admin.app.store = store
					admin.logs.TakeAll()
					w := admin.call(c.method, "/oauth1/consumers/k"+c.path, c.body)
					if w.Code != c.status {
						t.Errorf("%T: got %d %s, want %d", store, w.Code, w.Body, c.status)
					}
					stored, err := plain.Consumer(t.Context(), "k")
					if err != nil {
						t.Fatal(err)
					}
					got[run] = fmt.Sprintf("%s\n%+v\n%d lines in the log", w.Body, *stored, admin.logs.Len())
					if err := plain.DeleteConsumer(t.Context(), "k"); err != nil {
						t.Fatal(err)
					}
				}
				if got[1] != got[0] {
					t.Errorf("run twice:\n%s\nrun once:\n%s", got[1], got[0])
				}
			})
		}
	}
}
