package doctor

import (
	"slices"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// KeyKind says whether a key is that of a consumer or of a token.
type KeyKind uint8

const (
	ConsumerKey KeyKind = iota
	TokenKey
)

// Found is the nearest thing that an unknown key is, as the caller found out.
type Found uint8

const (
	FoundNothing            Found = iota
	FoundRequestToken             // a request token that was not exchanged
	FoundExchangedToken           // a request token that was exchanged for an access token
	FoundExpiredToken             // an access token that expired
	FoundRevokedToken             // an access token that was revoked
	FoundTokenOfAnother           // a token of another consumer
	FoundConsumerKeyAsToken       // the key of a consumer, sent as oauth_token
	FoundTokenAsConsumerKey       // a token, sent as oauth_consumer_key
	FoundRemovedConsumer          // a consumer that was removed
	FoundWithBlanks               // known without the blanks around it
	FoundInOtherCase              // known in another case
	FoundEncoded                  // known when it is percent-decoded once more
	FoundQuoted                   // known without the quotes around it
)

// NearKey is a key that an unknown key may stand for, and what it is if it is known.
type NearKey struct {
	Key   string
	Found Found
}

// NearKeys returns the keys that an unknown key may stand for, without the key itself: the caller
// looks them up, and gives what it found to UnknownKey. They are few, and none is longer than the
// key.
func NearKeys(key string) []NearKey {
	const most = 512
	if len(key) > most {
		return nil
	}
	var near []NearKey
	add := func(other string, found Found) {
		if other != "" && other != key && !slices.ContainsFunc(near, func(n NearKey) bool { return n.Key == other }) {
			near = append(near, NearKey{other, found})
		}
	}
	add(strings.TrimSpace(key), FoundWithBlanks)
	add(strings.Trim(strings.TrimSpace(key), `"'`), FoundQuoted)
	if decoded, err := oauth1.Decode(key); err == nil {
		add(decoded, FoundEncoded)
	}
	add(strings.ToLower(key), FoundInOtherCase)
	add(strings.ToUpper(key), FoundInOtherCase)
	return near
}

// UnknownKey says what an unknown key is. There is no mistake if nothing was found.
func UnknownKey(kind KeyKind, found Found) Diagnosis {
	m := Mistake{Parameter: "oauth_consumer_key"}
	if kind == TokenKey {
		m.Parameter = "oauth_token"
	}
	if m.Name = foundNames[found]; m.Name == "" {
		return Diagnosis{}
	}
	return mistaken(m)
}

var foundNames = map[Found]string{
	FoundRequestToken:       keyRequestToken,
	FoundExchangedToken:     keyExchanged,
	FoundExpiredToken:       keyExpired,
	FoundRevokedToken:       keyRevoked,
	FoundTokenOfAnother:     keyOfAnother,
	FoundConsumerKeyAsToken: keyIsConsumer,
	FoundTokenAsConsumerKey: keyIsToken,
	FoundRemovedConsumer:    keyRemoved,
	FoundWithBlanks:         keyBlanks,
	FoundInOtherCase:        keyCase,
	FoundEncoded:            keyEncoded,
	FoundQuoted:             keyQuoted,
}
