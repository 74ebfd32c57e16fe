package refusal

import (
	"errors"
	"fmt"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// A Problem is a refusal: what the client is told, and under which name the operator finds it.
type Problem struct {
	// Status is the HTTP status. A 401 gets a WWW-Authenticate challenge, a 503 a Retry-After.
	Status int
	// Text is the whole body of a text/plain answer. Clients compare it: Launchpad's renews its
	// credentials on some. A refusal with a Notice gets it from there, in English.
	Text string
	// Word is what the OAuth Problem Reporting extension calls it (oauth_problem), for JSON answers.
	Word string
	// Reason is the log field and the metric label; every problem has one of a fixed few.
	Reason string
	// Kind says what the refusal is about. Most are about the client's request.
	Kind Kind
	// Notice is where the catalogues of the pages have the texts of a refusal that a person reads:
	// "notice.", Notice, and ".title", ".text" or ".advice". It is empty for a refusal without a
	// page.
	Notice string
	// Consumer and Token are the keys that the request named, and Parameter is the OAuth parameter
	// that is absent or rejected; each is empty where there is none.
	Consumer, Token, Parameter string
	// AcceptableTimestamps is the range outside of which the timestamp lies, as "lowest-highest";
	// else empty.
	AcceptableTimestamps string
	// Unknown: nobody here knows the consumer, or the request token that a person brought. Another
	// provider may know it.
	Unknown bool
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
	// KindStore: the token store, or the audit trail, did not do its work. Nothing is known of the
	// request, and nobody but the operator can help.
	KindStore
	// KindStopping: the request came too late for this server. The next one may serve it.
	KindStopping
)

// The refusals of API requests.
var (
	CredentialsRequired = &Problem{Status: 401, Text: "OAuth credentials required.", Word: "parameter_absent", Reason: "credentials_required", Parameter: "oauth_consumer_key"}
	TokenRequired       = &Problem{Status: 401, Text: "An access token is required: this consumer can not act without one.", Word: "parameter_absent", Reason: "token_absent", Parameter: "oauth_token"}
	InvalidSignature    = &Problem{Status: 401, Text: "Invalid signature.", Word: "signature_invalid", Reason: "signature_invalid"}
	NonceUsed           = &Problem{Status: 401, Text: "This nonce has been used already.", Word: "nonce_used", Reason: "nonce_used"}
	Timestamp           = &Problem{Status: 401, Text: "Timestamp appears to come from bad system clock.", Word: "timestamp_refused", Reason: "timestamp_refused", Parameter: "oauth_timestamp"}
	UnknownConsumer     = &Problem{Status: 401, Text: "Unknown consumer (%s).", Word: "consumer_key_unknown", Reason: "consumer_unknown", Unknown: true}
	DisabledConsumer    = &Problem{Status: 401, Text: "Disabled consumer (%s).", Word: "consumer_key_rejected", Reason: "consumer_disabled"}
	ExpiredConsumer     = &Problem{Status: 401, Text: "Expired consumer (%s).", Word: "consumer_key_rejected", Reason: "consumer_expired"}
	UnknownToken        = &Problem{Status: 401, Text: "Unknown access token (%s).", Word: "token_rejected", Reason: "token_unknown"}
	ExpiredToken        = &Problem{Status: 401, Text: "Expired token (%s).", Word: "token_expired", Reason: "token_expired"}
	NoPolicy            = &Problem{Status: 403, Text: "No policy allows this request.", Word: "permission_denied", Reason: "policy_none", Kind: KindPolicy}
	Readings            = &Problem{Status: 403, Text: "This request can be read in too many ways to be judged.", Word: "permission_denied", Reason: "readings_too_many", Kind: KindPolicy}
	Matcher             = &Problem{Status: 403, Text: "No policy could be found for this request.", Word: "permission_denied", Reason: "matcher_failed", Kind: KindPolicy}
	Denied              = &Problem{Status: 403, Text: "This request is denied.", Word: "permission_denied", Reason: "policy_deny", Kind: KindPolicy}
	ConsumerDenied      = &Problem{Status: 403, Text: "This consumer may not make this request.", Word: "permission_denied", Reason: "policy_consumer", Kind: KindPolicy}
	UserDenied          = &Problem{Status: 403, Text: "This user may not make this request.", Word: "permission_denied", Reason: "policy_user", Kind: KindPolicy}
	ContextDenied       = &Problem{Status: 403, Text: "The access token was granted for another context.", Word: "permission_denied", Reason: "policy_context", Kind: KindPolicy}
	PermissionWithdrawn = &Problem{Status: 403, Text: "The permission %s is not accepted here.", Word: "permission_denied", Reason: "permission_withdrawn", Kind: KindPolicy}
	PermissionDenied    = &Problem{Status: 403, Text: "This request needs the permission %s.", Word: "permission_denied", Reason: "policy_permission", Kind: KindPolicy}
)

// The refusals of the endpoints.
var (
	EndpointNoConsumer      = &Problem{Status: 401, Text: "No consumer key specified.", Word: "parameter_absent", Reason: "consumer_absent", Parameter: "oauth_consumer_key"}
	EndpointUnknownConsumer = &Problem{Status: 401, Text: "Unknown consumer.", Word: "consumer_key_unknown", Reason: "consumer_unknown", Unknown: true}
	EndpointSignature       = &Problem{Status: 401, Text: "Invalid OAuth signature.", Word: "signature_invalid", Reason: "signature_invalid"}
	NoRequestToken          = &Problem{Status: 401, Text: "No request token specified.", Word: "parameter_absent", Reason: "token_absent", Parameter: "oauth_token"}
	UnknownRequestToken     = &Problem{Status: 401, Text: "The request token is unknown, or was used already.", Word: "token_rejected", Reason: "token_unknown"}
	NotReviewed             = &Problem{Status: 401, Text: "Request token has not yet been reviewed. Try again later.", Word: "permission_unknown", Reason: "not_reviewed"}
	Refused                 = &Problem{Status: 403, Text: "End-user refused to authorize request token.", Word: "permission_denied", Reason: "refused_by_user"}
	RequestTokenExpired     = &Problem{Status: 403, Text: "This request token has expired and can no longer be exchanged for an access token.", Word: "token_expired", Reason: "token_expired"}
	NoCallback              = &Problem{Status: 401, Text: "This request token was made without oauth_callback, which this site requires.", Word: "parameter_absent", Reason: "callback_absent", Parameter: "oauth_callback"}
	Verifier                = &Problem{Status: 401, Text: "Invalid OAuth verifier.", Word: "parameter_rejected", Reason: "verifier_invalid", Parameter: "oauth_verifier"}
	TooManyWaiting          = &Problem{Status: 503, Text: "Too many request tokens are waiting for this consumer. Try again later.", Word: "consumer_key_refused", Reason: "too_many_waiting", Kind: KindLimit}
	TooManyInAll            = &Problem{Status: 503, Text: "Too many request tokens of all consumers are waiting. Try again later.", Word: "consumer_key_refused", Reason: "too_many_waiting", Kind: KindLimit}
	TooManyConsumers        = &Problem{Status: 503, Text: "Too many consumers are waiting for their first access token. Try again later.", Word: "consumer_key_refused", Reason: "too_many_consumers", Kind: KindLimit}
	MethodNotAllowed        = &Problem{Status: 405, Text: "Method not allowed.", Word: "method_not_allowed", Reason: "method_not_allowed"}
	LoginRequired           = &Problem{Status: 401, Text: "You need to be logged in to see this page.", Word: "user_refused", Reason: "login_required"}
)

// The refusals of both.
var (
	Target            = &Problem{Status: 400, Text: "The request target must be a path, or an http or https URL.", Word: "parameter_rejected", Reason: "target_invalid"}
	Method            = &Problem{Status: 400, Text: "The method %s must be written in upper case.", Word: "parameter_rejected", Reason: "method_invalid"}
	Connect           = &Problem{Status: 400, Text: "CONNECT is accepted for WebSockets only.", Word: "parameter_rejected", Reason: "method_invalid"}
	Path              = &Problem{Status: 400, Text: "The path holds %s, which servers read differently. It is accepted only where the site says: paths as_sent.", Word: "parameter_rejected", Reason: "path_not_plain"}
	Query             = &Problem{Status: 400, Text: "The query holds %s, which servers read differently. It is accepted only where the site says: paths as_sent.", Word: "parameter_rejected", Reason: "query_not_plain"}
	TooManyParameters = &Problem{Status: 413, Text: "The request has more than 10,000 parameters.", Word: "parameter_rejected", Reason: "too_many_parameters"}
	Cookies           = &Problem{Status: 413, Text: "The request has too many cookies.", Word: "parameter_rejected", Reason: "too_many_cookies"}
	Repeated          = &Problem{Status: 400, Text: "The %s is sent twice, and servers differ in which of them they take.", Word: "parameter_rejected", Reason: "value_repeated"}
	Host              = &Problem{Status: 400, Text: "The host must be a name or an address, with a port or without.", Word: "parameter_rejected", Reason: "host_invalid"}
	Malformed         = &Problem{Status: 400, Text: "%s", Word: "parameter_rejected", Reason: "malformed"}
	FormTooLarge      = &Problem{Status: 413, Text: "The request body is too large to be verified.", Word: "parameter_rejected", Reason: "body_too_large"}
	Body              = &Problem{Status: 400, Text: "The request body could not be read.", Word: "parameter_rejected", Reason: "body_unreadable"}
	BodyHash          = &Problem{Status: 401, Text: "Invalid body hash.", Word: "body_hash_invalid", Reason: "body_hash_invalid", Parameter: "oauth_body_hash"}
	MethodRejected    = &Problem{Status: 400, Text: "oauth_signature_method: %s is not accepted here.", Word: "signature_method_rejected", Reason: "signature_method_rejected", Parameter: "oauth_signature_method"}
	Plaintext         = &Problem{Status: 400, Text: "oauth_signature_method: PLAINTEXT is accepted over HTTPS only.", Word: "signature_method_rejected", Reason: "plaintext_over_http", Parameter: "oauth_signature_method"}
	ClientGone        = &Problem{Status: 400, Text: "The client has gone.", Word: "parameter_rejected", Reason: "client_gone"}
	NoncesFull        = &Problem{Status: 503, Text: "Too many requests of this consumer are remembered. Try again later.", Word: "consumer_key_refused", Reason: "nonces_full", Kind: KindLimit}
	TokenNonces       = &Problem{Status: 503, Text: "Too many requests with this token are remembered. Try again later.", Word: "consumer_key_refused", Reason: "token_nonces_full", Kind: KindLimit}
	EndpointNonces    = &Problem{Status: 503, Text: "Too many requests of this consumer for tokens are remembered. Try again later.", Word: "consumer_key_refused", Reason: "endpoint_nonces_full", Kind: KindLimit}
	Store             = &Problem{Status: 503, Text: "The token store is out of reach. Try again later.", Word: "consumer_key_refused", Reason: "store_unavailable", Kind: KindStore}
	Unrecorded        = &Problem{Status: 503, Text: "The server can't record this in its audit trail. Try again later.", Word: "consumer_key_refused", Reason: "audit_unwritable", Kind: KindStore}
	Stopping          = &Problem{Status: 503, Text: "The server is stopping. Try again later.", Word: "consumer_key_refused", Reason: "server_stopping", Kind: KindStopping}
)

// The notices of the pages: what people read there instead of a form. Pages have no oauth_problem.
var (
	PageNoToken             = &Problem{Status: 400, Notice: "no_token", Reason: "token_absent"}
	PageUnknownToken        = &Problem{Status: 404, Notice: "unknown_token", Reason: "token_unknown", Unknown: true}
	PageExpiredToken        = &Problem{Status: 410, Notice: "expired_token", Reason: "token_expired"}
	PageUnfinished          = &Problem{Status: 410, Notice: "unfinished", Reason: "token_expired"}
	PageOver                = &Problem{Status: 410, Notice: "over", Reason: "already_reviewed"}
	PageReviewed            = &Problem{Status: 409, Notice: "reviewed", Reason: "already_reviewed"}
	PageAllowedByYou        = &Problem{Status: 409, Notice: "allowed_by_you", Reason: "already_reviewed"}
	PageRefusedByYou        = &Problem{Status: 409, Notice: "refused_by_you", Reason: "already_reviewed"}
	PageNoApplication       = &Problem{Status: 404, Notice: "no_application", Reason: "consumer_unknown"}
	PageApplicationDisabled = &Problem{Status: 403, Notice: "application_disabled", Reason: "consumer_disabled"}
	PageNoLevels            = &Problem{Status: 403, Notice: "no_levels", Reason: "permission_none"}
	PageContexts            = &Problem{Status: 400, Notice: "contexts", Reason: "context_invalid"}
	PageContext             = &Problem{Status: 400, Notice: "context", Reason: "context_invalid"}
	PageCallback            = &Problem{Status: 400, Notice: "callback", Reason: "callback_invalid"}
	PageNoCallback          = &Problem{Status: 400, Notice: "no_callback", Reason: "callback_absent"}
	PageNoChoice            = &Problem{Status: 400, Notice: "no_choice", Reason: "choice_absent"}
	PageNotOffered          = &Problem{Status: 400, Notice: "not_offered", Reason: "choice_not_offered"}
	PageDone                = &Problem{Status: 403, Notice: "done", Reason: "proof_invalid"}
	PageCrossOrigin         = &Problem{Status: 403, Notice: "cross_origin", Reason: "cross_origin"}
	PageForm                = &Problem{Status: 400, Notice: "form", Reason: "form_malformed"}
	PageFormTooLarge        = &Problem{Status: 413, Notice: "form_too_large", Reason: "body_too_large"}
	PageStale               = &Problem{Status: 403, Notice: "stale", Reason: "csrf_invalid"}
	PageUnjournaled         = &Problem{Status: 503, Notice: "unjournaled", Reason: "journal_unwritable", Kind: KindStore}
)

// About returns the problem with the value that its text names.
func (p *Problem) About(value string) *Problem {
	named := *p
	named.Text = fmt.Sprintf(p.Text, Printable(value))
	return &named
}

// Because returns the problem with a cause for the operator.
func (p *Problem) Because(cause error) *Problem {
	caused := *p
	caused.Cause = cause
	return &caused
}

// Parameters is the refusal of parameters that package oauth1 can't take.
func Parameters(err error) *Problem {
	p := Malformed.About(err.Error())
	var perr *oauth1.ParamError
	if errors.As(err, &perr) {
		p.Word, p.Parameter = perr.Problem, perr.Parameter
	}
	return p
}

// Rejected is the refusal of a parameter's value; the text says what is wrong with it.
func Rejected(parameter, text string) *Problem {
	p := Malformed.About(text)
	p.Parameter = parameter
	return p
}

// Absent is the refusal of a request without a parameter that it needs.
func Absent(parameter string) *Problem {
	p := Malformed.About(parameter + ": required.")
	p.Word, p.Parameter = "parameter_absent", parameter
	return p
}

// Outside returns the problem with the range of timestamps that would do.
func (p *Problem) Outside(lowest, highest int64) *Problem {
	ranged := *p
	ranged.AcceptableTimestamps = fmt.Sprintf("%d-%d", lowest, highest)
	return &ranged
}

// Of returns the problem with the keys that the refused request named.
func (p *Problem) Of(consumer, token string) *Problem {
	named := *p
	named.Consumer, named.Token = consumer, token
	return &named
}
