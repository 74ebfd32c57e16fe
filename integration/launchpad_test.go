package integration

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A launchpad is a web service like Launchpad's, as far as launchpadlib needs one: the service root
// and its WADL, and people that clients can find, change and create. It knows nothing of OAuth and
// believes the identity headers.
type launchpad struct {
	*httptest.Server
	wadl string

	mu       sync.Mutex
	people   map[string]string   // name -> display name
	identity []string            // "USER PERMISSION CONTEXT METHOD PATH" of each request
	cases    map[string]received // requests with an X-Case header, by its value
}

func newLaunchpad(t testing.TB) *launchpad {
	t.Helper()
	wadl, err := os.ReadFile("testdata/launchpad/application.wadl")
	if err != nil {
		t.Fatal(err)
	}
	lp := &launchpad{wadl: string(wadl), people: map[string]string{"salgado": "Guilherme Salgado", "mark": "Mark"},
		cases: map[string]received{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /1.0/{$}", lp.serveRoot)
	mux.HandleFunc("GET /1.0/people", lp.servePeople)
	mux.HandleFunc("POST /1.0/people", lp.serveNewTeam)
	mux.HandleFunc("GET /1.0/people/+me", lp.serveMe)
	mux.HandleFunc("GET /1.0/{person}", lp.servePerson)
	mux.HandleFunc("PATCH /1.0/{person}", lp.changePerson)
	lp.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := r.Header.Get("X-Case"); name != "" {
			body, _ := readBody(r)
			lp.mu.Lock()
			defer lp.mu.Unlock()
			lp.cases[name] = received{Method: r.Method, URI: r.RequestURI, Header: r.Header, Body: body}
			writeJSON(w, http.StatusOK, object{})
			return
		}
		lp.mu.Lock()
		defer lp.mu.Unlock()
		lp.identity = append(lp.identity, strings.Join([]string{
			r.Header.Get("X-OAuth-User"), r.Header.Get("X-OAuth-Permission"), r.Header.Get("X-OAuth-Context"),
			r.Method, r.URL.Path,
		}, " "))
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(lp.Close)
	return lp
}

// heard returns the request that had the X-Case header.
func (lp *launchpad) heard(name string) received {
	lp.mu.Lock()
	defer lp.mu.Unlock()
	return lp.cases[name]
}

// saw reports whether a request came with that identity.
func (lp *launchpad) saw(line string) bool {
	lp.mu.Lock()
	defer lp.mu.Unlock()
	return slices.Contains(lp.identity, line)
}

func (lp *launchpad) displayName(name string) string {
	lp.mu.Lock()
	defer lp.mu.Unlock()
	return lp.people[name]
}

func root(r *http.Request) string { return "http://" + r.Host + "/1.0/" }

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func (lp *launchpad) serveRoot(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.Header.Get("Accept"), "application/vnd.sun.wadl+xml") {
		w.Header().Set("Content-Type", "application/vnd.sun.wadl+xml")
		io.WriteString(w, strings.ReplaceAll(lp.wadl, "@ROOT@", root(r)))
		return
	}
	writeJSON(w, http.StatusOK, object{
		"resource_type_link":     root(r) + "#service-root",
		"me_link":                root(r) + "people/+me",
		"people_collection_link": root(r) + "people",
	})
}

func (lp *launchpad) serveMe(w http.ResponseWriter, r *http.Request) {
	user := r.Header.Get("X-OAuth-User")
	if user == "" {
		http.Error(w, "You need to be logged in to view this URL.", http.StatusUnauthorized)
		return
	}
	http.Redirect(w, r, root(r)+"~"+user, http.StatusSeeOther)
}

func (lp *launchpad) person(r *http.Request, name string) object {
	o := object{
		"self_link":          root(r) + "~" + name,
		"resource_type_link": root(r) + "#person",
		"name":               name,
		"display_name":       lp.people[name],
	}
	sum := sha256.Sum256([]byte(name + "\x00" + lp.people[name]))
	o["http_etag"] = fmt.Sprintf("%q", fmt.Sprintf("%x", sum[:8]))
	return o
}

// named returns the person in the path, or answers 404.
func (lp *launchpad) named(w http.ResponseWriter, r *http.Request) (string, bool) {
	name, tilde := strings.CutPrefix(r.PathValue("person"), "~")
	if _, ok := lp.people[name]; !ok || !tilde {
		http.NotFound(w, r)
		return "", false
	}
	return name, true
}

func (lp *launchpad) servePerson(w http.ResponseWriter, r *http.Request) {
	name, ok := lp.named(w, r)
	if !ok {
		return
	}
	o := lp.person(r, name)
	etag := o["http_etag"].(string)
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	writeJSON(w, http.StatusOK, o)
}

func (lp *launchpad) changePerson(w http.ResponseWriter, r *http.Request) {
	name, ok := lp.named(w, r)
	if !ok {
		return
	}
	if r.Header.Get("X-OAuth-User") != name {
		http.Error(w, "Not yours.", http.StatusUnauthorized)
		return
	}
	if r.Header.Get("If-Match") != lp.person(r, name)["http_etag"] {
		http.Error(w, "Changed meanwhile.", http.StatusPreconditionFailed)
		return
	}
	var change struct {
		DisplayName string `json:"display_name"`
	}
	if err := json.NewDecoder(r.Body).Decode(&change); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	lp.people[name] = change.DisplayName
	o := lp.person(r, name)
	w.Header().Set("ETag", o["http_etag"].(string))
	writeJSON(w, 209, o) // "Content Returned", lazr.restful's own
}

func (lp *launchpad) servePeople(w http.ResponseWriter, r *http.Request) {
	entries := []object{}
	for name, display := range lp.people {
		if strings.Contains(display, argument(r, "text")) {
			entries = append(entries, lp.person(r, name))
		}
	}
	slices.SortFunc(entries, func(a, b object) int { return strings.Compare(a["name"].(string), b["name"].(string)) })
	writeJSON(w, http.StatusOK, object{
		"resource_type_link": root(r) + "#people", "total_size": len(entries), "start": 0, "entries": entries,
	})
}

func (lp *launchpad) serveNewTeam(w http.ResponseWriter, r *http.Request) {
	name := argument(r, "name")
	if r.PostFormValue("ws.op") != "newTeam" || name == "" {
		http.Error(w, "No such operation.", http.StatusBadRequest)
		return
	}
	lp.people[name] = argument(r, "display_name")
	w.Header().Set("Location", root(r)+"~"+name)
	w.WriteHeader(http.StatusCreated)
}

// argument returns an argument of a named operation. lazr.restful's clients send it as JSON in a
// query or form.
func argument(r *http.Request, name string) string {
	var value string
	if json.Unmarshal([]byte(r.FormValue(name)), &value) != nil {
		return ""
	}
	return value
}
