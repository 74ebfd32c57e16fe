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

// Params holds a request's protocol parameters (RFC 5849, section 3.1), each percent-decoded once.
// Parse returns it. Parameters that the request did not send are empty. Only Source,
// SignatureMethod and Version have been checked.
type Params struct {
	Source          Source
	Realm           string // from the Authorization header only; not part of the signature
	ConsumerKey     string
	Token           string // HasToken distinguishes an empty token from none
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

	header string // the header after its scheme, if it is Source and has more than Params
	sent   sent
	apart  sent // the parameters outside Source: see ParseTokenRequest
	again  bool // the token of the header is elsewhere, too: it is signed once or twice
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

// field returns the field of a known parameter, or nil.
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

// ParamError says that a protocol parameter is missing or is not accepted. The text is meant for
// the client: it names parameters of the standards, and never holds a value that was sent.
type ParamError struct {
	// Problem is the word of the OAuth Problem Reporting extension: parameter_rejected,
	// parameter_absent, version_rejected or signature_method_rejected.
	Problem string
	// Parameter is the parameter at fault, such as "oauth_nonce", or "" if there is none.
	Parameter string
	// Reason says what is wrong with the parameter, such as "sent twice".
	Reason string
}

// Error returns a sentence: "oauth_nonce: sent twice."
func (e *ParamError) Error() string {
	if e.Parameter == "" {
		return e.Reason + "."
	}
	return e.Parameter + ": " + e.Reason + "."
}

// MaxParams is the limit for the parameters in the header, the query and the form of a signed
// request together. Sorting many more costs too much time, and no client needs them.
const MaxParams = 10_000

// ErrTooManyParams says that a signed request has more than MaxParams parameters.
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

// Parse reads the protocol parameters of a request (RFC 5849, sections 3.1, 3.2 and 3.5). They must
// all be in one source: the Authorization header fields, the raw query, or the raw body of a form.
// For another body, form is nil.
//
// If no source holds an oauth_ parameter, Source is SourceNone, and there is no error. An
// Authorization header with the scheme OAuth, in any case, is a source even if it is empty. A
// header with another scheme is not a source.
//
// If a request with OAuth parameters has more than MaxParams parameters, the error is
// ErrTooManyParams. All other errors are of type *ParamError: a second Authorization header field,
// parameters in two sources, an oauth_ parameter sent twice, an oauth_version other than "1.0", a
// signature method outside SignatureMethods, a malformed header, and, in a request with OAuth
// parameters, malformed percent-encoding anywhere in the header, query or form.
func Parse(authorization []string, query string, form []byte) (Params, error) {
	var r reader
	return r.parse(authorization, query, string(form))
}

// ParseTokenRequest is Parse for requests to an endpoint that gives out tokens (RFC 5849, sections
// 2.1 and 2.3). In such a request, oauth_callback and oauth_verifier may be outside the source of
// the other parameters. Some clients sign with the header, and send these two in the form or the
// query, where they are signed like every other parameter (section 3.4.1.3.1). Each may be sent
// once, in any place. A request with only these two has no OAuth parameters. The oauth_token of the
// header may be repeated elsewhere with the same value, and may be signed once or twice:
// twitter-api-v2 repeats it, and signs it once.
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

// reader collects the parameters of one request.
type reader struct {
	params    Params
	count     int
	unknown   []string // the names of the oauth_ parameters that Params does not hold
	malformed Source   // the source of another parameter with malformed encoding, or SourceNone
	mayRoam   sent     // the parameters that may be outside the source of the others
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

// readHeader reads an Authorization header field if its scheme is OAuth.
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
		case place != nil: // the most frequent case
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

// readPairs reads the query or the form. It only records malformed parameters other than OAuth's:
// they are an error only in a signed request, and whether the request is signed is known at the
// end.
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

// roams reports whether a parameter of the query or the form may be outside the source of the
// others.
func (r *reader) roams(rawName string) bool {
	if !isProtocolName(rawName) {
		return false
	}
	name, ok := decode(rawName, true)
	_, bit := r.params.field(name)
	return ok && r.mayRoam&bit != 0
}

// repeatsToken reports whether a parameter of the query or the form is the first repetition of the
// token in the header.
func (r *reader) repeatsToken(rawName, rawValue string) bool {
	p := &r.params
	if p.Source != SourceHeader || p.sent&sentToken == 0 || p.again || rawName != "oauth_token" {
		return false
	}
	value, ok := decode(rawValue, true)
	return ok && value == p.Token
}

// setApart stores a parameter outside the source of the others. It does not add the parameter to
// sent: the base string takes it from the query or the form.
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

// set stores a protocol parameter. Its name and value are still encoded.
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

// store stores a parameter in its field. The value is still encoded.
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

// unknownTwice reports whether an oauth_ parameter that Params does not hold was sent twice. It
// sorts, so that thousands of names do not take quadratic time.
func (r *reader) unknownTwice() bool {
	slices.Sort(r.unknown)
	for i := 1; i < len(r.unknown); i++ {
		if r.unknown[i] == r.unknown[i-1] {
			return true
		}
	}
	return false
}

// cutScheme returns the part of an Authorization header field after its scheme, if the scheme is
// OAuth.
func cutScheme(field string) (list string, ok bool) {
	const scheme = "OAuth"
	field = skip(field, false)
	if len(field) < len(scheme) || !strings.EqualFold(field[:len(scheme)], scheme) {
		return "", false
	}
	list = field[len(scheme):]
	return list, list == "" || strings.IndexByte(" \t,", list[0]) >= 0
}

// cutHeaderParam cuts the first name="value" off the list in an Authorization header (section
// 3.5.1). It returns the value without its quotes, still encoded. At the end of the list the name
// is empty. Blanks around "=" and "," and empty list elements are accepted; a value without quotes
// is not. The caller must check that the name is a token: it knows most names without that check.
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
	// Ends, because the list does not begin with a blank.
	for list[n-1] == ' ' || list[n-1] == '\t' {
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

// isToken reports whether s is an HTTP token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if !tokenChar[s[i]] {
			return false
		}
	}
	return s != ""
}

// skip removes spaces and tabs at the beginning of s, and also commas if commas is true.
// strings.TrimLeft would add a fifth to the time of verifying a request.
func skip(s string, commas bool) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t' || s[0] == ',' && commas) {
		s = s[1:]
	}
	return s
}

func errHeader() *ParamError {
	return rejected("", `Malformed Authorization header: not a list of name="value"`)
}

// closingQuote returns the position of the closing quote, or -1 if there is none or a forbidden
// byte comes first. Only the realm is a quoted-string with backslash escapes. All other values are
// percent-encoded.
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

// Unix returns the timestamp: a positive number of seconds since 1970, in digits only (RFC 5849,
// section 3.3). A *ParamError says that it is absent or is no such number.
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

// CheckNonce accepts a nonce of 1 to 128 printable ASCII characters, including spaces. A
// *ParamError says that it is absent or what is wrong with it. The caller must check that the nonce
// was not used before (RFC 5849, section 3.3).
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

// StripQuery returns a raw query without its oauth_ parameters. All other pieces, including empty
// ones, stay byte for byte, joined by "&". If there are no oauth_ parameters, it returns the same
// string and allocates nothing.
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
