package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// A Problem is a refusal: what the client is told, and under which name the operator finds it.
type Problem struct {
	// Status is the HTTP status. A 401 gets a WWW-Authenticate challenge, a 503 a Retry-After.
	Status int
	// Text is the whole body of a text/plain answer. Clients compare it: Launchpad's renews its credentials on some.
	Text string
	// Word is what the OAuth Problem Reporting extension calls it (oauth_problem), for JSON answers.
	Word string
	// Reason is the log field and the metric label; every problem has one of a fixed few.
	Reason string
	// Kind says what the refusal is about. Most are about the client's request.
	Kind Kind
	// Consumer and Token are the keys that the request named, and Parameter is the OAuth parameter that is
	// absent or rejected; each is empty where there is none.
	Consumer, Token, Parameter string
	// AcceptableTimestamps is the range outside of which the timestamp lies, as "lowest-highest"; else empty.
	AcceptableTimestamps string
	// Cause is for the operator's log only.
	Cause error
}

// A Kind says what a refusal is about, and so what follows from it, whatever its status and text.
type Kind uint8

const (
	// KindClient: the request is malformed, or proves nothing.
	KindClient Kind = iota
	// KindPolicy: the request is understood and proved, and not allowed.
	KindPolicy
	// KindLimit: the request is one too many; later it may pass.
	KindLimit
	// KindStore: the token store did not do its work. Nothing is known of the request, and nobody but
	// the operator can help.
	KindStore
)

// The refusals of API requests.
var (
	problemCredentialsRequired = &Problem{Status: 401, Text: "OAuth credentials required.", Word: "parameter_absent", Reason: "credentials_required", Parameter: "oauth_consumer_key"}
	problemTokenRequired       = &Problem{Status: 401, Text: "An access token is required: this consumer can not act without one.", Word: "parameter_absent", Reason: "token_absent", Parameter: "oauth_token"}
	problemInvalidSignature    = &Problem{Status: 401, Text: "Invalid signature.", Word: "signature_invalid", Reason: "signature_invalid"}
	problemNonceUsed           = &Problem{Status: 401, Text: "This nonce has been used already.", Word: "nonce_used", Reason: "nonce_used"}
	problemTimestamp           = &Problem{Status: 401, Text: "Timestamp appears to come from bad system clock.", Word: "timestamp_refused", Reason: "timestamp_refused", Parameter: "oauth_timestamp"}
	problemUnknownConsumer     = &Problem{Status: 401, Text: "Unknown consumer (%s).", Word: "consumer_key_unknown", Reason: "consumer_unknown"}
	problemDisabledConsumer    = &Problem{Status: 401, Text: "Disabled consumer (%s).", Word: "consumer_key_rejected", Reason: "consumer_disabled"}
	problemExpiredConsumer     = &Problem{Status: 401, Text: "Expired consumer (%s).", Word: "consumer_key_rejected", Reason: "consumer_expired"}
	problemUnknownToken        = &Problem{Status: 401, Text: "Unknown access token (%s).", Word: "token_rejected", Reason: "token_unknown"}
	problemExpiredToken        = &Problem{Status: 401, Text: "Expired token (%s).", Word: "token_expired", Reason: "token_expired"}
	problemNoPolicy            = &Problem{Status: 403, Text: "No policy allows this request.", Word: "permission_denied", Reason: "policy_none", Kind: KindPolicy}
	problemReadings            = &Problem{Status: 403, Text: "This request can be read in too many ways to be judged.", Word: "permission_denied", Reason: "readings_too_many", Kind: KindPolicy}
	problemMatcher             = &Problem{Status: 403, Text: "No policy could be found for this request.", Word: "permission_denied", Reason: "matcher_failed", Kind: KindPolicy}
	problemDenied              = &Problem{Status: 403, Text: "This request is denied.", Word: "permission_denied", Reason: "policy_deny", Kind: KindPolicy}
	problemConsumerDenied      = &Problem{Status: 403, Text: "This consumer may not make this request.", Word: "permission_denied", Reason: "policy_consumer", Kind: KindPolicy}
	problemUserDenied          = &Problem{Status: 403, Text: "This user may not make this request.", Word: "permission_denied", Reason: "policy_user", Kind: KindPolicy}
	problemContextDenied       = &Problem{Status: 403, Text: "The access token was granted for another context.", Word: "permission_denied", Reason: "policy_context", Kind: KindPolicy}
	problemPermissionWithdrawn = &Problem{Status: 403, Text: "The permission %s is not accepted here.", Word: "permission_denied", Reason: "permission_withdrawn", Kind: KindPolicy}
	problemPermissionDenied    = &Problem{Status: 403, Text: "This request needs the permission %s.", Word: "permission_denied", Reason: "policy_permission", Kind: KindPolicy}
)

