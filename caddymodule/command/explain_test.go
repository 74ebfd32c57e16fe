package command

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExplainGolden(t *testing.T) {
	const header = `Authorization: OAuth realm="x", oauth_consumer_key="ci%20bot", oauth_nonce="abc", oauth_signature="canary%3D", ` +
		`oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131201", oauth_version="1.0"`
	const target = "https://api.example.com:443/a%20b?z=1&a=2%202&a=1"
	const right = "POST&https%3A%2F%2Fapi.example.com%2Fa%2520b&a%3D1%26a%3D2%25202%26body%3Dx%252By%26oauth_consumer_key%3Dci%2520bot%26" +
		"oauth_nonce%3Dabc%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_version%3D1.0%26z%3D1"
	changed := func(old, new string) string {
		if !strings.Contains(right, old) {
			t.Fatalf("%q is not in the base string", old)
		}
		return strings.Replace(right, old, new, 1)
	}
	for _, c := range []struct{ file, client string }{
		{"alone", ""},
		{"same", right},
		{"method", changed("POST", "GET")},
		{"scheme", changed("https", "http")},
		{"port", changed("example.com", "example.com%3A443")},
		{"path", changed("a%2520b", "a%20b")},
		{"value", changed("abc", "abd")},
		{"encoded-twice", changed("x%252By", "x%25252By")},
		{"plus", changed("2%25202", "2%2B2")},
		{"missing", changed("%26body%3Dx%252By", "")},
		{"more", changed("%26z%3D1", "%26z%3D1%26zz%3D")},
		{"less", changed("%26z%3D1", "")},
		{"lower-case", changed("%2Fa%2520b", "%2fa%2520b")},
		{"method-lower-case", changed("POST", "post")},
		{"order", changed("a%3D1%26a%3D2%25202", "a%3D2%25202%26a%3D1")},
	} {
		t.Run(c.file, func(t *testing.T) {
			args := []string{"explain", "post", target, "--header", header, "--data", "body=x%2by"}
			if c.client != "" {
				args = append(args, "--base-string", c.client)
			}
			got, err := runCommand("", args...)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(got, "canary") {
				t.Errorf("the signature is shown: %s", got)
			}
			golden := filepath.Join("testdata", "explain", c.file+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestExplainReadsTheBaseString(t *testing.T) {
	base := "GET&http%3A%2F%2Fh%2F&oauth_consumer_key%3Dk"
	request := []string{"explain", "GET", "http://h/", "--header", `authorization:OAuth oauth_consumer_key="k"`, "--base-string"}
	for _, c := range []struct{ name, value, stdin string }{
		{"a text", base, ""},
		{"a file", writeFile(t, base+"\n"), ""},
		{"standard input", "-", base + "\r\n"},
	} {
		out, err := runCommand(c.stdin, append(request, c.value)...)
		if err != nil || !strings.Contains(out, "The client's base string is the same.") {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
	}
	for value, want := range map[string]string{
		"/nowhere":               "neither a text with two & nor a file",
		writeFile(t, "GET&x"):    "the client's base string: has 2 parts",
		writeFile(t, "a&b&c&d"):  "has 4 parts",
		writeFile(t, "a\x1b&\n"): "has 2 parts",
	} {
		if _, err := runCommand("", append(request, value)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", value, err, want)
		}
	}
}

func TestExplainOfOtherSources(t *testing.T) {
	query := url.Values{"oauth_consumer_key": {"k"}, "oauth_signature_method": {"PLAINTEXT"}, "oauth_signature": {"canary&"}}.Encode()
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"the query", []string{"GET", "http://h/?" + query}, []string{"are in the query", "PLAINTEXT: the signature covers none"}},
		{"the form", []string{"POST", "http://h/", "--data", query}, []string{"are in the form body"}},
		{"a verifier apart from the rest", []string{"POST", "http://h/", "--header", `Authorization: OAuth oauth_token="k"`, "--data", "oauth_verifier=v"},
			[]string{"Only the token endpoints accept this: OAuth parameters in two places", `oauth_verifier = "v"`}},
	} {
		out, err := runCommand("", append([]string{"explain"}, c.args...)...)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) || strings.Contains(out, "canary") {
				t.Errorf("%s: got\n%s", c.name, out)
			}
		}
	}
}

func TestExplainRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"GET", "http://h/"}, "no OAuth parameters"},
		{[]string{"GET", "http://h/", "--header", "Host: x"}, "only the Authorization header"},
		{[]string{"GET", "http://h/", "--header", "Authorization: Basic x"}, "no OAuth parameters"},
		{[]string{"GET", "http://h/", "--header", `Authorization: OAuth oauth_token="%zz"`}, "the server refuses this request: oauth_token: malformed"},
		{[]string{"GET", "http://h/?oauth_token=1&oauth_token=2"}, "the server refuses this request: oauth_token: sent twice"},
	} {
		if _, err := runCommand("", append([]string{"explain"}, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.args, err, c.want)
		}
	}
}
