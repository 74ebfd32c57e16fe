package caddymodule

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"html/template"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// pageFuncs are the functions that templates have beside Go's own.
var pageFuncs = template.FuncMap{
	"date":    func(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04 UTC") },
	"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
}

// A pageView is what a template gets.
type pageView struct {
	file string

	Site    string // how the site is called
	Initial string // its first letter
	Logo    template.URL
	Style   template.CSS
	User    string // who is logged in
	Tokens  string // link to the list of grants; empty on that page
	// What the page is about, by its file: an authorizeView, a doneView, a messageView or a tokensView.
	Page any
}

// A messageView is the page of a refusal.
type messageView struct {
	Title, Text, Advice string
	// Link leads on, if there is anywhere to go; LinkText says where.
	Link, LinkText string
}

// An applicationView is a consumer as the pages show it.
type applicationView struct {
	Key, Name, Homepage string
	// Initial and Hue (0 to 7) stand for the logo that an application has not got.
	Initial string
	Hue     int
	// SelfRegistered says that nobody has looked at the consumer: it came by itself.
	SelfRegistered bool
}

func newApplicationView(c *tokenstore.Consumer) applicationView {
	v := applicationView{Key: c.Key, Name: c.Name, Homepage: c.Homepage, SelfRegistered: c.SelfRegistered}
	if v.Name == "" {
		v.Name = c.Key
	}
	v.Initial = initial(v.Name)
	hash := fnv.New32a()
	hash.Write([]byte(c.Key))
	v.Hue = int(hash.Sum32() % 8)
	return v
}

// initial is the first letter or digit of a name.
func initial(name string) string {
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return "?"
}

// A notice is a refusal that a person reads: its Text says what happened, its advice what to do.
type notice struct {
	*Problem
	title, advice  string
	link, linkText string
}

var (
	noticeCrossOrigin = &notice{
		Problem: &Problem{Status: 403, Reason: "cross_origin", Text: "The form was sent by another website, not by this page. Nothing was changed."},
		title:   "This did not come from our page",
		advice:  "If you did not expect to be here, somebody may have tried to decide in your name. You can close this page.",
	}
	noticeForm = &notice{
		Problem: &Problem{Status: 400, Reason: "form_malformed", Text: "The form could not be read. Nothing was changed."},
		title:   "Something is missing",
		advice:  "Go back, reload the page and try again.",
	}
	noticeFormTooLarge = &notice{
		Problem: &Problem{Status: 413, Reason: "body_too_large", Text: "The form is too large to be read. Nothing was changed."},
		title:   "Too much",
		advice:  "Go back, reload the page and try again.",
	}
	noticeStale = &notice{
		Problem:  &Problem{Status: 403, Reason: "csrf_invalid", Text: "The page was open for too long, belongs to somebody else who was logged in, or was changed. Nothing was changed on the server."},
		title:    "Please look again",
		advice:   "Reload the page and decide again.",
		linkText: "Reload the page",
	}
)

// about returns the notice with the value that its text names.
func (n *notice) about(value string) *notice {
	named := *n
	named.Problem = n.Problem.about(value)
	return &named
}

// to returns the notice with another link.
func (n *notice) to(link string) *notice {
	linked := *n
	linked.link = link
	return &linked
}

// storeNotice is for an error of the store: such refusals are no page.
func storeNotice(err error) *notice { return &notice{Problem: problemStore.because(err)} }

// show answers with a page. A form on it may lead to formTarget, a source of the Content-Security-Policy, if there is one.
func (h *Handler) show(w http.ResponseWriter, r *http.Request, status int, file, user string, page any, formTarget string) error {
	site := h.Pages.Name
	if site == "" {
		site = h.origin(r).host
	}
	var tokens string
	if list := h.endpoint(endpointTokens); h.endpointOf(r) != list {
		tokens = h.linkTo(r, list)
	}
	var body bytes.Buffer
	err := h.Pages.templates[file].Execute(&body, &pageView{
		Site:    site,
		Initial: initial(site),
		Logo:    h.Pages.logo,
		Style:   h.Pages.style,
		User:    user,
		Tokens:  tokens,
		Page:    page,
	})
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, fmt.Errorf("page %s: %w", file, err))
	}
	header := w.Header()
	h.protect(header)
	header.Set("Content-Security-Policy", strings.TrimSuffix(h.Pages.policy+"; form-action 'self' "+formTarget, " "))
	return h.answer(w, status, "text/html; charset=utf-8", body.Bytes())
}

