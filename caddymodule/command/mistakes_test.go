package command

import (
	"slices"
	"strings"
	"testing"
)

// TestExplainMistakes: base strings with mistakes of real clients, and the explanation of each.
// Rows stand in pairs if two mistakes are opposites.
func TestExplainMistakes(t *testing.T) {
	const header = `Authorization: OAuth oauth_consumer_key="ci%20bot", oauth_nonce="a%2Bb%2F"`
	const target = "https://api.example.com/a%20b?name=a%20b&pct=5%2525&plus=1%2B1&" +
		"q=it%27s%28x%29%2A&tilde=~x"
	const form = "body=x%26y+z"
	const right = "POST&https%3A%2F%2Fapi.example.com%2Fa%2520b&body%3Dx%2526y%2520z%26name%3Da%2520b%26" +
		"oauth_consumer_key%3Dci%2520bot%26oauth_nonce%3Da%252Bb%252F%26pct%3D5%252525%26plus%3D1%252B1%26" +
		"q%3Dit%2527s%2528x%2529%252A%26tilde%3D~x"
	said := []string{
		saidTooFew, saidTooOften, saidSentTooOften, saidDecodedTwice,
		saidPlusIsSpace, saidSpaceAsPlus, saidUnencoded, saidTilde,
		saidCase, saidURLNotEncoded, saidPathDecoded, saidPort, saidQuery, saidParamsNotEncoded,
	}
	for _, c := range []struct{ name, old, new, want string }{
		{"a value of the query, too few", "name%3Da%2520b", "name%3Da%20b", saidTooFew},
		{"a value of the query, too often", "name%3Da%2520b", "name%3Da%252520b", saidTooOften},
		// this mistake looks like two
		{"a value of the form, too few", "body%3Dx%2526y%2520z", "body%3Dx%26y%20z", saidTooFew},
		{"a value of the form, too often", "body%3Dx%2526y%2520z", "body%3Dx%252526y%252520z", saidTooOften},
		{"a value of the header, too few", "oauth_consumer_key%3Dci%2520bot",
			"oauth_consumer_key%3Dci%20bot", saidTooFew},
		{"a value of the header, too often", "oauth_consumer_key%3Dci%2520bot",
			"oauth_consumer_key%3Dci%252520bot", saidTooOften},
		{"a nonce, too few", "oauth_nonce%3Da%252Bb%252F", "oauth_nonce%3Da%2Bb%2F", saidTooFew},
		{"a nonce, too often", "oauth_nonce%3Da%252Bb%252F", "oauth_nonce%3Da%25252Bb%25252F", saidTooOften},
		{"a value not at all", "name%3Da%2520b", "name%3Da b", saidTooFew},
		{"a value that is sent encoded twice", "pct%3D5%252525", "pct%3D5%2525", saidSentTooOften},
		{"a value with an escape, too often", "pct%3D5%252525", "pct%3D5%25252525", saidTooOften},
		{"the path, too few", "%2Fa%2520b&", "%2Fa%20b&", saidPathDecoded},
		{"the path, too often", "%2Fa%2520b&", "%2Fa%252520b&", saidTooOften},
		{"the URL, too few", "https%3A%2F%2Fapi.example.com%2Fa%2520b", "https://api.example.com/a%20b",
			saidURLNotEncoded},
		{"the URL, not at all", "https%3A%2F%2Fapi.example.com%2Fa%2520b", "https://api.example.com/a b",
			saidURLNotEncoded},
		{"the URL, too often", "https%3A%2F%2Fapi.example.com%2Fa%2520b",
			"https%253A%252F%252Fapi.example.com%252Fa%252520b", saidTooOften},
		{"all parameters, too few", right[strings.LastIndex(right, "&")+1:],
			decodeText(right[strings.LastIndex(right, "&")+1:]), saidParamsNotEncoded},
		{"all parameters, not at all", right[strings.LastIndex(right, "&")+1:], "name=a b&x=y", ""},
		{"all parameters, too often", right[strings.LastIndex(right, "&")+1:],
			encodedAgain(right[strings.LastIndex(right, "&")+1:]), saidTooOften},
		{"a + that was sent as %2B is a space", "plus%3D1%252B1", "plus%3D1%25201", saidDecodedTwice},
		{"a space that was sent as + is a +", "y%2520z", "y%252Bz", saidPlusIsSpace},
		{"a space in the base string is a +", "name%3Da%2520b", "name%3Da%2Bb", saidSpaceAsPlus},
		{"JavaScript's encodeURIComponent inside", "q%3Dit%2527s%2528x%2529%252A", "q%3Dit%27s%28x%29%2A",
			saidTooFew},
		{"JavaScript's encodeURIComponent", "q%3Dit%2527s%2528x%2529%252A", "q%3Dit's(x)*", saidUnencoded},
		{"a tilde", "tilde%3D~x", "tilde%3D%257Ex", saidTilde},
		{"digits in lower case", "oauth_nonce%3Da%252Bb%252F", "oauth_nonce%3Da%252bb%252f", saidCase},
		{"the path's digits in lower case", "%3A%2F%2Fapi", "%3a%2f%2fapi", saidCase},
		{"a host in upper case", "api.example.com", "API.example.com", saidCase},
		{"the method in lower case", "POST&", "post&", saidCase},
		{"a port", "example.com%2F", "example.com%3A443%2F", saidPort},
		{"the query in the URL", "a%2520b&", "a%2520b%3Fname%3Da%2520b&", saidQuery},
		{"another value", "name%3Da%2520b", "name%3Dsomething", ""},
		{"another path", "%2Fa%2520b&", "%2Fc&", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Count(right, c.old) != 1 {
				t.Fatalf("%q is in the base string %d times", c.old, strings.Count(right, c.old))
			}
			out, err := runCommand("", "explain", "POST", target, "--header", header, "--data", form,
				"--base-string", strings.Replace(right, c.old, c.new, 1))
			if err != nil {
				out += "\n" + err.Error()
			}
			if !strings.Contains(out, right) {
				t.Fatalf("the server's base string is another:\n%s", out)
			}
			got := slices.DeleteFunc(slices.Clone(said),
				func(s string) bool { return !strings.Contains(out, s) })
			if want := []string{c.want}; c.want == "" && len(got) > 0 || c.want != "" &&
				!slices.Equal(got, want) {
				t.Errorf("says %q, want %q\n%s", got, c.want, out)
			}
		})
	}
}

func encodedAgain(s string) string { return strings.ReplaceAll(s, "%", "%25") }

// TestExplainPairsParameters: a mistake in several parameters is explained once, and a parameter
// that only one side has is named.
func TestExplainPairsParameters(t *testing.T) {
	t.Parallel()
	pairs, onlyServer, onlyClient := pairMistaken(
		[]string{"a%3D1%25202", "b%3Dx", "b%3Dx", "c%3D3%25204", "d%3D1"},
		[]string{"a%3D1%202", "b%3Dx", "c%3D3%204", "e%3D1"},
	)
	want := []mistaken{{"a%3D1%25202", "a%3D1%202", saidTooFew}, {"c%3D3%25204", "c%3D3%204", saidTooFew}}
	if !slices.Equal(pairs, want) || !slices.Equal(onlyServer, []string{"b%3Dx", "d%3D1"}) ||
		!slices.Equal(onlyClient, []string{"e%3D1"}) {
		t.Errorf("got %q, only the server's %q, only the client's %q", pairs, onlyServer, onlyClient)
	}
}
