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
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
	maphandler "github.com/caddyserver/caddy/v2/modules/caddyhttp/map"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

func policyCommand() *cobra.Command {
	var id Identity
	cmd := &cobra.Command{
		Use:   "policy <method> <url> [--consumer <key>] [--user <name> --permission <level>] [--context <name>]",
		Short: "Tells which policy decides about a request, and what it decides",
		Long: `
Tells which policy of a configuration decides about a request, and what it
decides, without a running Caddy, a store or a secret: so that policies can be
tested before they are loaded.

The request is anonymous unless --user and --permission say whom it acts for,
or --consumer names a declared consumer with two_legged. Matchers and rewrites
see a request with this method and URL, without other headers, from 127.0.0.1.

The exit status is 0 where the request passes, and 1 where it is refused, or
where no site listens on its port.`,
		Example: `  $ caddy oauth1 policy GET https://api.example.com/admin/users --consumer ops-1 --user alice --permission READ_PRIVATE
  $ caddy oauth1 policy DELETE https://api.example.com/items/1 || echo refused`,
		Args: cobra.ExactArgs(2),
	}
	flags := cmd.Flags()
	flags.StringP("config", "c", "", "Configuration file (default: Caddyfile in this folder)")
	flags.StringP("adapter", "a", "", "Name of config adapter to apply")
	flags.StringVar(&id.Consumer, "consumer", "", "The consumer that signs")
	flags.StringVar(&id.User, "user", "", "The user whom the access token acts for")
	flags.StringVar(&id.Permission, "permission", "", "The level of the access token")
	flags.StringVar(&id.Context, "context", "", "The context that the access token is limited to")
	cmd.MarkFlagsRequiredTogether("user", "permission")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if id.Context != "" && id.User == "" {
			return errors.New("--context needs --user and --permission: it belongs to an access token")
		}
		config, _, _, err := caddycmd.LoadConfig(flagText(cmd, "config"), flagText(cmd, "adapter"))
		if err != nil {
			return err
		}
		if config == nil {
			return errors.New("there is no Caddyfile in this folder; name a configuration with --config")
		}
		r, err := imagined(args[0], args[1])
		if err != nil {
			return err
		}
		return explainPolicy(cmd.OutOrStdout(), config, r, id)
	}
	return cmd
}

// errRefused makes the exit status of a request that a policy refuses.
var errRefused = errors.New("the request is refused")

// explainPolicy says what a configuration thinks of a request.
func explainPolicy(out io.Writer, config []byte, r *http.Request, id Identity) error {
	ctx, cancel, err := provisionWithoutSecrets(config)
	if err != nil {
		return err
	}
	defer cancel()
	app, err := ctx.App("http")
	if err != nil {
		return err
	}
	h, r, err := findOnTheWay(app.(*caddyhttp.App), r)
	if err != nil {
		return err
	}
	if h == nil {
		_, err := fmt.Fprintln(out, "passes: no oauth1 directive is on the way of this request, so nobody checks it")
		return err
	}
	if h.serve[r.URL.Path] != nil {
		_, err := fmt.Fprintf(out, "%s is an endpoint of the oauth1 directive itself: no policy decides about it\n", r.URL.Path)
		return err
	}
	decided, problem := r, h.imagine(&id)
	if problem == nil {
		decided, problem = h.permitReadings(r, id)
	}
	number, policy, _ := h.policyOf(decided)
	fmt.Fprintf(out, "request: %s %s\n", r.Method, r.URL.RequestURI())
	if decided != r {
		fmt.Fprintf(out, "reading: %s %s (as an upstream could take it)\n", decided.Method, decided.URL.RequestURI())
	}
	fmt.Fprintf(out, "who:     %s\n", id.describe())
	if policy == nil {
		fmt.Fprintf(out, "policy:  none of %d matches\n", len(h.Policies))
	} else {
		fmt.Fprintf(out, "policy:  %d of %d: %s\n", number, len(h.Policies), policy.describe())
	}
	if problem != nil {
		fmt.Fprintf(out, "answer:  %d %s\n", problem.Status, problem.Text)
		return errRefused
	}
	_, err = fmt.Fprintln(out, "answer:  passes to the upstream")
	return err
}

// provisionWithoutSecrets provisions the sites of a configuration, with consumers whose secrets need not be there.
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
		c.Secret, c.RSAPublicKey, c.SignatureMethods = "none is needed", "", nil
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

// imagined makes a request that nobody sent.
func imagined(method, target string) (*http.Request, error) {
	r, err := http.NewRequest(strings.ToUpper(method), target, nil)
	if err != nil {
		return nil, err
	}
	if r.Host == "" || (r.URL.Scheme != "http" && r.URL.Scheme != "https") {
		return nil, fmt.Errorf("%q: must be an http or https URL with a host", target)
	}
	if r.URL.Scheme == "https" {
		r.TLS = new(tls.ConnectionState)
	}
	r.RequestURI = r.URL.RequestURI()
	r.RemoteAddr = "127.0.0.1:50000"
	r.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	if r.URL.Path == "" {
		r.URL.Path = "/"
	}
	return r, nil
}

