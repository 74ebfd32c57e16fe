package oauth1

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Source says where a request carries its protocol parameters (RFC 5849, section 3.5).
type Source uint8

const (
	SourceNone   Source = iota // nowhere: the request is not signed
	SourceHeader               // in the Authorization header, section 3.5.1
	SourceQuery                // in the query, section 3.5.3
	SourceForm                 // in the form body, section 3.5.2
)

func (s Source) String() string {
	switch s {
	case SourceHeader:
		return "Authorization header"
	case SourceQuery:
		return "query"
	case SourceForm:
		return "form body"
	}
	return "none"
}

// Params holds a request's protocol parameters (RFC 5849, section 3.1), each percent-decoded once. Parse makes it; what
// the request did not send is empty, and no field but Source, SignatureMethod and Version has been judged.
type Params struct {
	Source          Source
	Realm           string // from the Authorization header only; not part of the signature
	ConsumerKey     string
	Token           string // HasToken tells an empty one from none
	HasToken        bool
	SignatureMethod string // one of SignatureMethods, or "" if absent
	Signature       string
	Timestamp       string // see Unix
	Nonce           string // see CheckNonce
	Version         string // "1.0", or "" if absent
	Callback        string
	HasCallback     bool
	Verifier        string
	BodyHash        string // base64, see BodyHash
	HasBodyHash     bool

	header string // what follows the scheme in the Authorization header, when that is the source and holds more than we know
	sent   sent
	apart  sent // those that were sent, but not in Source: see ParseTokenRequest
	again  bool // the token is in the header and, as the same, elsewhere; it is signed once, or else twice
}

// sent is the set of the known parameters that were sent.
type sent uint16

const (
	sentRealm sent = 1 << iota
	sentConsumerKey
	sentToken
	sentSignatureMethod
	sentSignature
	sentTimestamp
	sentNonce
	sentVersion
	sentCallback
	sentVerifier
	sentBodyHash
)

// field gives the place of a known parameter; all others get nil.
func (p *Params) field(name string) (*string, sent) {
	switch name {
	case "oauth_consumer_key":
		return &p.ConsumerKey, sentConsumerKey
	case "oauth_token":
		return &p.Token, sentToken
	case "oauth_signature_method":
		return &p.SignatureMethod, sentSignatureMethod
	case "oauth_signature":
		return &p.Signature, sentSignature
	case "oauth_timestamp":
		return &p.Timestamp, sentTimestamp
	case "oauth_nonce":
		return &p.Nonce, sentNonce
	case "oauth_version":
		return &p.Version, sentVersion
	case "oauth_callback":
		return &p.Callback, sentCallback
	case "oauth_verifier":
		return &p.Verifier, sentVerifier
	case "oauth_body_hash":
		return &p.BodyHash, sentBodyHash
	}
	return nil, 0
}

// ParamError is a protocol parameter that is missing or that cannot be accepted. Its text is meant for the client: it
// names parameters of the standards, and never holds a value that was sent.
type ParamError struct {
	// Problem is the word of the OAuth Problem Reporting extension: parameter_rejected, parameter_absent,
	// version_rejected or signature_method_rejected.
	Problem string
	// Parameter is the one that is meant, such as "oauth_nonce"; "" where none is.
	Parameter string
	// Reason is what is wrong with it, such as "sent twice".
	Reason string
}

// Error is a sentence: "oauth_nonce: sent twice."
func (e *ParamError) Error() string {
	if e.Parameter == "" {
		return e.Reason + "."
	}
	return e.Parameter + ": " + e.Reason + "."
}

// MaxParams is how many parameters a signed request may have in its header, its query and its form
// together: to sort many more costs more than any client is worth.
const MaxParams = 10_000

// ErrTooManyParams is a signed request with more than MaxParams parameters.
var ErrTooManyParams = errors.New("too many parameters")

const (
	problemRejected = "parameter_rejected"
	problemAbsent   = "parameter_absent"
	problemVersion  = "version_rejected"
	problemMethod   = "signature_method_rejected"
)

func rejected(parameter, reason string) *ParamError {
	return &ParamError{Problem: problemRejected, Parameter: parameter, Reason: reason}
}