// The refusals of the endpoints.
var (
	problemEndpointNoConsumer      = &Problem{Status: 401, Text: "No consumer key specified.", Word: "parameter_absent", Reason: "consumer_absent", Parameter: "oauth_consumer_key"}
	problemEndpointUnknownConsumer = &Problem{Status: 401, Text: "Unknown consumer.", Word: "consumer_key_unknown", Reason: "consumer_unknown"}
	problemEndpointSignature       = &Problem{Status: 401, Text: "Invalid OAuth signature.", Word: "signature_invalid", Reason: "signature_invalid"}
	problemNoRequestToken          = &Problem{Status: 401, Text: "No request token specified.", Word: "parameter_absent", Reason: "token_absent", Parameter: "oauth_token"}
	problemUnknownRequestToken     = &Problem{Status: 401, Text: "The request token is unknown, or was used already.", Word: "token_rejected", Reason: "token_unknown"}
	problemNotReviewed             = &Problem{Status: 401, Text: "Request token has not yet been reviewed. Try again later.", Word: "permission_unknown", Reason: "not_reviewed"}
	problemRefused                 = &Problem{Status: 403, Text: "End-user refused to authorize request token.", Word: "permission_denied", Reason: "refused_by_user"}
	problemRequestTokenExpired     = &Problem{Status: 403, Text: "This request token has expired and can no longer be exchanged for an access token.", Word: "token_expired", Reason: "token_expired"}
	problemNoCallback              = &Problem{Status: 401, Text: "This request token was made without oauth_callback, which this site requires.", Word: "parameter_absent", Reason: "callback_absent", Parameter: "oauth_callback"}
	problemVerifier                = &Problem{Status: 401, Text: "Invalid OAuth verifier.", Word: "parameter_rejected", Reason: "verifier_invalid", Parameter: "oauth_verifier"}
	problemTooManyWaiting          = &Problem{Status: 503, Text: "Too many request tokens are waiting for this consumer. Try again later.", Word: "consumer_key_refused", Reason: "too_many_waiting", Kind: KindLimit}
	problemTooManyInAll            = &Problem{Status: 503, Text: "Too many request tokens of all consumers are waiting. Try again later.", Word: "consumer_key_refused", Reason: "too_many_waiting", Kind: KindLimit}
	problemTooManyConsumers        = &Problem{Status: 503, Text: "Too many consumers are waiting for their first access token. Try again later.", Word: "consumer_key_refused", Reason: "too_many_consumers", Kind: KindLimit}
	problemMethodNotAllowed        = &Problem{Status: 405, Text: "Method not allowed.", Word: "method_not_allowed", Reason: "method_not_allowed"}
	problemLoginRequired           = &Problem{Status: 401, Text: "You need to be logged in to see this page.", Word: "user_refused", Reason: "login_required"}
)