// findOnTheWay walks the routes as the request would, and returns the oauth1 handler that it meets first, and the request
// as it is by then.
func findOnTheWay(app *caddyhttp.App, r *http.Request) (*Handler, *http.Request, error) {
	port := cmp.Or(app.HTTPPort, caddyhttp.DefaultHTTPPort)
	if r.TLS != nil {
		port = cmp.Or(app.HTTPSPort, caddyhttp.DefaultHTTPSPort)
	}
	if u, err := url.Parse("//" + r.Host); err == nil && u.Port() != "" {
		if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
			port = int(n)
		}
	}
	for _, server := range app.Servers {
		listens := slices.ContainsFunc(server.Listen, func(address string) bool {
			parsed, err := caddy.ParseNetworkAddress(address)
			return err == nil && parsed.StartPort <= uint(port) && uint(port) <= parsed.EndPort
		})
		if !listens {
			continue
		}
		original := *r.URL
		ctx := context.WithValue(r.Context(), caddyhttp.ServerCtxKey, server)
		ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any))
		ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, http.Request{
			Method: r.Method, RequestURI: r.RequestURI, RemoteAddr: r.RemoteAddr, URL: &original,
		})
		r = r.WithContext(ctx)
		caddyhttp.NewTestReplacer(r)
		h, _ := walk(server.Routes, r)
		return h, r, nil
	}
	return nil, nil, fmt.Errorf("no site of this configuration listens on port %d", port)
}

// walk follows a list of routes; ended says that the request goes no further than where it is.
func walk(routes caddyhttp.RouteList, r *http.Request) (found *Handler, ended bool) {
	groups := make(map[string]bool)
	for _, route := range routes {
		matched, err := route.MatcherSets.AnyMatchWithError(r)
		if err != nil || !matched || (route.Group != "" && groups[route.Group]) {
			continue
		}
		groups[route.Group] = true
		for _, handler := range route.Handlers {
			if found, ended = step(handler, r); found != nil || ended {
				return found, ended
			}
		}
		if route.Terminal {
			return nil, true
		}
	}
	return nil, false
}

// step takes the request through one handler, if that changes what policies see. The others are taken to let it pass.
func step(handler caddyhttp.MiddlewareHandler, r *http.Request) (found *Handler, ended bool) {
	nobody := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	switch handler := handler.(type) {
	case *Handler:
		return handler, true
	case *caddyhttp.Subroute:
		return walk(handler.Routes, r)
	case *rewrite.Rewrite, *caddyhttp.VarsMiddleware, *maphandler.Handler:
		return nil, handler.ServeHTTP(nil, r, nobody) != nil
	case *caddyhttp.Invoke:
		server := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
		if route, ok := server.NamedRoutes[handler.Name]; ok {
			return walk(caddyhttp.RouteList{*route}, r)
		}
		return nil, true
	case *reverseproxy.Handler:
		return nil, len(handler.HandleResponse) == 0 // forward_auth is one that goes on after some answers
	case *fileserver.FileServer:
		return nil, !handler.PassThru
	case *caddyhttp.StaticResponse, *caddyhttp.StaticError:
		return nil, true
	}
	return nil, false
}

// imagine completes an identity that was only described, and refuses one that could not be.
func (h *Handler) imagine(id *Identity) *Problem {
	consumer, declared := h.app.declared[id.Consumer]
	if !declared {
		consumer = &tokenstore.Consumer{Key: id.Consumer}
	}
	if consumer.Expired(h.app.now()) {
		return problemExpiredConsumer.about(id.Consumer)
	}
	if id.User == "" && consumer.TwoLegged != nil {
		id.User, id.Permission = consumer.TwoLegged.User, consumer.TwoLegged.Permission
	}
	if id.User != "" && !h.offers(consumer, id.Permission) {
		return problemPermissionWithdrawn.about(id.Permission)
	}
	return nil
}

func (id *Identity) describe() string {
	if id.Anonymous() {
		return "nobody (anonymous)"
	}
	text := fmt.Sprintf("user %s with %s", id.User, id.Permission)
	if id.Consumer != "" {
		text += ", by consumer " + id.Consumer
	}
	if id.Context != "" {
		text += ", in context " + id.Context
	}
	return text
}

// describe says what a policy asks for, in the words of the Caddyfile.
func (p *Policy) describe() string {
	var words []string
	if p.Anonymous {
		words = append(words, "anonymous")
	}
	if p.Deny {
		words = append(words, "deny")
	}
	if len(p.Consumers) > 0 {
		words = append(words, "consumers "+strings.Join(p.Consumers, " "))
	}
	if len(p.Users) > 0 {
		words = append(words, "users "+strings.Join(p.Users, " "))
	}
	for _, rule := range p.Permissions {
		words = append(words, strings.Join(append(append([]string{"permission"}, rule.Methods...), rule.Permission), " "))
	}
	if p.Context != "" {
		words = append(words, "context "+p.Context)
	}
	return strings.Join(words, "; ")
}
