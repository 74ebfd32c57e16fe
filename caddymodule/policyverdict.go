package caddymodule

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/command"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/policy"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// The results with exit status 1, besides errors. The output says why.
var (
	errRefused  = errors.New("the request is refused")
	errNoAnswer = errors.New("nothing answers the request")
	errRedirect = errors.New("the request is redirected")
)

func init() {
	command.Register(command.Policies{Imagine: imagined, Explain: explainPolicy}, offlineStores)
}

// explainPolicy says what a configuration decides about a request, at each server that the request
// reaches. It is the command `oauth1 policy`.
func explainPolicy(out io.Writer, config []byte, r *http.Request, caller command.Caller) error {
	id := policy.Subject{
		User:       caller.User,
		Consumer:   caller.Consumer,
		Permission: caller.Permission,
		Context:    caller.Context,
	}
	ctx, cancel, err := provisionWithoutSecrets(config)
	if err != nil {
		return err
	}
	defer cancel()
	app, err := ctx.App("http")
	if err != nil {
		return err
	}
	oauth, err := ctx.App("oauth1")
	if err == nil {
		err = oauth.(*App).checkCopied(app.(*caddyhttp.App))
	}
	if err != nil {
		return err
	}
	all, err := arrivals(app.(*caddyhttp.App), r)
	if err != nil {
		return err
	}
	var failed error
	for i, a := range all {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if len(all) > 1 || a.baseURL != nil {
			fmt.Fprintf(out, "server:  %s\n", a.describe())
		}
		failed = cmp.Or(failed, a.explain(out, id))
	}
	return failed
}

// explain says what one server does with the request.
func (a *arrival) explain(out io.Writer, id policy.Subject) error {
	h, r := a.judge, a.request
	switch {
	case h == nil && a.redirect != "":
		fmt.Fprintf(out, "answer:  308 to %s: ask about that URL\n", a.redirect)
		return errRedirect
	case h == nil && a.answers == "":
		fmt.Fprintln(out, "answer:  none: a site serves this host, but nothing in it answers this request")
		return errNoAnswer
	case h == nil:
		_, err := fmt.Fprintf(out,
			"passes: no oauth1 directive is on the way of this request, so nobody checks it; %s answers\n", a.answers)
		return err
	case a.problem == nil && h.endpointOf(r) != nil:
		_, err := fmt.Fprintf(out,
			"%s is an endpoint of the oauth1 directive itself: no policy decides about it\n", r.URL.Path)
		return err
	}
	problem := a.problem
	if problem == nil {
		problem = h.rules.CheckURL(r)
	}
	if problem != nil {
		fmt.Fprintf(out, "request: %s %s\n", r.Method, r.RequestURI)
		fmt.Fprintf(out, "answer:  %d %s\n", problem.Status, problem.Text)
		return errRefused
	}
	d := policy.Decision{Problem: h.imagine(&id), Reading: r}
	if d.Problem == nil {
		d = h.rules.Decide(r, &id)
	}
	if d.Policy == nil { // refused before any policy
		d.Number, d.Policy, _ = h.rules.Find(d.Reading)
	}
	fmt.Fprintf(out, "request: %s %s\n", r.Method, r.URL.RequestURI())
	if d.Reading != r {
		fmt.Fprintf(out, "reading: %s %s (as an upstream could take it)\n", d.Reading.Method, d.Reading.URL.RequestURI())
	}
	fmt.Fprintf(out, "who:     %s\n", id.Describe())
	if d.Policy == nil {
		fmt.Fprintf(out, "policy:  none of %d matches\n", len(h.Policies))
	} else {
		fmt.Fprintf(out, "policy:  %d of %d: %s\n", d.Number, len(h.Policies), d.Policy.Describe())
	}
	if d.Problem != nil {
		fmt.Fprintf(out, "answer:  %d %s\n", d.Problem.Status, d.Problem.Text)
		return errRefused
	}
	_, err := fmt.Fprintln(out, "answer:  passes to the upstream")
	return err
}

// provisionWithoutSecrets provisions the sites of a configuration. The secrets of its consumers may
// be missing.
func provisionWithoutSecrets(config []byte) (caddy.Context, context.CancelFunc, error) {
	var full caddy.Config
	if err := json.Unmarshal(config, &full); err != nil {
		return caddy.Context{}, nil, fmt.Errorf("reading the configuration: %w", err)
	}
	app := new(App)
	if raw := full.AppsRaw["oauth1"]; raw != nil {
		if err := json.Unmarshal(raw, app); err != nil {
			return caddy.Context{}, nil, fmt.Errorf("reading the oauth1 app: %w", err)
		}
	}
	app.StoreRaw = nil
	for _, c := range app.Consumers {
		if c != nil { // the app refuses a null
			c.Secret, c.RSAPublicKey, c.SignatureMethods = "none is needed", "", nil
		}
	}
	raw, err := json.Marshal(app)
	if err != nil {
		return caddy.Context{}, nil, err
	}
	reduced := &caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true},
		AppsRaw: caddy.ModuleMap{"oauth1": raw, "http": full.AppsRaw["http"]},
	}
	if reduced.AppsRaw["http"] == nil {
		return caddy.Context{}, nil, errors.New("the configuration has no sites")
	}
	ctx, err := caddy.ProvisionContext(reduced)
	if err != nil {
		return caddy.Context{}, nil, err
	}
	ctx, cancel := caddy.NewContext(ctx)
	return ctx, cancel, nil
}

// imagined makes a request that nobody sent: from this computer, and without headers.
func imagined(method, target string) (*http.Request, error) {
	r, err := http.NewRequest(method, target, nil)
	if err != nil {
		return nil, err
	}
	if r.Host == "" || (r.URL.Scheme != "http" && r.URL.Scheme != "https") {
		return nil, fmt.Errorf("%q: must be an http or https URL with a host", target)
	}
	if r.URL.Scheme == "https" {
		r.TLS = new(tls.ConnectionState)
	}
	path, query := oauth1.SplitTarget(target)
	if r.RequestURI = path; query != "" || r.URL.ForceQuery {
		r.RequestURI += "?" + query
	}
	r.RemoteAddr = "127.0.0.1:50000"
	r.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	if r.URL.Path == "" {
		r.URL.Path = "/"
	}
	return r, nil
}

// imagine completes an identity from its description, and refuses one that can't exist.
func (h *Handler) imagine(id *policy.Subject) *refusal.Problem {
	consumer, declared := h.app.declared[id.Consumer]
	if !declared {
		consumer = &tokenstore.Consumer{Key: id.Consumer}
	}
	if consumer.Expired(h.app.now()) {
		return refusal.ExpiredConsumer.About(id.Consumer)
	}
	if id.User == "" && consumer.TwoLegged != nil {
		id.User, id.Permission = consumer.TwoLegged.User, consumer.TwoLegged.Permission
	}
	if id.User != "" && !h.offers(consumer, id.Permission) {
		return refusal.PermissionWithdrawn.About(id.Permission)
	}
	return nil
}
