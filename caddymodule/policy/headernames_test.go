package policy

import "testing"

// TestHeaderNames: a name is found in every spelling that some server reads as the same name.
func TestHeaderNames(t *testing.T) {
	t.Parallel()
	names := NewHeaderNames([]string{"X-OAuth-User", "X-HTTP-Method"})
	for name, want := range map[string]bool{
		"X-OAuth-User": true, "x-oauth-user": true, "X_OAuth_User": true, "X.OAuth-User": true,
		"X~OAuth!User": true, "X-Http-Method": true,
		"X-OAuth-Users": false, "XOAuth-User": false, "X-OAuth--User": false, "X-OAuth-Uses": false, "": false,
	} {
		if got := names.Has(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
		if want && FoldHeaderName(name) != "x-oauth-user" && FoldHeaderName(name) != "x-http-method" {
			t.Errorf("%q is folded to %q", name, FoldHeaderName(name))
		}
	}
}