// Parse reads the protocol parameters of a request (RFC 5849, sections 3.1, 3.2 and 3.5) from exactly one of these: its
// Authorization header fields, its raw query, and its raw body where that is a form (else nil).
//
// Source is SourceNone, with no error, when none of them holds an oauth_ parameter. An Authorization header of scheme
// OAuth, in any case, is a source even when it is empty; one of another scheme is none.
//
// More than MaxParams parameters in a request with OAuth parameters are ErrTooManyParams. All other errors are of type
// *ParamError: a second Authorization header field, parameters in two sources, an oauth_ parameter
// sent twice, an oauth_version other than "1.0", a signature method that is none of SignatureMethods, a malformed header,
// and, in a request with OAuth parameters, percent-encoding that is malformed anywhere in the header, query or form.
func Parse(authorization []string, query string, form []byte) (Params, error) {
	var r reader
	return r.parse(authorization, query, string(form))
}

// ParseTokenRequest is Parse for a request to an endpoint that gives out tokens (RFC 5849, sections
// 2.1 and 2.3). There oauth_callback and oauth_verifier may stand in another place than the rest: some
// clients sign with the header, and send these two in the form or the query, where they are signed
// like every other parameter (section 3.4.1.3.1). Each may be sent once, wherever it is; alone they make
// no request with OAuth parameters. An oauth_token in the header may be there once more with the same
// value, signed once or twice: twitter-api-v2 sends it so, and signs it once.
func ParseTokenRequest(authorization []string, query string, form []byte) (Params, error) {
	r := reader{mayRoam: sentCallback | sentVerifier}
	return r.parse(authorization, query, string(form))
}

// HasParams reports whether a raw query or form holds an oauth_ parameter.
func HasParams(form []byte) bool {
	for name := range pairs(string(form)) {
		if isProtocolName(name) {
			return true
		}
	}
	return false
}

// reader gathers the parameters of one request.
type reader struct {
	params    Params
	count     int
	unknown   []string // the names of the oauth_ parameters that Params does not hold
	malformed Source   // where another parameter's percent-encoding is malformed; SourceNone: nowhere
	mayRoam   sent     // those that may stand apart from the rest
}

func (r *reader) parse(authorization []string, query, form string) (Params, error) {
	if err := r.read(authorization, query, form); err != nil {
		return Params{}, err
	}
	p := &r.params
	p.HasToken = p.sent&sentToken != 0
	p.HasCallback = (p.sent|p.apart)&sentCallback != 0
	p.HasBodyHash = p.sent&sentBodyHash != 0
	return *p, nil
}

func (r *reader) read(authorization []string, query, form string) error {
	if len(authorization) > 1 {
		return rejected("", "More than one Authorization header field")
	}
	if len(authorization) == 1 {
		if err := r.readHeader(authorization[0]); err != nil {
			return err
		}
	}
	if err := r.readPairs(SourceQuery, query); err != nil {
		return err
	}
	if err := r.readPairs(SourceForm, form); err != nil {
		return err
	}
	p := &r.params
	switch {
	case p.Source == SourceNone:
		return nil
	case r.count > MaxParams:
		return ErrTooManyParams
	case r.malformed != SourceNone:
		return errMalformed(r.malformed)
	case r.unknownTwice():
		return rejected("", "An oauth_ parameter was sent twice")
	case p.sent&sentVersion != 0 && p.Version != "1.0":
		return &ParamError{Problem: problemVersion, Parameter: "oauth_version", Reason: `not "1.0"`}
	}
	if _, ok := methodNamed(p.SignatureMethod); !ok && p.sent&sentSignatureMethod != 0 {
		return errMethod()
	}
	return nil
}

func errMethod() *ParamError {
	return &ParamError{Problem: problemMethod, Parameter: "oauth_signature_method", Reason: "not supported"}
}

func errMalformed(where Source) *ParamError {
	return rejected("", "Malformed percent-encoding in the "+where.String())
}

// readHeader reads an Authorization header field, if its scheme is OAuth.
func (r *reader) readHeader(field string) error {
	list, ok := cutScheme(field)
	if !ok {
		return nil
	}
	p := &r.params
	p.Source = SourceHeader
	whole, more := list, false
	for {
		name, value, rest, err := cutHeaderParam(list)
		if err != nil {
			return err
		}
		place, bit := p.field(name)
		switch {
		case place != nil: // by far the most
			if err := p.store(place, bit, name, value, false); err != nil {
				return err
			}
		case name == "":
			if more || len(r.unknown) > 0 {
				p.header = whole
			}
			return nil
		case !isToken(name):
			return errHeader()
		case name == "realm":
			if p.sent&sentRealm != 0 {
				return rejected("realm", "sent twice")
			}
			p.sent |= sentRealm
			p.Realm = unquote(value)
		case isProtocolName(name):
			if err := r.set(name, value, false); err != nil {
				return err
			}
		case !wellEncoded(name) || !wellEncoded(value):
			return errMalformed(SourceHeader)
		default:
			more = true
		}
		if r.count++; r.count > MaxParams {
			return ErrTooManyParams
		}
		list = rest
	}
}

