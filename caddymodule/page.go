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

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/pages"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func newApplicationView(c *tokenstore.Consumer) pages.Application {
	v := pages.Application{
		Key:            c.Key,
		Name:           c.Name,
		Homepage:       c.Homepage,
		Contact:        c.Contact,
		SelfRegistered: c.SelfRegistered,
		Anybody:        c.Secret == "" && c.RSAPublicKey == "",
	}
	if v.Name == "" {
		v.Name = c.Key
	}
	v.Initial = initial(v.Name)
	hash := fnv.New32a()
	hash.Write([]byte(c.Key))
	v.Hue = int(hash.Sum32() % 8)
	return v
}

// initial returns the first letter or digit of a name.
func initial(name string) string {
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return "?"
}

// A notice is a refusal that a person reads on a page, with what its texts need. The table in
// package refusal has all of them.
type notice struct {
	*refusal.Problem
	// arg is inserted into its texts, if not nil: a name, an error that has a text, or a phrase.
	arg any
	// link leads on. linkKey is the key of the link's text, into which linkArg may be inserted.
	link             template.URL
	linkKey, linkArg string
}

// newNotice returns the notice of a refusal in the table. It may get a link, which has a text of its
// own unless linkKey is set.
func newNotice(p *refusal.Problem) *notice { return &notice{Problem: p, linkKey: p.Notice + ".link"} }

// A phrase is the key of a text that is inserted into another text.
type phrase string

// A reasonError is an error that pages show in the reader's language: its format is a key of their
// catalogues. The arguments are texts and whole numbers.
type reasonError struct {
	format string
	args   []any
}

// Error returns the reason in English.
func (e *reasonError) Error() string { return fmt.Sprintf(e.format, e.args...) }

func reason(format string, args ...any) error { return &reasonError{format, args} }

// about gives the notice a value for its texts, and returns it.
func (n *notice) about(arg any) *notice {
	if name, ok := arg.(string); ok {
		arg = refusal.Printable(name)
	}
	n.arg = arg
	return n
}

// to gives the notice a link, which must be safe to follow, and returns it.
func (n *notice) to(link string) *notice {
	n.link = template.URL(link)
	return n
}

// storeNotice returns the notice for an error of the store. Such refusals have no page.
func storeNotice(err error) *notice { return &notice{Problem: refusal.Store.Because(err)} }

// unrecordedNotice returns the notice for a change that the audit trail could not take.
func unrecordedNotice(err error) *notice { return &notice{Problem: refusal.Unrecorded.Because(err)} }

// args returns the arguments of its texts in a language. asName formats the names among them.
func (n *notice) args(l *pages.Language, asName func(string) any) []any {
	switch arg := n.arg.(type) {
	case string:
		return []any{asName(arg)}
	case phrase:
		return []any{l.Plain(string(arg))}
	case error:
		return []any{inLanguage(l, arg)}
	}
	return nil
}

// view returns the page of the notice in a language.
func (n *notice) view(l *pages.Language) (view pages.Message, err error) {
	args := n.args(l, func(name string) any { return pages.Name(name) })
	for _, text := range []struct {
		value *template.HTML
		key   string
	}{{&view.Title, "title"}, {&view.Text, "text"}, {&view.Advice, "advice"}} {
		if *text.value, err = l.Text("notice."+n.Notice+"."+text.key, args...); err != nil {
			return view, err
		}
	}
	if n.link != "" {
		view.Link = n.link
		view.LinkText, err = l.Text("notice."+n.linkKey, pages.Name(n.linkArg))
	}
	return view, err
}

// problem returns the notice for the operator, whose logs and placeholders are English.
func (n *notice) problem(l *pages.Language) *refusal.Problem {
	english, p := l.English(), *n.Problem
	args := n.args(english, func(name string) any { return name })
	p.Text = english.Plain("notice."+n.Notice+".text", args...)
	return &p
}

// inLanguage returns an error in a language, or in English if there is no translation.
func inLanguage(l *pages.Language, err error) any {
	if known := new(reasonError); errors.As(err, &known) {
		if text, err := l.Text(known.format, known.args...); err == nil {
			return text
		}
	}
	return err.Error()
}

// language returns the language of the pages that the browser gets.
func (h *Handler) language(r *http.Request) *pages.Language {
	return h.Pages.set.Language(r.Header["Accept-Language"])
}

// levelText returns the title and description of a level in a language. Levels that the operator
// declared are not translated.
func levelText(
	levels *policy.Levels, language *pages.Language, level policy.PermissionLevel,
) (title, description string) {
	if !levels.Builtin {
		return level.Title, level.Description
	}
	key := "level." + level.Name
	return language.Plain(key + ".title"), language.Plain(key + ".description")
}

