package storetest

import (
	"maps"
	"slices"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// keptCases are for stores that keep values by name.
var keptCases = []testCase{
	{"values are kept by their names", func(t *testing.T, s tokenstore.Store, _ *clock) {
		k, ok := s.(tokenstore.Keeper)
		if !ok {
			t.Skip("the store has no Keep")
		}
		must(t, k.Keep(t.Context(), "a/1", []byte("first")))
		must(t, k.Keep(t.Context(), "a/2", []byte{0, 255}))
		must(t, k.Keep(t.Context(), "b/1", []byte("other")))
		must(t, k.Keep(t.Context(), "a/1", []byte("changed")))
		kept, err := k.Kept(t.Context(), "a/")
		must(t, err)
		if names := slices.Sorted(maps.Keys(kept)); !slices.Equal(names, []string{"a/1", "a/2"}) ||
			string(kept["a/1"]) != "changed" || string(kept["a/2"]) != "\x00\xff" {
			t.Errorf("kept: %q", kept)
		}
		all, err := k.Kept(t.Context(), "")
		must(t, err)
		if len(all) != 3 {
			t.Errorf("kept in all: %q", all)
		}
	}},
}