// readPairs reads the query or the form. Malformed parameters that are not ours are only noted: an unsigned request may be
// as malformed as the upstream likes, and whether this one is signed is known at the end.
func (r *reader) readPairs(source Source, s string) error {
	p := &r.params
	encoded := strings.IndexByte(s, '%') >= 0
	for name, value := range pairs(s) {
		if r.count++; r.count > MaxParams && p.Source != SourceNone {
			return ErrTooManyParams
		}
		switch {
		case r.mayRoam != 0 && r.roams(name):
			if err := r.setApart(name, value); err != nil {
				return err
			}
		case r.mayRoam != 0 && r.repeatsToken(name, value):
			p.again = true
		case isProtocolName(name):
			if p.Source != SourceNone && p.Source != source {
				return rejected("", "OAuth parameters in two places, the "+p.Source.String()+" and the "+source.String())
			}
			p.Source = source
			if err := r.set(name, value, true); err != nil {
				return err
			}
		case encoded && r.malformed == SourceNone && !(wellEncoded(name) && wellEncoded(value)):
			r.malformed = source
		}
	}
	return nil
}

// roams tells whether a parameter of the query or the form may stand apart from the rest.
func (r *reader) roams(rawName string) bool {
	if !isProtocolName(rawName) {
		return false
	}
	name, ok := decode(rawName, true)
	_, bit := r.params.field(name)
	return ok && r.mayRoam&bit != 0
}

// repeatsToken tells whether a parameter of the query or the form is the token of the header, sent again
// for the first time.
func (r *reader) repeatsToken(rawName, rawValue string) bool {
	p := &r.params
	if p.Source != SourceHeader || p.sent&sentToken == 0 || p.again || rawName != "oauth_token" {
		return false
	}
	value, ok := decode(rawValue, true)
	return ok && value == p.Token
}

// setApart stores such a parameter. Query and form are signed as they are, so its place is the only one
// at which the base string has it.
func (r *reader) setApart(rawName, rawValue string) error {
	p := &r.params
	name, _ := decode(rawName, true)
	field, bit := p.field(name)
	before := p.sent
	if err := p.store(field, bit, name, rawValue, true); err != nil {
		return err
	}
	p.sent, p.apart = before, p.apart|bit
	return nil
}

// set stores a protocol parameter, both its parts still encoded.
func (r *reader) set(rawName, rawValue string, form bool) error {
	name, ok := decode(rawName, form)
	if !ok {
		return rejected("", "Malformed percent-encoding in the name of an oauth_ parameter")
	}
	if field, bit := r.params.field(name); field != nil {
		return r.params.store(field, bit, name, rawValue, form)
	}
	if _, ok := decode(rawValue, form); !ok {
		return rejected("", "Malformed percent-encoding in an oauth_ parameter")
	}
	r.unknown = append(r.unknown, name)
	return nil
}

// store stores a parameter whose place is known, its value still encoded.
func (p *Params) store(field *string, bit sent, name, rawValue string, form bool) error {
	if (p.sent|p.apart)&bit != 0 {
		return rejected(name, "sent twice")
	}
	value, ok := decode(rawValue, form)
	if !ok {
		return rejected(name, "malformed percent-encoding")
	}
	*field = value
	p.sent |= bit
	return nil
}

// unknownTwice tells whether an oauth_ parameter that Params does not hold was sent twice. It sorts, so that thousands
// of names cost no quadratic time.
func (r *reader) unknownTwice() bool {
	slices.Sort(r.unknown)
	for i := 1; i < len(r.unknown); i++ {
		if r.unknown[i] == r.unknown[i-1] {
			return true
		}
	}
	return false
}

// cutScheme gives what follows the scheme in an Authorization header field, if that scheme is OAuth.
func cutScheme(field string) (list string, ok bool) {
	const scheme = "OAuth"
	field = skip(field, false)
	if len(field) < len(scheme) || !strings.EqualFold(field[:len(scheme)], scheme) {
		return "", false
	}
	list = field[len(scheme):]
	return list, list == "" || strings.IndexByte(" \t,", list[0]) >= 0
}

