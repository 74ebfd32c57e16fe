package doctor

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// A secretKey is a text of HMAC's key, which is PLAINTEXT's signature too. The first of a list is
// the right one, and has no mistakes.
type secretKey struct {
	text     []byte
	mistakes []Mistake
	// void says that the key is not one of its own: it is there already, or these secrets have no
	// such form. It is tried as all others and matches nothing.
	void bool
}

// isFrequent reports whether the key's mistake is often made together with another one.
func (k *secretKey) isFrequent() bool {
	if len(k.mistakes) != 1 {
		return false
	}
	switch k.mistakes[0].Name {
	case tokenSecretLeftOut, consumerSecretLeftOut, ampersandLeftOut, secretsNotEncoded, previousSecret,
		requestTokenSecret:
		return true
	}
	return false
}

// secretKeys returns the right key and its alternatives, the likelier ones first.
//
// How many there are, and how many mistakes each has, must not depend on the secrets: where the limits
// end a search, and how long it takes, tells the sender of a request that it has cut to measure. So
// an alternative that these secrets don't have is in the list as a void one.
func (c *Case) secretKeys() []secretKey {
	k := keyList{consumer: c.Keys.ConsumerSecret, token: c.Keys.TokenSecret}
	consumer, token := k.consumer, k.token
	k.hasToken = c.Params.Token != "" || token != ""
	k.encoded(consumer, token)
	if k.hasToken {
		k.encoded(consumer, "", tokenSecretLeftOut)
	}
	k.add(consumer+token, ampersandLeftOut)
	k.add(oauth1.Encode(consumer)+oauth1.Encode(token), ampersandLeftOut)
	if k.hasToken {
		k.add(consumer, tokenSecretLeftOut, ampersandLeftOut)
	}
	k.add(consumer+"&"+token, secretsNotEncoded)
	k.encoded(oauth1.Encode(consumer), oauth1.Encode(token), secretsEncodedTwice)
	if k.hasToken {
		k.add(consumer+"&", tokenSecretLeftOut, secretsNotEncoded)
	}
	k.others(c)
	if k.hasToken {
		k.encoded(token, consumer, secretsSwapped)
	}
	k.encoded("", token, consumerSecretLeftOut)
	k.blanks()
	for _, null := range []string{"null", "undefined", "None", "nil", "false"} {
		k.encoded(consumer, null, tokenSecretNull)
		k.list[len(k.list)-1].show(tokenSecretNull, null)
	}
	p := &c.Params
	k.encoded(p.ConsumerKey, token, keyAsSecret)
	if p.Token != "" {
		k.encoded(consumer, p.Token, keyAsSecret)
		k.encoded(p.ConsumerKey, p.Token, keyAsSecret)
	}
	k.encoded(consumer, consumer, secretTwice)
	if k.hasToken {
		k.encoded(token, token, secretTwice)
	}
	k.decoded()
	return k.list
}

type keyList struct {
	consumer, token string
	hasToken        bool
	list            []secretKey
}

func (k *keyList) add(text string, names ...string) { k.addIf(true, text, names...) }

// addIf adds a key, which is void unless it exists and is new.
func (k *keyList) addIf(exists bool, text string, names ...string) {
	key := secretKey{text: []byte(text), void: !exists}
	for i := range k.list {
		key.void = key.void || !k.list[i].void && string(k.list[i].text) == text
	}
	for _, name := range names {
		key.mistakes = append(key.mistakes, Mistake{Name: name})
	}
	k.list = append(k.list, key)
}

func (k *keyList) encoded(consumer, token string, names ...string) {
	k.encodedIf(true, consumer, token, names...)
}

func (k *keyList) encodedIf(exists bool, consumer, token string, names ...string) {
	k.addIf(exists, oauth1.Encode(consumer)+"&"+oauth1.Encode(token), names...)
}

// others adds keys of secrets that are no longer those of the consumer and the token.
func (k *keyList) others(c *Case) {
	consumer, token := k.consumer, k.token
	previous := c.Keys.PreviousSecret
	k.encodedIf(previous != "", previous, token, previousSecret)
	k.addIf(previous != "", previous+"&"+token, previousSecret, secretsNotEncoded)
	if !k.hasToken {
		return
	}
	k.encodedIf(previous != "", previous, "", previousSecret, tokenSecretLeftOut)
	request := c.Keys.RequestTokenSecret
	k.encodedIf(request != "", consumer, request, requestTokenSecret)
	k.addIf(request != "", consumer+"&"+request, requestTokenSecret, secretsNotEncoded)
}

// show says what was signed, if the last key has this mistake.
func (k *secretKey) show(name, signed string) {
	if i := slices.IndexFunc(k.mistakes, func(m Mistake) bool { return m.Name == name }); i >= 0 && k.mistakes[i].Signed == "" {
		k.mistakes[i].Signed = signed
	}
}

// blanks adds keys with blanks around a secret, and those without the blanks that a secret has. A
// client that does not encode its secrets leaves the blank unencoded.
func (k *keyList) blanks() {
	unencoded := !plain(k.consumer) || !plain(k.token)
	both := func(consumer, token string) {
		k.encoded(consumer, token, secretBlank)
		k.addIf(!unencoded, consumer+"&"+token, secretBlank)
		k.addIf(unencoded, consumer+"&"+token, secretBlank, secretsNotEncoded)
	}
	both(strings.TrimSpace(k.consumer), strings.TrimSpace(k.token))
	for _, blank := range []string{"\n", "\r\n", " ", "\t"} {
		both(k.consumer+blank, k.token)
		if k.hasToken {
			both(k.consumer, k.token+blank)
			both(k.consumer+blank, k.token+blank)
		}
	}
	both(" "+k.consumer, k.token)
	if k.hasToken {
		both(k.consumer, " "+k.token)
	}
}

// plain reports whether a secret needs no encoding.
func plain(secret string) bool { return oauth1.Encode(secret) == secret }

// decoded adds keys of secrets that were decoded once.
func (k *keyList) decoded() {
	for _, decode := range []func(string) (string, bool){
		func(s string) (string, bool) { d, err := oauth1.Decode(s); return d, err == nil },
		func(s string) (string, bool) { d, err := hex.DecodeString(s); return string(d), err == nil },
		func(s string) (string, bool) {
			d, err := base64.StdEncoding.DecodeString(s)
			return string(d), err == nil
		},
	} {
		consumer, ok1 := decode(k.consumer)
		token, ok2 := decode(k.token)
		k.encodedIf(ok1, consumer, k.token, secretDecoded)
		k.addIf(ok1, consumer+"&"+k.token, secretDecoded)
		if k.hasToken {
			k.encodedIf(ok2, k.consumer, token, secretDecoded)
			k.addIf(ok2, k.consumer+"&"+token, secretDecoded)
			k.encodedIf(ok1 && ok2, consumer, token, secretDecoded)
			k.addIf(ok1 && ok2, consumer+"&"+token, secretDecoded)
		}
	}
}

func clearKeys(keys []secretKey) {
	for i := range keys {
		clear(keys[i].text[:cap(keys[i].text)])
	}
}