// The refusals of both.
var (
	problemTarget         = &Problem{Status: 400, Text: "The request target must be a path, or an http or https URL.", Word: "parameter_rejected", Reason: "target_invalid"}
	problemMethod         = &Problem{Status: 400, Text: "The method %s must be written in upper case.", Word: "parameter_rejected", Reason: "method_invalid"}
	problemConnect        = &Problem{Status: 400, Text: "CONNECT is accepted for WebSockets only.", Word: "parameter_rejected", Reason: "method_invalid"}
	problemPath           = &Problem{Status: 400, Text: "The path holds %s, which servers read differently. It is accepted only where the site says: paths as_sent.", Word: "parameter_rejected", Reason: "path_not_plain"}
	problemQuery          = &Problem{Status: 400, Text: "The query holds %s, which servers read differently. It is accepted only where the site says: paths as_sent.", Word: "parameter_rejected", Reason: "query_not_plain"}
	problemParameters     = &Problem{Status: 413, Text: "The request has more than 10,000 parameters.", Word: "parameter_rejected", Reason: "too_many_parameters"}
	problemCookies        = &Problem{Status: 413, Text: "The request has too many cookies.", Word: "parameter_rejected", Reason: "too_many_cookies"}
	problemRepeated       = &Problem{Status: 400, Text: "The %s is sent twice, and servers differ in which of them they take.", Word: "parameter_rejected", Reason: "value_repeated"}
	problemHost           = &Problem{Status: 400, Text: "The host must be a name or an address, with a port or without.", Word: "parameter_rejected", Reason: "host_invalid"}
	problemMalformed      = &Problem{Status: 400, Text: "%s", Word: "parameter_rejected", Reason: "malformed"}
	problemFormTooLarge   = &Problem{Status: 413, Text: "The request body is too large to be verified.", Word: "parameter_rejected", Reason: "body_too_large"}
	problemBody           = &Problem{Status: 400, Text: "The request body could not be read.", Word: "parameter_rejected", Reason: "body_unreadable"}
	problemBodyHash       = &Problem{Status: 401, Text: "Invalid body hash.", Word: "body_hash_invalid", Reason: "body_hash_invalid", Parameter: "oauth_body_hash"}
	problemMethodRejected = &Problem{Status: 400, Text: "oauth_signature_method: %s is not accepted here.", Word: "signature_method_rejected", Reason: "signature_method_rejected", Parameter: "oauth_signature_method"}
	problemPlaintext      = &Problem{Status: 400, Text: "oauth_signature_method: PLAINTEXT is accepted over HTTPS only.", Word: "signature_method_rejected", Reason: "plaintext_over_http", Parameter: "oauth_signature_method"}
	problemNoncesFull     = &Problem{Status: 503, Text: "Too many requests of this consumer are remembered. Try again later.", Word: "consumer_key_refused", Reason: "nonces_full", Kind: KindLimit}
	problemTokenNonces    = &Problem{Status: 503, Text: "Too many requests with this token are remembered. Try again later.", Word: "consumer_key_refused", Reason: "token_nonces_full", Kind: KindLimit}
	problemEndpointNonces = &Problem{Status: 503, Text: "Too many requests of this consumer for tokens are remembered. Try again later.", Word: "consumer_key_refused", Reason: "endpoint_nonces_full", Kind: KindLimit}
	problemStore          = &Problem{Status: 503, Text: "The token store is out of reach. Try again later.", Word: "consumer_key_refused", Reason: "store_unavailable", Kind: KindStore}
)

// about returns the problem with the value that its text names.
func (p *Problem) about(value string) *Problem {
	named := *p
	named.Text = fmt.Sprintf(p.Text, printable(value))
	return &named
}

// because returns the problem with a cause for the operator.
func (p *Problem) because(cause error) *Problem {
	caused := *p
	caused.Cause = cause
	return &caused
}

// malformed is the refusal of parameters that package oauth1 can't take.
func malformed(err error) *Problem {
	p := problemMalformed.about(err.Error())
	var perr *oauth1.ParamError
	if errors.As(err, &perr) {
		p.Word, p.Parameter = perr.Problem, perr.Parameter
	}
	return p
}

// rejected is the refusal of a parameter's value; the text says what is wrong with it.
func rejected(parameter, text string) *Problem {
	p := problemMalformed.about(text)
	p.Parameter = parameter
	return p
}

// absent is the refusal of a request without a parameter that it needs.
func absent(parameter string) *Problem {
	p := problemMalformed.about(parameter + ": required.")
	p.Word, p.Parameter = "parameter_absent", parameter
	return p
}

// outside returns the problem with the range of timestamps that would do.
func (p *Problem) outside(lowest, highest int64) *Problem {
	ranged := *p
	ranged.AcceptableTimestamps = fmt.Sprintf("%d-%d", lowest, highest)
	return &ranged
}

// of returns the problem with the keys that the refused request named.
func (p *Problem) of(consumer, token string) *Problem {
	named := *p
	named.Consumer, named.Token = consumer, token
	return &named
}

