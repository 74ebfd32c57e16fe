package record

import (
	_ "embed"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

//go:embed testdata/golden.txt
var golden string

// TestGoldenRecords: what any program wrote is read, and what this one writes are the same bytes as
// before.
func TestGoldenRecords(t *testing.T) {
	early := *someConsumer
	early.CallbacksIgnoreQuery, early.DefaultCallback = false, false
	olds := map[string]*tokenstore.Consumer{"full, before callbacks_ignore_query": &early}

	seen := make(map[string]bool)
	for line := range strings.Lines(golden) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(columns) != 3 {
			t.Fatalf("a line of %d columns: %q", len(columns), line)
		}
		b, err := hex.DecodeString(columns[2])
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range kinds {
			if k.kind != columns[0] {
				continue
			}
			want, writes := any(olds[columns[1]]), false
			switch columns[1] {
			case "full":
				want, writes = k.values[0], true
			case "empty":
				want, writes = k.values[1], true
			}
			if got, err := k.decode(b); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s, %s: read as %+v, %v; want %+v", k.kind, columns[1], got, err, want)
			}
			if got := k.encode(want); writes && string(got) != string(b) {
				t.Errorf("%s, %s: written as\n%x, want\n%x", k.kind, columns[1], got, b)
			}
			seen[k.kind] = seen[k.kind] || writes
		}
	}
	for _, k := range kinds {
		if !seen[k.kind] {
			t.Errorf("there is no %s", k.kind)
		}
	}
}