// cutHeaderParam cuts the first name="value" off the list in an Authorization header (section 3.5.1), without the
// quotes, still encoded. At the list's end the name is empty. Blanks around "=" and "," and empty list elements are
// tolerated, a value without quotes is not. Whether the name is one is for the caller to see, who knows most of them.
func cutHeaderParam(list string) (name, value, rest string, err error) {
	list = skip(list, true)
	if list == "" {
		return "", "", "", nil
	}
	n := strings.IndexByte(list, '=')
	if n <= 0 {
		return "", "", "", errHeader()
	}
	rest = list[n+1:]
	for list[n-1] == ' ' || list[n-1] == '\t' { // it begins with another byte
		n--
	}
	name = list[:n]
	rest, quoted := strings.CutPrefix(skip(rest, false), `"`)
	end := closingQuote(rest, name == "realm")
	if !quoted || end < 0 {
		return "", "", "", errHeader()
	}
	value = rest[:end]
	rest = skip(rest[end+1:], false)
	if rest != "" && rest[0] != ',' {
		return "", "", "", errHeader()
	}
	return name, value, rest, nil
}

// isToken tells whether s is an HTTP token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if !tokenChar[s[i]] {
			return false
		}
	}
	return s != ""
}

// skip drops the spaces and tabs that s begins with, and the commas if they are asked for. strings.TrimLeft, for this many
// calls, takes a fifth of the time that verifying a request takes.
func skip(s string, commas bool) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t' || s[0] == ',' && commas) {
		s = s[1:]
	}
	return s
}

func errHeader() *ParamError {
	return rejected("", `Malformed Authorization header: not a list of name="value"`)
}

// closingQuote finds the end of a quoted value; -1 where there is none, or a byte that the value may not have before it.
// Only the realm is a quoted-string with backslash escapes; all other values are percent-encoded.
func closingQuote(s string, escapes bool) int {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i
		case c == '\\' && escapes:
			i++
		case c == '\\', c < ' ', c == 0x7f:
			return -1
		}
	}
	return -1
}

// unquote removes the backslash escapes of a quoted-string.
func unquote(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	d := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		d = append(d, s[i])
	}
	return string(d)
}

// tokenChar holds the bytes of an HTTP token (RFC 9110, section 5.6.2).
var tokenChar = func() (set [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
		set[c] = true
	}
	return set
}()

// Unix is the timestamp: a positive number of seconds since 1970, written in digits only (RFC 5849, section 3.3).
// A *ParamError says that it is absent or that it is no such number.
func (p *Params) Unix() (int64, error) {
	if p.Timestamp == "" {
		return 0, &ParamError{Problem: problemAbsent, Parameter: "oauth_timestamp", Reason: "missing"}
	}
	for i := range len(p.Timestamp) {
		if c := p.Timestamp[i]; c < '0' || c > '9' {
			return 0, rejected("oauth_timestamp", "not a number of seconds")
		}
	}
	seconds, err := strconv.ParseInt(p.Timestamp, 10, 64)
	if err != nil || seconds <= 0 {
		return 0, rejected("oauth_timestamp", "out of range")
	}
	return seconds, nil
}

const maxNonce = 128

// CheckNonce accepts a nonce of 1 to 128 printable ASCII characters, the space included. A *ParamError says that it is
// absent, or what is wrong with it. Whether it was used before is the caller's to find out (RFC 5849, section 3.3).
func (p *Params) CheckNonce() error {
	if p.Nonce == "" {
		return &ParamError{Problem: problemAbsent, Parameter: "oauth_nonce", Reason: "missing"}
	}
	if len(p.Nonce) > maxNonce {
		return rejected("oauth_nonce", "longer than 128 characters")
	}
	for i := range len(p.Nonce) {
		if c := p.Nonce[i]; c < ' ' || c > '~' {
			return rejected("oauth_nonce", "not printable ASCII")
		}
	}
	return nil
}

// StripQuery is a raw query without its oauth_ parameters; all other pieces, empty ones too, stay byte for byte, joined
// by "&". It returns the same string, and allocates nothing, where there are none.
func StripQuery(query string) string {
	for name := range pairs(query) {
		if isProtocolName(name) {
			return stripQuery(query)
		}
	}
	return query
}

func stripQuery(query string) string {
	var kept strings.Builder
	kept.Grow(len(query))
	first := true
	for piece := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(piece, "="); isProtocolName(name) {
			continue
		}
		if !first {
			kept.WriteByte('&')
		}
		first = false
		kept.WriteString(piece)
	}
	return kept.String()
}
