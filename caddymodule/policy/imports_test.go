package policy

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestImports: arrows point down only. What the policies decide depends on no store, no page and no
// handler, so it can be read, tested and changed without them.
func TestImports(t *testing.T) {
	t.Parallel()
	const own = "github.com/caddy-oauth1/caddy-oauth1/"
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	var depends []string
	for _, path := range strings.Fields(string(out)) {
		if name, ok := strings.CutPrefix(path, own); ok {
			depends = append(depends, name)
		}
	}
	slices.Sort(depends)
	may := []string{"caddymodule/oauth1", "caddymodule/policy", "caddymodule/refusal", "tokenstore"}
	if !slices.Equal(depends, may) {
		t.Errorf("depends on %q; want %q", depends, may)
	}
}
