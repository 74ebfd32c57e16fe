package redisstore

import (
	"testing"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// TestConfirm: what the servers have confirmed counts as read then, unless something else is known
// meanwhile.
func TestConfirm(t *testing.T) {
	t.Parallel()
	const maxAge = time.Minute
	record := func(version string, age time.Duration) *cached[tokenstore.AccessToken] {
		return &cached[tokenstore.AccessToken]{
			stored: &stored[tokenstore.AccessToken]{envelope: envelope{version: version}, is: &tokenstore.AccessToken{Key: "key"}},
			at:     time.Now().Add(-age),
		}
	}
	for _, c := range []struct {
		name      string
		meanwhile func(*cache[tokenstore.AccessToken])
		want      string // the version that is kept; empty: none
	}{
		{"nothing happened", func(*cache[tokenstore.AccessToken]) {}, "first"},
		{"it was dropped", func(c *cache[tokenstore.AccessToken]) { c.drop("key") }, ""},
		{"all was dropped", func(c *cache[tokenstore.AccessToken]) { c.clear() }, ""},
		{"it was dropped and read again", func(c *cache[tokenstore.AccessToken]) {
			c.drop("key")
			c.put("key", c.ticket("key"), record("second", 0))
		}, "second"},
		{"it was read again", func(c *cache[tokenstore.AccessToken]) {
			c.put("key", c.ticket("key"), record("second", 0))
		}, "second"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			kept := newCache[tokenstore.AccessToken](func() time.Duration { return maxAge })
			old := kept.put("key", kept.ticket("key"), record("first", 2*maxAge))
			if kept.get("key") != nil {
				t.Fatal("what is too old is believed")
			}
			ticket, at := kept.ticket("key"), time.Now()
			c.meanwhile(kept)
			kept.confirm("key", ticket, old, at)
			switch got := kept.get("key"); {
			case c.want == "" && got != nil:
				t.Errorf("%q is kept", got.version)
			case c.want != "" && (got == nil || got.version != c.want):
				t.Errorf("kept: %v, want %q", got, c.want)
			case c.want == "first" && got.is != old.is:
				t.Error("the record has another address")
			}
		})
	}
}
