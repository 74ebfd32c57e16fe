package integration

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// An approval is the result of an approval on the authorize page: the browser's next address, or
// the verifier to type in.
type approval struct {
	Redirect, Verifier string
}

// approve is a user without a browser: it opens the authorize page, chooses a permission and leaves
// all else unchanged.
func (srv *server) approve(t *testing.T, address, user, permission string) approval {
	t.Helper()
	page := srv.asUser(t, "GET", address, user, nil)
	if page.Status != http.StatusOK {
		t.Fatalf("the authorize page: %d %s", page.Status, page.Body)
	}
	done := srv.asUser(t, "POST", address, user, fillIn(page.Body, permission))
	if done.Status != http.StatusSeeOther && done.Status != http.StatusFound {
		t.Fatalf("the review: %d %s", done.Status, done.Body)
	}
	target, err := mustParse(t, address).Parse(done.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(target.String(), srv.origin()+"/") {
		return approval{Redirect: target.String()}
	}
	last := srv.asUser(t, "GET", target.String(), user, nil)
	if last.Status != http.StatusOK {
		t.Fatalf("the last page: %d %s", last.Status, last.Body)
	}
	if code := regexp.MustCompile(`id="verifier"[^>]*>([^<]+)<`).FindStringSubmatch(last.Body); code != nil {
		return approval{Verifier: code[1]}
	}
	return approval{}
}

// asUser requests a page as a logged-in user, or sends its form.
func (srv *server) asUser(t *testing.T, method, address, user string, fields url.Values) reply {
	t.Helper()
	req, err := http.NewRequest(method, address, strings.NewReader(fields.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Test-User", user)
	if method == "POST" {
		req.Header.Set("Content-Type", formType)
		req.Header.Set("Origin", srv.origin())
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	return srv.mustDo(t, req)
}

var (
	inputTag  = regexp.MustCompile(`<input ([^>]*)>`)
	attribute = regexp.MustCompile(`([a-z]+)(?:="([^"]*)")?`)
)

// fillIn reads the form of the authorize page as a browser does, chooses the permission and presses
// Allow.
func fillIn(page, permission string) url.Values {
	fields := url.Values{}
	for _, tag := range inputTag.FindAllStringSubmatch(page, -1) {
		attributes := map[string]string{}
		for _, a := range attribute.FindAllStringSubmatch(tag[1], -1) {
			attributes[a[1]] = html.UnescapeString(a[2])
		}
		_, checked := attributes["checked"]
		if attributes["type"] != "radio" || checked {
			fields.Set(attributes["name"], attributes["value"])
		}
	}
	fields.Set("permission", permission)
	fields.Set("decision", "allow")
	return fields
}

func mustParse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
