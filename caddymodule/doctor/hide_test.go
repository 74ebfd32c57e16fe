package doctor

import (
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor/doctortest"
)

// TestHideInURLs: whichever part of another a secret is, however it is encoded, and wherever it is.
func TestHideInURLs(t *testing.T) {
	t.Parallel()
	keys := Keys{
		ConsumerSecret: "test", TokenSecret: "testtoken123", PreviousSecret: "a b/c~d",
		RequestTokenSecret: "qZ3/kP9+xW==", Others: []string{"overlap", "x&y=zz", " ends\n", "100%41", "abc"},
	}
	hider := keys.Hider()
	for text, want := range map[string]string{
		"x=testtoken123&y=1":                       "***",
		"https://h/?x=testtoken123&y=1":            "https://h/?x=***&y=1",
		"https://h/?x=1testtoken1234&y=1":          "https://h/?x=***&y=1",
		"overlap":                                  "***",
		"overlap.example.com":                      "***",
		"https://overlap.example.com/a":            "***/a",
		"https://h/a?x=a+b%2fc%7Ed&y=1+2&z":        "https://h/a?x=***&y=1+2&z",
		"https://h/%61%20b%2Fc~d/x%2Fy?q=t%65st":   "https://h/***/x%2Fy?q=***",
		"https://h/?x=a%2520b%252fc~d&%74esttoken": "https://h/?x=***&***",
		"https://h/?x=a%25252520b%2525252fc~d":     "https://h/?x=***",
		"https://h/?x=%zz+":                        "https://h/?x=%zz+",
		"https://h/?x=%zz%74est%":                  "https://h/?x=***",
		"https://h/?test=1&b=2":                    "https://h/?***=1&b=2",
		"https://h/?b=2&ends":                      "https://h/?b=2&***",
		"https://h/?b=2&v=x%26y%3dzz":              "https://h/?b=2&v=***",
		"https://h/?b=2&x&y=zz":                    "https://h/?***",
		"https://h/?b=100%2541&c=100A&d=100%41":    "https://h/?b=***&c=***&d=***",
		"https://h/?b=%41test&c=abc":               "https://h/?b=***&c=abc",
		"https://h/?b=qZ3/kP9+xW==":                "https://h/?b=***",
		"https://h/?b=qZ3/kP9%2BxW%3D%3D":          "https://h/?b=***",
		"https://h/?b=qZ3%2fkP9%2bxW%3d=":          "https://h/?b=***",
		"https://h/?b=%71Z3/kP9%20xW==":            "https://h/?b=***",
		"https://h/a/qZ3/kP9+xW==/b?c=1":           "https://h/***?c=1",
		"https://h/a/qZ3%2FkP9%2BxW%3D%3D/b?c=1":   "https://h/a/***/b?c=1",
		"/a/qZ3/kP9%2BxW%3D%3D/b":                  "/***",
		"":                                         "",
	} {
		if got := hider.URL(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"GET&http%3A%2F%2Fh%2Fa&b%3D1":                                        "GET&http%3A%2F%2Fh%2Fa&b%3D1",
		"GET&http%3A%2F%2Fh%2Fa%2Foverlap&b%3D1":                              "GET&http%3A%2F%2Fh%2Fa%2F***&b%3D1",
		"GET&http%3A%2F%2Fh%2Fa&b%3DqZ3%252FkP9%252BxW%253D%253D%26c%3D1":     "GET&http%3A%2F%2Fh%2Fa&b%3D***%26c%3D1",
		"GET&http%3A%2F%2Fh%2Fa&b%3DqZ3%252FkP9%2520xW%253D%253D%26c%3D1":     "GET&http%3A%2F%2Fh%2Fa&b%3D***%26c%3D1",
		"GET&http%3A%2F%2Fh%2Fa&b%3D1%26c%3DqZ3%25252fkP9%25252bxW%25253d%3D": "GET&http%3A%2F%2Fh%2Fa&b%3D1%26c%3D***",
		"GET&http%3A%2F%2Fh%2FqZ3%2FkP9%252BxW%3D%3D&b%3D1":                   "GET&***&b%3D1",
		"GET http://h/ overlap":                                               "***",
	} {
		if got := hider.BaseString(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if got := new(Keys).Hider().URL("https://h/?a=%41"); got != "https://h/?a=%41" {
		t.Errorf("without a secret: %s", got)
	}
}

// TestHiddenIsOneValueAtLeast: what is left of a value does not tell where in it a secret was, so that a
// reader who sends guesses learns that one of them is right, and not which.
func TestHiddenIsOneValueAtLeast(t *testing.T) {
	t.Parallel()
	keys := Keys{ConsumerSecret: "73912345"}
	for _, text := range []string{"73912344x73912345x73912346", "73912345", "%37%33912345x73912346"} {
		if got := keys.Hider().URL("https://h/?g=" + text); got != "https://h/?g=***" {
			t.Errorf("%s: %s", text, got)
		}
		if got := keys.Hider().Text(text); got != hiddenText {
			t.Errorf("%s: %s", text, got)
		}
	}
}

// FuzzHide: whatever stands around a secret, and however often and in whatever manner the whole is
// encoded, the secret is not shown.
func FuzzHide(f *testing.F) {
	for _, secret := range []string{"qZ3/kP9+xW==", "a b&c", "%41bcd", "100%", "é?#x", "test\n"} {
		f.Add(secret, "/a?b=", "&c=d", 0)
		f.Add(secret, "a%", "%41", 5)
		f.Add(secret, "%2", "5", 9)
	}
	f.Fuzz(func(t *testing.T, secret, before, after string, how int) {
		keys := Keys{ConsumerSecret: secret}
		hider := keys.Hider()
		text := strings.TrimSpace(secret)
		if len(text) < leastSecret || len(hider.secrets) == 0 || strings.Trim(text, "*") == "" {
			t.Skip()
		}
		if endsInEscape(before) || endsInEscape(text) {
			t.Skip() // the next character belongs to the escape, so this is another text
		}
		for range how & 3 {
			switch how = how >> 2; how & 3 {
			case 0:
				text = url.QueryEscape(text)
			case 1:
				text = url.PathEscape(text)
			case 2:
				text = escapes(doctortest.Percent(text), strings.ToLower)
			case 3:
				text = everyByte(text)
			}
		}
		for _, got := range []string{hider.URL(before + text + after), hider.Text(before + text + after),
			hider.BaseString("GET&" + before + text + "&" + after)} {
			if strings.Contains(got, text) {
				t.Errorf("%q in %q: %q", text, before+text+after, got)
			}
		}
	})
}

// endsInEscape reports whether a text ends in the beginning of an encoded byte, however often it is
// encoded.
func endsInEscape(text string) bool {
	return strings.Contains(decodeAll(text)[max(0, len(decodeAll(text))-2):], "%")
}

// everyByte encodes each byte.
func everyByte(text string) string {
	var b strings.Builder
	for i := range len(text) {
		b.WriteString("%" + string("0123456789ABCDEF"[text[i]>>4]) + string("0123456789abcdef"[text[i]&15]))
	}
	return b.String()
}

// TestDecodeAll: all at once is the same as one after the other.
func TestDecodeAll(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "%": "%", "%4": "%4", "%zz": "%zz", "%41": "A", "%2541": "A", "%25252541": "A", "%%34%31": "A",
		"%2%35%34%31": "A", "a%25": "a%", "%25%": "%%",
	} {
		if got := decodeAll(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
		for range len(text) {
			text = DecodeEach(text)
		}
		if text != want {
			t.Errorf("one after the other: %s, want %s", text, want)
		}
	}
}

// hostileTexts are as long as what the server hides secrets in, and made to cost much.
var hostileTexts = map[string]string{
	"nested":      "GET&a&" + strings.Repeat("%25", 1) + strings.Repeat("25", 32<<10),
	"encoded":     "GET&a&" + strings.Repeat("%2525", 13<<10),
	"parameters":  "GET&a&" + strings.Repeat("secr%3D%2541%26", 4<<10) + "secret1",
	"nearly":      "GET&a&" + strings.Repeat("secret", 10<<10) + "secret1",
	"plus":        "GET&a&" + strings.Repeat("+", 64<<10),
	"path":        "GET&" + strings.Repeat("%2F%2541", 8<<10) + "secret1&",
	"many hidden": "GET&a&" + strings.Repeat("secret1%26", 6<<10),
}

// TestHidingCostsLittle: the memory that is made, of which the time consists mostly, is bounded. The
// benchmark tells the time.
func TestHidingCostsLittle(t *testing.T) {
	const most = 4 << 20
	keys := hidingKeys()
	for name, text := range hostileTexts {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		keys.Hider().BaseString(text)
		runtime.ReadMemStats(&after)
		if made := after.TotalAlloc - before.TotalAlloc; made > most {
			t.Errorf("%s: %d bytes are made, at most %d should be", name, made, most)
		}
	}
}

func hidingKeys() Keys {
	return Keys{ConsumerSecret: "secret1", TokenSecret: "secret 2+", PreviousSecret: "secret%3",
		RequestTokenSecret: "secret4/"}
}
