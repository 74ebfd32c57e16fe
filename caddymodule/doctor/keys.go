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

// secretKeys returns the right key and its alternatives, the likelier ones first, each once.
func (c *Case) secretKeys() []secretKey {
	k := keyList{consumer: c.Keys.ConsumerSecret, token: c.Keys.TokenSecret}
	consumer, token := k.consumer, k.token
	k.encoded(consumer, token)
	if token != "" {
		k.encoded(consumer, "", tokenSecretLeftOut)
	}
	k.add(consumer+token, ampersandLeftOut)
	k.add(oauth1.Encode(consumer)+oauth1.Encode(token), ampersandLeftOut)
	if token != "" {
		k.add(consumer, tokenSecretLeftOut, ampersandLeftOut)
	}
	k.add(consumer+"&"+token, secretsNotEncoded)
	k.encoded(oauth1.Encode(consumer), oauth1.Encode(token), secretsEncodedTwice)
	if token != "" {
		k.add(consumer+"&", tokenSecretLeftOut, secretsNotEncoded)
	}
	if previous := c.Keys.PreviousSecret; previous != "" {
		k.encoded(previous, token, previousSecret)
		k.add(previous+"&"+token, previousSecret, secretsNotEncoded)
		if token != "" {
			k.encoded(previous, "", previousSecret, tokenSecretLeftOut)
		}
	}
	if request := c.Keys.RequestTokenSecret; request != "" {
		k.encoded(consumer, request, requestTokenSecret)
		k.add(consumer+"&"+request, requestTokenSecret, secretsNotEncoded)
	}
	if token != "" {
		k.encoded(token, consumer, secretsSwapped)
	}
	if consumer != "" {
		k.encoded("", token, consumerSecretLeftOut)
	}
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
	if token != "" {
		k.encoded(token, token, secretTwice)
	}
	k.decoded()
	return k.list
}

type keyList struct {
	consumer, token string
	list            []secretKey
}

func (k *keyList) add(text string, names ...string) {
	if slices.ContainsFunc(k.list, func(other secretKey) bool { return string(other.text) == text }) {
		return
	}
	key := secretKey{text: []byte(text)}
	for _, name := range names {
		key.mistakes = append(key.mistakes, Mistake{Name: name})
	}
	k.list = append(k.list, key)
}

func (k *keyList) encoded(consumer, token string, names ...string) {
	k.add(oauth1.Encode(consumer)+"&"+oauth1.Encode(token), names...)
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
	both := func(consumer, token string) {
		k.encoded(consumer, token, secretBlank)
		if plain(k.consumer) && plain(k.token) {
			k.add(consumer+"&"+token, secretBlank)
		} else {
			k.add(consumer+"&"+token, secretBlank, secretsNotEncoded)
		}
	}
	both(strings.TrimSpace(k.consumer), strings.TrimSpace(k.token))
	for _, blank := range []string{"\n", "\r\n", " ", "\t"} {
		both(k.consumer+blank, k.token)
		if k.token != "" {
			both(k.consumer, k.token+blank)
			both(k.consumer+blank, k.token+blank)
		}
	}
	both(" "+k.consumer, k.token)
	if k.token != "" {
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
		if ok1 {
			k.encoded(consumer, k.token, secretDecoded)
			k.add(consumer+"&"+k.token, secretDecoded)
		}
		if ok2 {
			k.encoded(k.consumer, token, secretDecoded)
			k.add(k.consumer+"&"+token, secretDecoded)
		}
		if ok1 && ok2 {
			k.encoded(consumer, token, secretDecoded)
			k.add(consumer+"&"+token, secretDecoded)
		}
	}
}

// Hide replaces the secrets in a text that is shown, as it stands or encoded. Some clients send
// their secrets as parameters.
func (c *Case) Hide(text string) string { return hide(text, c.hidden()) }

func hide(text string, secrets []string) string {
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, hiddenText)
	}
	return text
}

const hiddenText = "***"

// hidden returns the secrets, as they stand and encoded, the longest first: one may be a part of
// another.
func (c *Case) hidden() (texts []string) {
	const least = 4 // a shorter text is found by chance
	for _, secret := range append([]string{
		c.Keys.ConsumerSecret, c.Keys.PreviousSecret, c.Keys.TokenSecret, c.Keys.RequestTokenSecret,
	}, c.Keys.Others...) {
		for range 3 {
			if len(secret) < least || slices.Contains(texts, secret) {
				break
			}
			texts = append(texts, secret)
			secret = oauth1.Encode(secret)
		}
	}
	slices.SortStableFunc(texts, func(a, b string) int { return len(b) - len(a) })
	return texts
}

// HideInURL is Hide for a URL or a part of it. It knows a secret in whatever encoding a client has
// sent it.
func (c *Case) HideInURL(text string) string {
	secrets := c.hidden()
	text = hide(text, secrets)
	if !strings.ContainsAny(text, "%+") {
		return text
	}
	var b strings.Builder
	for text != "" {
		end := strings.IndexAny(text, "/?&=")
		if end < 0 {
			end = len(text)
		}
		piece := text[:end]
		plain := piece
		for range 2 {
			if decoded, err := formDecode(plain); err == nil {
				plain = decoded
			}
			if hide(plain, secrets) != plain {
				piece = hiddenText
				break
			}
		}
		b.WriteString(piece)
		if end < len(text) {
			b.WriteByte(text[end])
			end++
		}
		text = text[end:]
	}
	return b.String()
}

func clearKeys(keys []secretKey) {
	for i := range keys {
		clear(keys[i].text[:cap(keys[i].text)])
	}
}