// printable makes client-sent text fit for one line of an answer.
func printable(s string) string {
	const most = 255
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// safe makes text fit for every page that a site's error routes may put it into: nothing of it is
// markup, or ends a quoted text.
func safe(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune("\"'`", r):
			return '\u2019'
		case strings.ContainsRune("<>&{}[]\\$=", r) || !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}

// refuse answers a request with a problem, and tells the operator.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, endpoint string, p *Problem) error {
	h.metrics.refused(endpoint, p.Reason)
	h.logRefusal(r, endpoint, p)
	h.disown(r)

	header := w.Header()
	switch p.Status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", h.challenge(r))
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", "5")
	case http.StatusMethodNotAllowed:
		header.Set("Allow", allowedMethods(endpoint))
	}
	return h.answerError(w, r, p, func(w http.ResponseWriter) error {
		if !wantsJSON(r) || readByLaunchpadlib(r, p) {
			return h.answer(w, p.Status, "text/plain; charset=utf-8", []byte(p.Text))
		}
		body, err := json.Marshal(struct {
			Error   string `json:"error"`
			Problem string `json:"oauth_problem"`
		}{p.Text, p.Word})
		if err != nil {
			return caddyhttp.Error(http.StatusInternalServerError, err)
		}
		return h.answer(w, p.Status, "application/json", body)
	})
}

// allowedMethods are the methods of an endpoint: the pages are there for HEAD, too.
func allowedMethods(endpoint string) string {
	switch endpoint {
	case endpointAuthorize, endpointTokens:
		return "GET, HEAD, POST"
	}
	return "GET, POST"
}

// answer writes a whole response that no cache may keep and no browser may guess the type of.
func (h *Handler) answer(w http.ResponseWriter, status int, contentType string, body []byte) error {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

// challenge is the WWW-Authenticate of a 401 (RFC 5849 section 3.5.1).
func (h *Handler) challenge(r *http.Request) string {
	realm := h.Realm
	if realm == "" {
		realm = h.origin(r).host
	}
	return `OAuth realm="` + quotedString.Replace(realm) + `"`
}

var quotedString = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// logRefusal leaves the reason where an operator looks: the handler's own log, the access log, and the
// placeholders. A client's mistake is no error of the server.
func (h *Handler) logRefusal(r *http.Request, endpoint string, p *Problem) {
	publish(r, endpoint, p)
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Add(zap.String("oauth_refusal", p.Reason))
	}
	level := zap.DebugLevel
	if p.Kind == KindStore {
		level = zap.ErrorLevel
	}
	if c := h.logger.Check(level, "request refused"); c != nil {
		c.Write(
			zap.String("endpoint", endpoint),
			zap.String("reason", p.Reason),
			zap.Int("status", p.Status),
			zap.String("method", r.Method),
			zap.String("host", r.Host),
			zap.String("path", r.URL.Path),
			zap.String("remote", r.RemoteAddr),
			zap.Error(p.Cause),
		)
	}
}

// readByLaunchpadlib reports whether Launchpad's own client, lazr.restfulclient, has to read the text of a refusal. It asks
// for JSON with every request, and yet gets new credentials only where a body begins with the plain words.
func readByLaunchpadlib(r *http.Request, p *Problem) bool {
	return (p.Reason == problemUnknownToken.Reason || p.Reason == problemExpiredToken.Reason) &&
		strings.Contains(r.UserAgent(), "lazr.restfulclient")
}

// wantsJSON reports whether JSON is among the types that the client names as acceptable.
func wantsJSON(r *http.Request) bool { return slices.ContainsFunc(acceptable(r), isJSON) }

// wantsOnlyJSON reports whether JSON is the only one.
func wantsOnlyJSON(r *http.Request) bool {
	types := acceptable(r)
	return len(types) > 0 && !slices.ContainsFunc(types, func(name string) bool { return !isJSON(name) })
}

func isJSON(mediaType string) bool { return equalASCII(mediaType, "application/json") }

// acceptable are the media ranges of Accept (RFC 9110 section 12.5.1), without their parameters.
func acceptable(r *http.Request) []string {
	var types []string
	for _, field := range r.Header["Accept"] {
		for element := range strings.SplitSeq(field, ",") {
			if name := mediaType(element); name != "" {
				types = append(types, name)
			}
		}
	}
	return types
}