// protect sets what every answer of a page carries. The referrer stays within the site, but does exist: without one, a
// browser sends "Origin: null" with the form.
func (h *Handler) protect(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "same-origin")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("X-Content-Type-Options", "nosniff")
}

// leave sends the browser elsewhere after a form (RFC 9110 section 15.4.4), and shows nothing on the way.
func (h *Handler) leave(w http.ResponseWriter, location string) error {
	header := w.Header()
	h.protect(header)
	header.Set("Location", location)
	header.Set("Content-Length", "0")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// refusePage answers with the page of a notice, and tells the operator.
func (h *Handler) refusePage(w http.ResponseWriter, r *http.Request, endpoint, user string, n *notice) error {
	if n.title == "" {
		return h.refuse(w, r, endpoint, n.Problem)
	}
	h.metrics.refused(endpoint, n.Reason)
	h.logRefusal(r, endpoint, n.Problem)
	return h.show(w, r, n.Status, pageMessage, user, messageView{
		Title: n.title, Text: n.Text, Advice: n.advice, Link: n.link, LinkText: n.linkText,
	}, "")
}

// openPage is the beginning of both pages: who is logged in, and the store.
func (h *Handler) openPage(r *http.Request) (string, tokenstore.Store, *Problem) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		return "", nil, problemMethodNotAllowed
	}
	// A placeholder that is empty is nobody, whatever text stands around it.
	user, err := replacer(r).ReplaceOrErr(h.User, true, true)
	if err == nil {
		err = checkText("user", user)
	}
	if err != nil {
		return "", nil, problemLoginRequired.because(err)
	}
	store, err := h.app.open(r.Context())
	if err != nil {
		return "", nil, problemStore.because(err)
	}
	return user, store, nil
}

// readForm reads what a page's form sent. It must come from the page itself: the browser's word on that is asked for
// first, and the bound CSRF token is for the caller to check.
func (h *Handler) readForm(w http.ResponseWriter, r *http.Request) (url.Values, *notice) {
	seen, public := *r, h.origin(r)
	seen.Host = strings.TrimSuffix(strings.ToLower(public.host), defaultPorts[public.scheme])
	if err := h.csrf.Check(&seen); err != nil {
		return nil, noticeCrossOrigin
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, noticeForm
	}
	r.Body = http.MaxBytesReader(w, r.Body, h.MaxFormBody)
	if err := r.ParseForm(); err != nil {
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			return nil, noticeFormTooLarge
		}
		return nil, noticeForm
	}
	return r.PostForm, nil
}

// defaultPorts are what a browser leaves out of Origin, in which it writes the host in lower case.
var defaultPorts = map[string]string{"http": ":80", "https": ":443"}

// formLifetime is how long a page's form may be sent.
const formLifetime = time.Hour

// csrfToken proves that this server showed a form about the parts to the user, until it expires.
func (h *Handler) csrfToken(parts ...string) string {
	expires := strconv.FormatInt(h.app.now().Add(formLifetime).Unix(), 10)
	return expires + "." + h.proof("form", append(parts, expires)...)
}

// csrfValid reports whether csrfToken made the token, for the same parts.
func (h *Handler) csrfValid(token string, parts ...string) bool {
	text, proof, _ := strings.Cut(token, ".")
	if !h.proofValid(proof, "form", append(parts, text)...) {
		return false
	}
	expires, err := strconv.ParseInt(text, 10, 64)
	return err == nil && h.app.now().Unix() < expires
}

// proof is a MAC over the parts that nothing but this store's servers can make.
func (h *Handler) proof(purpose string, parts ...string) string {
	key := hmac.New(sha256.New, h.app.secret[:])
	key.Write([]byte("caddy-oauth1 pages"))
	mac := hmac.New(sha256.New, key.Sum(nil))
	for _, part := range append([]string{purpose}, parts...) {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write([]byte(part))
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (h *Handler) proofValid(proof, purpose string, parts ...string) bool {
	return hmac.Equal([]byte(proof), []byte(h.proof(purpose, parts...)))
}
