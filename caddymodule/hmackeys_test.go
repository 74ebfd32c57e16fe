package caddymodule

import (
	"fmt"
	"hash/maphash"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func TestHMACKeysAreReadyForWhoComesTwice(t *testing.T) {
	k := newHMACKeys()
	if k.get("a", "HMAC-SHA1", "cs", "ts") != nil {
		t.Error("a key is made ready for the first request")
	}
	key := k.get("a", "HMAC-SHA1", "cs", "ts")
	if key == nil || k.get("a", "HMAC-SHA1", "cs", "ts") != key {
		t.Errorf("the second request has %p, the third another key", key)
	}
	for _, other := range [][3]string{{"HMAC-SHA256", "cs", "ts"}, {"HMAC-SHA1", "new", "ts"}, {"HMAC-SHA1", "cs", "new"}, {"HMAC-SHA1", "cst", "s"}} {
		if got := k.get("a", other[0], other[1], other[2]); got == key {
			t.Errorf("%q has the key of other secrets, or another method", other)
		}
	}
	if k.get("a", "HMAC-SHA1", "cs", "ts") == nil {
		t.Error("one request with other secrets takes the key away")
	}
	for range 2 {
		if k.get("a", "PLAINTEXT", "", "") != nil {
			t.Error("PLAINTEXT has an HMAC key")
		}
	}
}

func TestHMACKeysStayWhereOthersComeOnce(t *testing.T) {
	k := newHMACKeys()
	slot := func(name string) uint64 { return maphash.String(k.seed, name) % hmacSlots }
	k.get("busy", "HMAC-SHA1", "cs", "busy")
	key := k.get("busy", "HMAC-SHA1", "cs", "busy")
	shared := 0
	for i := 0; shared < 3; i++ {
		if rare := fmt.Sprint(i); slot(rare) == slot("busy") {
			shared++
			if k.get(rare, "HMAC-SHA1", "cs", rare) != nil {
				t.Errorf("%s is ready at once", rare)
			}
			if k.get("busy", "HMAC-SHA1", "cs", "busy") != key {
				t.Errorf("%s came once, and took the slot", rare)
			}
		}
	}
}

// After a secret has changed, the prepared key of the old one is not used for the next request.
func TestHMACKeysFollowTheSecrets(t *testing.T) {
	site := newTestSite(t, "", "")
	c := &tokenstore.Consumer{Key: "c", Secret: "old", TwoLegged: &tokenstore.TwoLegged{User: "bot", Permission: "READ_PUBLIC"}}
	if err := site.store().CreateConsumer(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	token := site.grant("c", "alice", "READ_PUBLIC")
	status := func(consumerSecret, tokenSecret string) int {
		s := oauth1.Signer{ConsumerKey: "c", ConsumerSecret: consumerSecret, SignatureMethod: "HMAC-SHA256"}
		if tokenSecret != "" {
			s.Token, s.TokenSecret = token.Key, tokenSecret
		}
		w, _ := site.serve(site.sign(s, "GET", "http://api.test/", ""))
		return w.Code
	}
	for i := range 4 {
		if got := [4]int{status("old", ""), status("old", token.Secret), status("new", token.Secret), status("old", "guess")}; got != [4]int{200, 200, 401, 401} {
			t.Fatalf("request %d: %v", i, got)
		}
	}
	_, err := site.store().UpdateConsumer(t.Context(), "c", func(c *tokenstore.Consumer) error {
		c.Secret = "new"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if got := [4]int{status("new", ""), status("new", token.Secret), status("old", token.Secret), status("old", "")}; got != [4]int{200, 200, 401, 401} {
			t.Errorf("request %d after the change: %v", i, got)
		}
	}
}

// Otherwise anybody who knows a consumer's key could take the slots of others.
func TestHMACKeysAreNotForUnknownTokens(t *testing.T) {
	site := newTestSite(t, demoConsumer, "")
	for range 4 {
		w, _ := site.serve(site.sign(oauth1.Signer{
			ConsumerKey: "demo", ConsumerSecret: "demo-secret", Token: "unknown", TokenSecret: "guess", SignatureMethod: "HMAC-SHA256",
		}, "GET", "http://api.test/", ""))
		if w.Code != 401 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	for i := range site.handler.app.hmacKeys.slots {
		if site.handler.app.hmacKeys.slots[i].ready.Load() != nil {
			t.Fatal("an unknown token has a slot")
		}
	}
}