// show answers with a page. formTarget is the source that the Content-Security-Policy allows the
// page's form to lead to, or empty if there is none.
func (h *Handler) show(
	w http.ResponseWriter, r *http.Request, status int, user string, page any, formTarget string,
) error {
	site := h.Pages.Name
	if site == "" {
		site = h.origin(r).host
	}
	var tokens string
	if list := h.endpoint(endpointTokens); h.endpointOf(r) != list {
		tokens = h.linkTo(r, list)
	}
	language := h.language(r)
	var body bytes.Buffer
	err := h.Pages.set.Render(&body, language, pages.View{
		Site:    site,
		Initial: initial(site),
		User:    user,
		Tokens:  tokens,
		Page:    page,
	})
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	header := w.Header()
	h.protect(header)
	header.Set("Content-Language", language.Tag())
	if h.Pages.set.Varies() {
		header.Add("Vary", "Accept-Language")
	}
	policy := h.Pages.set.ContentSecurityPolicy() + "; form-action 'self' " + formTarget
	header.Set("Content-Security-Policy", strings.TrimSuffix(policy, " "))
	return h.answer(w, status, "text/html; charset=utf-8", body.Bytes())
}

// protect sets the headers of every answer of a page. The Referrer-Policy keeps the referrer within
// the site. It does not suppress it: without a referrer, a browser sends "Origin: null" with the
// form.
func (h *Handler) protect(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "same-origin")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("X-Content-Type-Options", "nosniff")
}

// leave redirects the browser after a form (RFC 9110 section 15.4.4). The redirect has no page.
func (h *Handler) leave(w http.ResponseWriter, location string) error {
	header := w.Header()
	h.protect(header)
	header.Set("Location", location)
	header.Set("Content-Length", "0")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// refusePage answers with the page of a notice, and reports the refusal to the operator.
func (h *Handler) refusePage(w http.ResponseWriter, r *http.Request, endpoint, user string, n *notice) error {
	if n.Notice == "" {
		return h.refuse(w, r, endpoint, n.Problem)
	}
	language := h.language(r)
	h.events.refused(r, endpoint, nil, n.problem(language), "")
	view, err := n.view(language)
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	return h.show(w, r, n.Status, user, view, "")
}

// openPage starts both pages: it finds the logged-in user and the store.
func (h *Handler) openPage(r *http.Request) (string, tokenstore.Store, *refusal.Problem) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		return "", nil, refusal.MethodNotAllowed
	}
	// If any placeholder is empty, nobody is logged in, whatever the text around it.
	user, err := replacer(r).ReplaceOrErr(h.User, true, true)
	if err == nil {
		err = checkText("user", user)
	}
	if err != nil {
		return "", nil, refusal.LoginRequired.Because(err)
	}
	store, err := h.app.openMetered(r.Context())
	if err != nil {
		return "", nil, refusal.Store.Because(err)
	}
	return user, store, nil
}

// readForm reads a form that a page sent. It checks that the browser says that the form comes from
// this page. The caller must check the CSRF token, which is bound to the form's subject.
func (h *Handler) readForm(w http.ResponseWriter, r *http.Request) (url.Values, *notice) {
	seen, public := *r, h.origin(r)
	seen.Host = strings.TrimSuffix(strings.ToLower(public.host), defaultPorts[public.scheme])
	if err := h.csrf.Check(&seen); err != nil {
		return nil, newNotice(refusal.PageCrossOrigin)
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, newNotice(refusal.PageForm)
	}
	r.Body = http.MaxBytesReader(w, r.Body, h.MaxFormBody)
	if err := r.ParseForm(); err != nil {
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			return nil, newNotice(refusal.PageFormTooLarge)
		}
		return nil, newNotice(refusal.PageForm)
	}
	dropBody(r) // it was read: an error route must not announce its length to an upstream
	return r.PostForm, nil
}

// defaultPorts are the ports that browsers omit in Origin. Browsers write its host in lower case.
var defaultPorts = map[string]string{"http": ":80", "https": ":443"}

// formLifetime is how long a form can be sent after its page was shown.
const formLifetime = time.Hour

// csrfToken proves that this server showed the user a form about the parts. The token expires.
func (h *Handler) csrfToken(parts ...string) string {
	expires := strconv.FormatInt(h.app.now().Add(formLifetime).Unix(), 10)
	return expires + "." + h.proof("form", append(parts, expires)...)
}

// csrfValid reports whether csrfToken made the token for the same parts.
func (h *Handler) csrfValid(token string, parts ...string) bool {
	text, proof, _ := strings.Cut(token, ".")
	if !h.proofValid(proof, "form", append(parts, text)...) {
		return false
	}
	expires, err := strconv.ParseInt(text, 10, 64)
	return err == nil && h.app.now().Unix() < expires
}

// proof returns a MAC over the parts that only the servers of this store can make.
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
