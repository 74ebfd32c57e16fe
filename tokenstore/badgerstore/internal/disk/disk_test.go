package disk

import (
	"path/filepath"
	"slices"
	"testing"
)

// The names of new directories are synced, too. Otherwise a power cut would remove the store with
// them.
func TestMakeDirectorySyncsWhatHoldsItsName(t *testing.T) {
	base := t.TempDir()
	for _, c := range []struct {
		make   string
		synced []string
	}{
		{"a/b/tokens", []string{".", "a", "a/b"}},
		{"a/b/nonces", []string{"a/b"}},
		{"a/b/tokens", nil},
	} {
		var synced []string
		err := MakeDir(filepath.Join(base, c.make), func(dir string) error {
			name, err := filepath.Rel(base, dir)
			synced = append(synced, name)
			return err
		})
		if err != nil || !slices.Equal(synced, c.synced) {
			t.Errorf("%s: synced %q, %v; want %q", c.make, synced, err, c.synced)
		}
	}
}
