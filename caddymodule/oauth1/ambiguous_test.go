package oauth1

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// TestAmbiguous: only names in their plain form, and values that hold no parameter, leave no doubt.
func TestAmbiguous(t *testing.T) {
	t.Parallel()
	const plain = `OAuth oauth_consumer_key="nobody", oauth_token="t", oauth_signature="a%2Bb%3D"`
	for _, c := range []struct {
		name, header, query, form string
		want                      bool
	}{
		{"a header", plain, "a=1&b=2", "c=3", false},
		{"a header with more blanks and commas", `OAuth  ,oauth_consumer_key="nobody" , ,oauth_token="t",`, "", "", false},
		{"a realm", `OAuth realm="https://api.test/oauth_api", oauth_consumer_key="nobody"`, "", "", false},
		{"a realm with a list", `OAuth realm="a=b, c", oauth_consumer_key="nobody"`, "", "", false},
		{"an extension", plain + `, oauth_session_handle="x", x_auth_mode="client"`, "", "", false},
		{"a callback", plain + `, oauth_callback="https%3A%2F%2Fapp.test%2Foauth_callback%3Fa%3Db"`, "", "", false},
		{"a signature that is not encoded", plain + `, oauth_signature="a+b/c="`, "", "", false},
		{"a query", "", "oauth_consumer_key=nobody&oauth_token=t&oauth_session_handle=x", "", false},
		{"a query with an encoded name", "", "%6Fauth_consumer_key=nobody", "", false},
		{"another scheme", "Basic b2F1dGhfY29uc3VtZXJfa2V5", "oauth_consumer_key=nobody", "", false},
		{"names that only begin alike", plain, "oauth=1&oauthed_by=2&xoauth_requestor_id=3&a;b=4", "", false},

		{"a name that ends in another", plain + `, xoauth_consumer_key="printer"`, "", "", true},
		{"a name with another after a digit", plain + `, oauth_1oauth_consumer_key="printer"`, "", "", true},
		{"a header's name in capitals", plain + `, OAUTH_CONSUMER_KEY="printer"`, "", "", true},
		{"a header's name with a point", plain + `, oauth.consumer_key="printer"`, "", "", true},
		{"a header's name that is encoded", `OAuth %6Fauth_consumer_key="nobody"`, "", "", true},
		{"a realm with a parameter", `OAuth realm="oauth_consumer_key=printer,", oauth_consumer_key="nobody"`, "", "", true},
		{"a realm with an encoded parameter", `OAuth realm="a,%6Fauth_consumer_key=printer", oauth_consumer_key="nobody"`, "", "", true},
		{"a realm with quotes", `OAuth realm="a\",oauth_consumer_key=\"printer", oauth_consumer_key="nobody"`, "", "", true},
		{"a value with a parameter", plain + `, oauth_callback="oauth_consumer_key=printer"`, "", "", true},
		{"a value with a comma", plain + `, a="b,oauth_consumer_key =printer"`, "", "", true},
		{"a consumer key with a comma", `OAuth oauth_consumer_key="printer,x"`, "", "", true},
		{"a consumer key with a plus sign", `OAuth oauth_consumer_key="printer+"`, "", "", true},
		{"a consumer key in Latin-1", "OAuth oauth_consumer_key=\"printer\xa0\"", "", "", true},
		{"the scheme in lower case", `oauth oauth_consumer_key="nobody"`, "", "", true},
		{"a tab after the scheme", "OAuth\toauth_consumer_key=\"nobody\"", "", "", true},
		{"a blank before an equals sign", `OAuth oauth_consumer_key ="nobody"`, "", "", true},
		{"a blank after an equals sign", `OAuth oauth_consumer_key= "nobody"`, "", "", true},
		{"another scheme with a parameter", "OAuth1 oauth_consumer_key=printer", "oauth_consumer_key=nobody", "", true},
		{"a query's name with a point", "", "oauth_consumer_key=nobody&oauth.consumer_key=printer", "", true},
		{"a query's name with brackets", "", "oauth_consumer_key=nobody&oauth_consumer_key%5B%5D=printer", "", true},
		{"a query's name with one bracket", "", "oauth_consumer_key=nobody&oauth%5Bconsumer_key=printer", "", true},
		{"a query's name with a blank inside", "", "oauth_consumer_key=nobody&oauth+consumer_key=printer", "", true},
		{"a query's name with a blank in front", "", "oauth_consumer_key=nobody&+oauth_consumer_key=printer", "", true},
		{"a query's name with a zero byte", "", "oauth_consumer_key=nobody&oauth_consumer_key%00=printer", "", true},
		{"a query's name in capitals", "", "oauth_consumer_key=nobody&OAUTH_CONSUMER_KEY=printer", "", true},
		{"a semicolon", "", "oauth_consumer_key=nobody&a=1;oauth_consumer_key=printer", "", true},
		{"a consumer key with a semicolon", "", "oauth_consumer_key=printer;nobody", "", true},
		{"a form's name with a point", plain, "", "oauth.consumer_key=printer", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var authorization []string
			if c.header != "" {
				authorization = []string{c.header}
			}
			if got := Ambiguous(authorization, c.query, []byte(c.form)); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// FuzzAmbiguous: in a request that is not ambiguous, servers that search the header by a regular
// expression and rewrite the names of the query and the form find no other consumer key.
func FuzzAmbiguous(f *testing.F) {
	f.Add(`OAuth realm="r", oauth_consumer_key="nobody", oauth_token="t"`, "a=1", "b=2")
	f.Add(`OAuth oauth_consumer_key="nobody", xoauth_consumer_key="printer"`, "", "")
	f.Add("", "oauth_consumer_key=nobody&oauth.consumer_key=printer", "")
	f.Add("", "x=1;oauth_consumer_key=printer", "oauth_consumer_key=nobody")
	f.Fuzz(func(t *testing.T, header, query, form string) {
		p, err := Parse([]string{header}, query, []byte(form))
		if err != nil || p.Source == SourceNone || p.ConsumerKey == "" ||
			Ambiguous([]string{header}, query, []byte(form)) {
			return
		}
		if p.Source == SourceHeader && searchedKey(header) == "" && strings.Trim(p.ConsumerKey, ` "`) != "" {
			t.Errorf("a search finds no consumer key, and may look for it elsewhere than in %q", header)
		}
		for _, key := range []string{searchedKey(header), rewrittenKey(query), rewrittenKey(form)} {
			if key != "" && key != strings.Trim(p.ConsumerKey, ` "`) {
				t.Errorf("%q and %q", key, p.ConsumerKey)
			}
		}
	})
}

var searched = regexp.MustCompile(`(?i)(oauth_[a-z_-]*)=(?:"([^"]*)"|([^,]*))`)

// searchedKey is the last consumer key that a search finds in the header.
func searchedKey(header string) (key string) {
	if !strings.HasPrefix(header, "OAuth ") {
		return ""
	}
	for _, m := range searched.FindAllStringSubmatch(header, -1) {
		if strings.EqualFold(m[1], "oauth_consumer_key") {
			key, _ = url.PathUnescape(strings.Trim(m[2]+m[3], "\t \""))
		}
	}
	return strings.Trim(key, ` "`)
}

// rewrittenKey is the last consumer key of a query or form, with names as PHP makes them.
func rewrittenKey(s string) (key string) {
	for piece := range strings.FieldsFuncSeq(s, func(c rune) bool { return c == '&' || c == ';' }) {
		name, value, _ := strings.Cut(piece, "=")
		name, _ = url.QueryUnescape(name)
		name, _, _ = strings.Cut(strings.TrimLeft(name, " "), "\x00")
		base, _, array := strings.Cut(name, "[")
		if array && strings.Contains(name, "]") {
			name = base
		}
		if strings.NewReplacer(".", "_", " ", "_", "[", "_").Replace(strings.ToLower(name)) == "oauth_consumer_key" {
			key, _ = url.QueryUnescape(value)
		}
	}
	return strings.Trim(key, ` "`)
}
