package doctor

import (
	"strings"
	"unicode"
)

// A Mistake is something that a client did wrong.
type Mistake struct {
	// Name is the stable name of the mistake, one of Names. It is fit for a metric's label.
	Name string
	// Parameter is the parameter of the protocol that is concerned, such as "oauth_version", or "".
	Parameter string
	// Signed is what the client signed, and Expected what it should have signed, where the two are
	// short and can be shown.
	Signed, Expected string
}

// same reports whether it is the same mistake as another one.
func (m Mistake) same(other Mistake) bool {
	return m.Name == other.Name && m.Parameter == other.Parameter
}

// Text says what the client did, in one sentence.
func (m Mistake) Text() string { return m.fill(textsOf[m.Name].said) }

// Advice says what to do, in one sentence or two.
func (m Mistake) Advice() string { return m.fill(textsOf[m.Name].advice) }

func (m Mistake) fill(text string) string {
	return strings.NewReplacer(
		"{parameter}", m.Parameter,
		"{signed}", shown(m.Signed),
		"{expected}", shown(m.Expected),
	).Replace(text)
}

// shown makes a client's text fit for one line.
func shown(s string) string {
	const most = 200
	if s == "" {
		return "nothing"
	}
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// Names returns the names of all mistakes, in the order of the table.
func Names() []string {
	names := make([]string, len(texts))
	for i := range texts {
		names[i] = texts[i].name
	}
	return names
}

// mistakeTexts are the texts of one mistake.
type mistakeTexts struct{ name, said, advice string }

var textsOf = func() map[string]mistakeTexts {
	m := make(map[string]mistakeTexts, len(texts))
	for _, t := range texts {
		m[t.name] = t
	}
	return m
}()

// The names of the mistakes. They are labels of metrics: never change one.
const (
	scheme           = "scheme"
	schemeWebSocket  = "scheme-websocket"
	hostHeader       = "host-header"
	hostForwarded    = "host-forwarded"
	hostBaseURL      = "host-base-url"
	portAdded        = "port-added"
	portLeftOut      = "port-left-out"
	hostUpperCase    = "host-upper-case"
	hostWWW          = "host-www"
	pathRewritten    = "path-rewritten"
	pathPrefix       = "path-prefix"
	pathSlash        = "path-trailing-slash"
	pathDecoded      = "path-decoded"
	pathEncodedTwice = "path-encoded-twice"
	pathReencoded    = "path-reencoded"
	pathEscapeCase   = "path-escape-case"
	pathLowerCase    = "path-lower-case"
	pathLeftOut      = "path-left-out"

	onlyOAuthSigned    = "only-oauth-signed"
	queryLeftOut       = "query-left-out"
	queryInURL         = "query-in-url"
	valuesDecodedTwice = "values-decoded-twice"
	valuesNotDecoded   = "values-not-decoded"
	plusLiteral        = "plus-literal"
	sortedUnencoded    = "sorted-before-encoding"
	sortedAsPairs      = "sorted-as-pairs"
	sortedIgnoringCase = "sorted-ignoring-case"
	sortedByNameOnly   = "sorted-by-name-only"
	notSorted          = "not-sorted"
	repeatsDropped     = "repeats-dropped"
	emptyDropped       = "empty-values-dropped"
	equalsDropped      = "equals-sign-dropped"
	bracketsUnencoded  = "brackets-not-encoded"
	bracketsDropped    = "brackets-dropped"
	bracketsAdded      = "brackets-added"
	spaceAsPlus        = "space-as-plus"
	uriComponent       = "encoded-as-uri-component"
	slashUnencoded     = "slash-not-encoded"
	tildeEncoded       = "tilde-encoded"
	escapesLowerCase   = "escapes-in-lower-case"
	paramsEncodedOnce  = "parameters-encoded-once"
	paramsEncodedMore  = "parameters-encoded-thrice"
	partsNotEncoded    = "parts-not-encoded"
	urlNotEncoded      = "url-not-encoded"

	formLeftOut     = "form-left-out"
	bodySigned      = "body-signed"
	jsonSigned      = "json-signed"
	multipartSigned = "multipart-signed"
	charsetLatin1   = "charset-latin1"
	unicodeForm     = "unicode-form"

	realmSigned      = "realm-signed"
	signatureSigned  = "signature-signed"
	oauthLeftOut     = "oauth-left-out"
	oauthEmpty       = "oauth-added-empty"
	oauthNotSent     = "oauth-not-sent"
	oauthEncodedMore = "oauth-encoded-again"
	oauthEncodedLess = "oauth-encoded-less"

	tokenSecretLeftOut    = "token-secret-left-out"
	consumerSecretLeftOut = "consumer-secret-left-out"
	tokenSecretNull       = "token-secret-null"
	ampersandLeftOut      = "key-without-ampersand"
	secretsNotEncoded     = "secrets-not-encoded"
	secretsEncodedTwice   = "secrets-encoded-twice"
	secretsSwapped        = "secrets-swapped"
	requestTokenSecret    = "request-token-secret"
	previousSecret        = "previous-secret"
	secretBlank           = "secret-with-blank"
	secretDecoded         = "secret-decoded"
	keyAsSecret           = "key-as-secret"
	secretTwice           = "secret-used-twice"

	otherMethod       = "other-signature-method"
	methodNotAccepted = "signature-method-not-accepted"
	httpMethod        = "http-method"
	httpMethodCase    = "http-method-lower-case"
	signatureHex      = "signature-hex"
	signatureHexIn64  = "signature-hex-in-base64"
	signatureURLSafe  = "signature-url-safe"
	signaturePadding  = "signature-padding-lost"
	signatureEncoded  = "signature-encoded-twice"
	signaturePlus     = "signature-plus-lost"
	signatureBlank    = "signature-with-line-end"
	hmacSwapped       = "hmac-arguments-swapped"
	rsaPSS            = "rsa-pss"
	rsaOtherKey       = "rsa-other-key"
	rsaOverDigest     = "rsa-over-digest"
	rsaBareDigest     = "rsa-bare-digest"

	timestampUnit     = "timestamp-unit"
	timestampText     = "timestamp-not-seconds"
	timestampZone     = "timestamp-local-time"
	timestampOff      = "timestamp-off"
	clockOff          = "clock-always-off"
	nonceRetry        = "nonce-sent-again"
	nonceRepeated     = "nonce-repeated"
	nonceOtherAddress = "nonce-other-address"
	keyRequestToken   = "key-is-request-token"
	keyExpired        = "key-is-expired"
	keyRevoked        = "key-is-revoked"
	keyExchanged      = "key-is-exchanged"
	keyOfAnother      = "key-of-another-consumer"
	keyIsConsumer     = "key-is-consumer-key"
	keyIsToken        = "key-is-token"
	keyRemoved        = "key-is-removed"
	keyBlanks         = "key-with-blanks"
	keyCase           = "key-in-other-case"
	keyEncoded        = "key-encoded-twice"
	keyQuoted         = "key-with-quotes"
)

// texts holds each mistake once. {signed} and {expected} are not for keys and secrets.
var texts = []mistakeTexts{
	// The origin and the path.
	{scheme, "The client signed a URL with {signed}://, and the request came with {expected}://.",
		"Sign the URL that the client calls, {expected}. If a proxy in front ends TLS, the site's base_url says so."},
	{schemeWebSocket, "The client signed a URL with {signed}://.",
		"A WebSocket's handshake is an HTTP request: sign it with {expected}://."},
	{hostHeader, "The client signed the host of its Host header, {signed}; the server expects {expected}.",
		"Sign the site's public host, or have its base_url name the host that clients call."},
	{hostForwarded, "The client signed the host in X-Forwarded-Host, {signed}; the server expects {expected}.",
		"Put the proxy into trusted_proxies of the server, or set the site's base_url."},
	{hostBaseURL, "The client signed the host of the site's base_url, {signed}; the server expects {expected}.",
		"Sign the host that the request goes to."},
	{portAdded, "The client signed the host {signed}, with a port that is not part of it.",
		"Sign {expected}: a base string leaves out port 80 with http and port 443 with https."},
	{portLeftOut, "The client signed the host {signed}, without its port.",
		"Sign {expected}: only port 80 with http and port 443 with https are left out."},
	{hostUpperCase, "The client signed the host in upper case, {signed}.", "Sign it in lower case, {expected}."},
	{hostWWW, "The client signed the host {signed}, and the request went to {expected}.",
		"Sign the host that the request goes to; redirects from one to the other change the signature."},
	{pathRewritten, "The client signed the path behind the server's rewrite, {signed}.",
		"Sign the path that the client sends, {expected}."},
	{pathPrefix, "The client signed the path {signed}; the server expects {expected}.",
		"Sign the whole path of the public URL. If a proxy strips a prefix, the site's base_url names it."},
	{pathSlash, "The client signed the path {signed}, and sent {expected}.",
		"Sign the path that is sent: a slash at the end counts."},
	{pathDecoded, "The client signed the decoded path.", "Sign the path as it is sent, with its percent-encoding, {expected}."},
	{pathEncodedTwice, "The client encoded the path once too often before it signed it.",
		"Sign the path as it is sent, {expected}; then the URL as a whole is encoded once."},
	{pathReencoded, "The client signed the path {signed}, and sent it in another encoding.",
		"Sign the path exactly as it is sent, {expected}."},
	{pathEscapeCase, "The client signed the path {signed}: its percent-encoding has digits in another case than was sent.",
		"Sign the path exactly as it is sent, {expected}."},
	{pathLowerCase, "The client signed the path in lower case.", "Sign the path exactly as it is sent, {expected}."},
	{pathLeftOut, "The client signed a URL without a path.", "An empty path is signed as a slash: {expected}."},

	// The parameters.
	{onlyOAuthSigned, "The client signed the oauth_ parameters alone, without the query and the form.",
		"Sign the parameters of the query and of the form together with them."},
	{queryLeftOut, "The client left the query's parameters out of what it signed.",
		"Sign the query's parameters together with the others."},
	{queryInURL, "The client signed the URL with its query.",
		"Sign the URL without ? and what follows: the query's parameters stand among the others."},
	{valuesDecodedTwice, "The client decoded the parameters twice before it signed them.",
		"Decode what is sent once: %252B is %2B, not +."},
	{valuesNotDecoded, "The client signed the parameters as they are encoded in the query or the form.",
		"Decode them once, then encode them as the standard says: a%20b is signed as a%2520b, not as a%252520b."},
	{plusLiteral, "The client signed a + of the query or the form as a plus sign.",
		"In a query and in a form + stands for a space, which is signed as %2520. Send %2B for a plus sign."},
	{sortedUnencoded, "The client sorted the parameters before it encoded them.",
		"Encode names and values first, then sort."},
	{sortedAsPairs, "The client sorted the parameters as name=value texts.",
		"Sort by the encoded names, and only equal names by their values: a comes before a-b."},
	{sortedIgnoringCase, "The client sorted the parameters without regard to upper and lower case.",
		"Sort by bytes: Z comes before a."},
	{sortedByNameOnly, "The client sorted the parameters by name, and left repeated names in the order in which they came.",
		"Sort the values of a repeated name too."},
	{notSorted, "The client did not sort the parameters.", "Sort all parameters together, by encoded name, then by encoded value."},
	{repeatsDropped, "The client signed only one value of a repeated name.",
		"Sign each value that is sent: tags=a&tags=b are two parameters."},
	{emptyDropped, "The client left parameters with an empty value out of what it signed.",
		"Sign them as name= with nothing behind it."},
	{equalsDropped, "The client signed parameters without a value without their =.",
		"Sign them as name= with nothing behind it."},
	{bracketsUnencoded, "The client left the brackets in names unencoded when it signed them.",
		"Encode [ as %5B and ] as %5D; the base string encodes them again, as %255B and %255D."},
	{bracketsDropped, "The client signed names without their brackets.", "Sign each name as it is sent, such as tags[]."},
	{bracketsAdded, "The client signed names with brackets that it did not send.", "Sign each name as it is sent."},
	{spaceAsPlus, "The client encoded a space as + in what it signed.",
		"In a base string a space is %20, which is encoded again as %2520. Use no form encoding for it."},
	{uriComponent, "The client left ! ' ( ) * unencoded, as JavaScript's encodeURIComponent does.",
		"Encode them too: %21 %27 %28 %29 %2A."},
	{slashUnencoded, "The client left the / in names and values unencoded.",
		"Encode it as %2F. Python's quote needs safe='~' for that."},
	{tildeEncoded, "The client encoded ~.", "Leave ~ unencoded."},
	{escapesLowerCase, "The client signed percent-encoding with lower-case digits, such as %2f.", "Use upper-case digits, %2F."},
	{paramsEncodedOnce, "The client encoded names and values one time too few.",
		"Encode each name and value, join them with = and &, and encode the whole again."},
	{paramsEncodedMore, "The client encoded names and values once too often.",
		"Encode each name and value once, join them with = and &, and encode the whole once more."},
	{partsNotEncoded, "The client joined the parameters to the method and the URL without encoding them as a whole.",
		"Encode the joined parameters once more: = becomes %3D and & becomes %26."},
	{urlNotEncoded, "The client did not encode the URL in the base string.",
		"Encode it as a whole: it begins with https%3A%2F%2F."},

	// The body.
	{formLeftOut, "The client left the form's parameters out of what it signed.",
		"A body of the type application/x-www-form-urlencoded is signed, together with the query and the oauth_ parameters."},
	{bodySigned, "The client signed the body as if it were a form.",
		"Only a body of the type application/x-www-form-urlencoded is signed. Send that type, or leave the body out."},
	{jsonSigned, "The client signed the fields of its JSON body as parameters.",
		"A JSON body is not part of the base string. Use oauth_body_hash to sign it."},
	{multipartSigned, "The client signed the fields of its multipart body as parameters.",
		"A multipart body is not part of the base string."},
	{charsetLatin1, "The client signed its text in another character set than it sent: one is ISO-8859-1, the other UTF-8.",
		"Encode names and values as UTF-8, both to sign and to send them."},
	{unicodeForm, "The client signed its text in another Unicode normal form than it sent (NFC and NFD).",
		"Normalize the text first, then sign and send the same bytes."},

	// The protocol's parameters.
	{realmSigned, "The client signed the realm.", "The realm is not part of the base string: leave it out."},
	{signatureSigned, "The client signed an empty oauth_signature.", "Add oauth_signature only after signing."},
	{oauthLeftOut, "The client sent {parameter}, and left it out of what it signed.",
		"Sign each oauth_ parameter that is sent, but for oauth_signature."},
	{oauthEmpty, "The client signed an empty {parameter}, and did not send it so.",
		"Sign exactly the oauth_ parameters that are sent."},
	{oauthNotSent, "The client signed {parameter}, and did not send it.",
		"Send each oauth_ parameter that is signed."},
	{oauthEncodedMore, "The client encoded {parameter} once more to sign it than to send it.",
		"Sign the plain value, encoded as every other, and encode it once when it is sent."},
	{oauthEncodedLess, "The client encoded {parameter} once more to send it than to sign it.",
		"Encode the value once when it is sent: a percent sign in it must not become %25 again."},

	// The key.
	{tokenSecretLeftOut, "The client signed without the token's secret.",
		"The key is the consumer's secret, &, and the token's secret."},
	{consumerSecretLeftOut, "The client signed without the consumer's secret.",
		"The key is the consumer's secret, &, and the token's secret."},
	{tokenSecretNull, "The client signed with the word {signed} in place of the token's secret.",
		"Without a token the key ends with the &. With one it ends with the token's secret."},
	{ampersandLeftOut, "The client left out the & of the key.",
		"The key is the consumer's secret, &, and the token's secret. The & stands there without a token too."},
	{secretsNotEncoded, "The client did not encode the secrets in the key.",
		"Percent-encode each secret, and join them with &."},
	{secretsEncodedTwice, "The client encoded the secrets in the key twice.",
		"Percent-encode each secret once, and join them with &."},
	{secretsSwapped, "The client swapped the two secrets in the key.",
		"The consumer's secret comes first, then &, then the token's secret."},
	{requestTokenSecret, "The client signed with the secret of the request token.",
		"Use the secret that came with the access token."},
	{previousSecret, "The client signed with the consumer's previous secret, which is no longer accepted.",
		"Give the client the consumer's new secret."},
	{secretBlank, "The client signed with a secret that has a blank or a line end too many or too few.",
		"Store the secret without anything around it: a file often ends with a line end."},
	{secretDecoded, "The client decoded the secret before it signed with it.",
		"A secret is text: use it as it is, even if it looks like base64, hexadecimal digits or percent-encoding."},
	{keyAsSecret, "The client signed with a key in place of a secret.",
		"oauth_consumer_key and oauth_token are names, and are sent. Sign with the secrets that belong to them."},
	{secretTwice, "The client signed with the same secret twice.",
		"The key is the consumer's secret, &, and the token's secret."},

	// The method and the form of the signature.
	{otherMethod, "The client signed with {signed}, and its oauth_signature_method says {expected}.",
		"Name the method that is used."},
	{methodNotAccepted, "The client signed with {signed}, which this consumer may not use.", "Use {expected}."},
	{httpMethod, "The client signed the method {signed}, and sent {expected}.", "Sign the method that is sent."},
	{httpMethodCase, "The client signed the method as {signed}.", "Sign it in upper case, {expected}."},
	{signatureHex, "The client sent the signature as hexadecimal digits.", "Send it as base64 of the raw bytes."},
	{signatureHexIn64, "The client sent base64 of the signature's hexadecimal digits.",
		"Take base64 of the raw bytes: many HMAC functions return hexadecimal digits unless they are asked for bytes."},
	{signatureURLSafe, "The client sent the signature as URL-safe base64.",
		"Use standard base64, with + and /, then percent-encode it."},
	{signaturePadding, "The client sent the signature without the = at its end.", "Keep base64's padding."},
	{signatureEncoded, "The client percent-encoded the signature twice.", "Encode it once: = is sent as %3D, not as %253D."},
	{signaturePlus, "The client sent the signature unencoded, so its + arrived as a space.",
		"Percent-encode the signature: + is sent as %2B."},
	{signatureBlank, "The client sent the signature with blanks or line ends in it.", "Use base64 without line ends."},
	{hmacSwapped, "The client gave the HMAC function the key as the text and the text as the key.",
		"Swap the two arguments."},
	{rsaPSS, "The client signed with RSA-PSS.", "Use PKCS #1 v1.5, which OAuth 1.0 asks for."},
	{rsaOtherKey, "The client signed with another key of this consumer.",
		"Sign with the private key that belongs to the registered public key, or register the other one."},
	{rsaOverDigest, "The client hashed the base string before it gave it to a function that hashes it too.",
		"Sign the base string itself, or use a function that takes a finished hash."},
	{rsaBareDigest, "The client signed the hash without the name of its algorithm around it.",
		"Use PKCS #1 v1.5 with the hash's DigestInfo: name the hash when you sign."},

	// The timestamp, the nonce and the keys' names.
	{timestampUnit, "The timestamp is in {signed}.", "Send whole seconds since 1970."},
	{timestampText, "The timestamp is no whole number of seconds.", "Send the seconds since 1970, in digits alone."},
	{timestampZone, "The timestamp is {signed}, which is the difference of a time zone: local time was taken for UTC.",
		"Count the seconds since 1970 in UTC."},
	{timestampOff, "The timestamp is {signed}; at most {expected} are accepted.",
		"Set the client's clock by NTP, and make the timestamp when the request is sent."},
	{clockOff, "The timestamp is {signed}, and this consumer's always are.",
		"The client's clock is wrong: set it by NTP. At most {expected} are accepted."},
	{nonceRetry, "The client sent the same signed request again after {signed}.",
		"Sign each attempt anew, with a new nonce and timestamp, a retry too."},
	{nonceRepeated, "The client used this nonce before, {signed} ago.",
		"Make a new random nonce for each request."},
	{nonceOtherAddress, "This nonce was used {signed} ago, from another address.",
		"Two clients share a nonce generator, or a request was recorded and sent again. Make nonces at random."},
	{keyRequestToken, "{parameter} is a request token.", "Exchange it for an access token first, and sign with that."},
	{keyExpired, "{parameter} has expired.", "Get a new access token."},
	{keyRevoked, "{parameter} was revoked.", "Ask the user for a new grant."},
	{keyExchanged, "{parameter} is a request token that was exchanged already.",
		"Sign with the access token that the exchange returned."},
	{keyOfAnother, "{parameter} belongs to another consumer.",
		"Use the consumer key that the token was granted to, with its secret."},
	{keyIsConsumer, "{parameter} is a consumer key.", "Send the consumer key as oauth_consumer_key, and the token as oauth_token."},
	{keyIsToken, "{parameter} is a token.", "Send the consumer key as oauth_consumer_key, and the token as oauth_token."},
	{keyRemoved, "{parameter} was removed.", "Ask the operator of the site for a new key."},
	{keyBlanks, "{parameter} has a blank or a line end too many.", "Send the key without anything around it."},
	{keyCase, "{parameter} is known in another case.", "Send the key in the upper and lower case in which it was given."},
	{keyEncoded, "{parameter} is percent-encoded twice.", "Encode the key once."},
	{keyQuoted, "{parameter} has quotes around it.", "Send the key without quotes: look at how the client reads its settings."},
}
