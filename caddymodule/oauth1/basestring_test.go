package oauth1

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestBaseString(t *testing.T) {
	tests := map[string]struct {
		header  string
		request Request
		want    string
	}{
		"RFC 5849, 3.4.1.1, erratum 2550": {
			header: rfcHeader + `, oauth_signature="bYT5CMsGcbgUdFHObYMEfcx6bsw%3D"`,
			request: Request{
				Method: "POST", Scheme: "http", Host: "example.com", Path: "/request", Query: rfcQuery, Form: []byte(rfcForm),
			},
			want: "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D" +
				"%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1" +
				"%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7",
		},
		"RFC 5849, 3.4.1.2: host in lower case, default port of http dropped": {
			request: Request{Method: "GET", Scheme: "http", Host: "EXAMPLE.COM:80", Path: "/r%20v/X", Query: "id=123"},
			want:    "GET&" + Encode("http://example.com/r%20v/X") + "&id%3D123",
		},
		"RFC 5849, 3.4.1.2: another port of https kept": {
			request: Request{Method: "GET", Scheme: "https", Host: "www.example.net:8080", Path: "/", Query: "q=1"},
			want:    "GET&" + Encode("https://www.example.net:8080/") + "&q%3D1",
		},
		"Core 1.0a, 9.1.2: scheme and host in lower case, default port dropped": {
			request: Request{Method: "GET", Scheme: "HTTP", Host: "Example.com:80", Path: "/resource", Query: "id=123"},
			want:    "GET&" + Encode("http://example.com/resource") + "&id%3D123",
		},
		"default port of https dropped, scheme in lower case": {
			request: Request{Method: "GET", Scheme: "HTTPS", Host: "[2001:DB8::443]:443", Path: "/x"},
			want:    "GET&" + Encode("https://[2001:db8::443]/x") + "&",
		},
		"default port of the other scheme kept": {
			request: Request{Method: "GET", Scheme: "https", Host: "example.com:80", Path: "/x"},
			want:    "GET&" + Encode("https://example.com:80/x") + "&",
		},
		"wiki: n=v": {
			request: Request{Method: "GET", Scheme: "http", Host: "example.com", Path: "/", Query: "n=v"},
			want:    "GET&http%3A%2F%2Fexample.com%2F&n%3Dv",
		},
		"wiki: an empty path is /": {
			request: Request{Method: "GET", Scheme: "http", Host: "example.com", Query: "n=v"},
			want:    "GET&http%3A%2F%2Fexample.com%2F&n%3Dv",
		},
		"wiki: request token, oauth_signature left out": {
			request: Request{
				Method: "POST", Scheme: "https", Host: "photos.example.net", Path: "/request_token",
				Form: []byte("oauth_version=1.0&oauth_consumer_key=dpf43f3p2l4k3l03&oauth_timestamp=1191242090" +
					"&oauth_nonce=hsu94j3884jdopsl&oauth_signature_method=PLAINTEXT&oauth_signature=ignored"),
			},
			want: "POST&https%3A%2F%2Fphotos.example.net%2Frequest_token&oauth_consumer_key%3Ddpf43f3p2l4k3l03" +
				"%26oauth_nonce%3Dhsu94j3884jdopsl%26oauth_signature_method%3DPLAINTEXT%26oauth_timestamp%3D1191242090" +
				"%26oauth_version%3D1.0",
		},
		"Core 1.0a, A.5.1": {
			request: Request{
				Method: "GET", Scheme: "http", Host: "photos.example.net", Path: "/photos",
				Query: "file=vacation.jpg&size=original&oauth_version=1.0&oauth_consumer_key=dpf43f3p2l4k3l03" +
					"&oauth_token=nnch734d00sl2jdk&oauth_timestamp=1191242096&oauth_nonce=kllo9940pd9333jh" +
					"&oauth_signature=ignored&oauth_signature_method=HMAC-SHA1",
			},
			want: "GET&http%3A%2F%2Fphotos.example.net%2Fphotos&file%3Dvacation.jpg%26oauth_consumer_key%3Ddpf43f3p2l4k3l03" +
				"%26oauth_nonce%3Dkllo9940pd9333jh%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D1191242096" +
				"%26oauth_token%3Dnnch734d00sl2jdk%26oauth_version%3D1.0%26size%3Doriginal",
		},
		"the method in upper case, and encoded": {
			request: Request{Method: "m-search", Scheme: "http", Host: "h", Path: "/"},
			want:    "M-SEARCH&http%3A%2F%2Fh%2F&",
		},
		"the path is not decoded": {
			request: Request{Method: "GET", Scheme: "http", Host: "h", Path: "/%7ea/%2F;x=1/é+"},
			want:    "GET&http%3A%2F%2Fh%2F%257ea%2F%252F%3Bx%3D1%2F%C3%A9%2B&",
		},
		"RFC 5849, 3.4.1.3.1: realm is left out, other parameters of the header are not": {
			header:  `OAuth realm="a, \"b\"", foo="b%20r", oauth_nonce="n"`,
			request: Request{Method: "GET", Scheme: "http", Host: "h"},
			want:    "GET&http%3A%2F%2Fh%2F&foo%3Db%2520r%26oauth_nonce%3Dn",
		},
		"a realm in the query is a parameter": {
			request: Request{Method: "GET", Scheme: "http", Host: "h", Query: "realm=x&oauth_nonce=n"},
			want:    "GET&http%3A%2F%2Fh%2F&oauth_nonce%3Dn%26realm%3Dx",
		},
		"+ is a space in query and form, but not in the header": {
			header:  `OAuth oauth_nonce="a+b"`,
			request: Request{Method: "GET", Scheme: "http", Host: "h", Query: "q=a+b", Form: []byte("f=a+b")},
			want:    "GET&http%3A%2F%2Fh%2F&f%3Da%2520b%26oauth_nonce%3Da%252Bb%26q%3Da%2520b",
		},
		"only & separates, the first = ends the name, empty pieces are none": {
			request: Request{Method: "GET", Scheme: "http", Host: "h", Query: "&&b=1;c=2&&a=x=y&=v&d&"},
			want:    "GET&http%3A%2F%2Fh%2F&%3Dv%26a%3Dx%253Dy%26b%3D1%253Bc%253D2%26d%3D",
		},
		"sorted by bytes of the encoded names, then values; duplicates kept": {
			request: Request{Method: "GET", Scheme: "http", Host: "h", Query: "a=2&B=1&a=10&a-=0&a%25=1&%C3%A9=1&a=2&~=1&a%20=1&a=%25&a=%2B"},
			want: "GET&http%3A%2F%2Fh%2F&" +
				Encode("%C3%A9=1&B=1&a=%25&a=%2B&a=10&a=2&a=2&a%20=1&a%25=1&a-=0&~=1"),
		},
		"%XX of either case; needless encoding is undone": {
			request: Request{Method: "GET", Scheme: "http", Host: "h", Query: "%61%2d=%3d%3D%7E%2a"},
			want:    "GET&http%3A%2F%2Fh%2F&a-%3D%253D%253D~%252A",
		},
		"decoded once": {
			request: Request{Method: "GET", Scheme: "http", Host: "h", Query: "a=%2561"},
			want:    "GET&http%3A%2F%2Fh%2F&a%3D%252561",
		},
		"NUL and invalid UTF-8 are bytes": {
			request: Request{Method: "GET", Scheme: "http", Host: "h", Query: "a=%00%ff\xfe"},
			want:    "GET&http%3A%2F%2Fh%2F&a%3D%2500%25FF%25FE",
		},
		"an encoded oauth_signature is left out too": {
			request: Request{Method: "GET", Scheme: "http", Host: "h", Query: "%6Fauth_signature=x&a=1"},
			want:    "GET&http%3A%2F%2Fh%2F&a%3D1",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := mustParse(t, test.header, test.request.Query, string(test.request.Form))
			got, err := test.request.AppendBaseString([]byte("before"), p)
			if err != nil {
				t.Fatal(err)
			}
			if want := "before" + test.want; string(got) != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
		})
	}
}

func TestBaseStringLeavesOutTheSignatureAtItsSourceOnly(t *testing.T) {
	p := mustParse(t, `OAuth oauth_signature="x"`, "", "")
	r := Request{Method: "GET", Scheme: "http", Host: "h", Query: "oauth_signature=y"}
	got, err := r.AppendBaseString(nil, p)
	if want := "GET&http%3A%2F%2Fh%2F&oauth_signature%3Dy"; string(got) != want || err != nil {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestBaseStringOfMalformedEncodingIsAnError(t *testing.T) {
	for name, test := range map[string]struct {
		request Request
		where   string
	}{
		"in a query's value": {Request{Query: "a=%"}, "query"},
		"in a query's name":  {Request{Query: "%4=1"}, "query"},
		"in a form's value":  {Request{Form: []byte("a=1&b=%g0")}, "form body"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := test.request.AppendBaseString([]byte("before"), &Params{})
			if string(got) != "before" {
				t.Errorf("dst is %q, want it as it was", got)
			}
			wantParamError(t, err, ParamError{"parameter_rejected", "", "Malformed percent-encoding in the " + test.where})
		})
	}
}

func TestBaseStringOfManyParametersIsNotQuadratic(t *testing.T) {
	r := Request{Method: "POST", Scheme: "http", Host: "h", Form: []byte(manyParameters(strings.Repeat("p", 20), 100_000))}
	start := time.Now()
	if _, err := r.AppendBaseString(nil, &Params{}); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

// FuzzAppendBaseString compares the base string with that of a second, simple implementation.
func FuzzAppendBaseString(f *testing.F) {
	f.Add("POST", "http", "EXAMPLE.com:80", "/request", rfcHeader, rfcQuery, rfcForm)
	f.Add("get", "HTTPS", "h:443", "", "", "oauth_signature=a&%6fauth_token=%2B&a+b=c;d&&=", "x=%00&%ff")
	f.Add("GET", "https", "h", "/%41", `OAuth realm="a\"," , foo="b+c",,oauth_signature="%3D"`, "a=1&a=0&A=%2541", "")
	f.Add("PUT", "http", "h", "*", "", "a=1", "oauth_signature=x&oauth_nonce=%7E")
	f.Add("POST", "http", "h", "/t", `OAuth oauth_token="x"`, "", "oauth_token=x&oauth_verifier=y")
	f.Fuzz(func(t *testing.T, method, scheme, host, path, header, query, form string) {
		p, err := ParseTokenRequest([]string{header}, query, []byte(form))
		if err != nil {
			return
		}
		if strict, err := Parse([]string{header}, query, []byte(form)); err == nil && p.Source != SourceNone && strict.Source != p.Source {
			t.Errorf("the %v is the source, or the %v", strict.Source, p.Source)
		}
		r := &Request{Method: method, Scheme: scheme, Host: host, Path: path, Query: query, Form: []byte(form)}
		got, err := r.AppendBaseString(nil, &p)
		want, ok := naiveBaseString(r, header, p.Source)
		if (err == nil) != ok {
			t.Fatalf("error is %v; the plain implementation says it is well encoded: %v", err, ok)
		}
		if err != nil {
			if p.Source != SourceNone {
				t.Errorf("Parse accepted a request that AppendBaseString refuses: %v", err)
			}
			return
		}
		if string(got) != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	})
}

// naiveBaseString implements RFC 5849, section 3.4.1, as simply as possible. A repeated token is
// signed once.
func naiveBaseString(r *Request, header string, source Source) (string, bool) {
	values := map[string][]string{} // encoded name -> encoded values
	ok := true
	add := func(name, value string, plus, isSource bool) {
		name, nameOK := naiveDecode(name, plus)
		value, valueOK := naiveDecode(value, plus)
		ok = ok && nameOK && valueOK
		tokenAgain := name == "oauth_token" && source == SourceHeader && !isSource
		if !(isSource && name == "oauth_signature") && !tokenAgain {
			values[naiveEncode(name)] = append(values[naiveEncode(name)], naiveEncode(value))
		}
	}
	if source == SourceHeader {
		for _, m := range naiveHeaderParam.FindAllStringSubmatch(strings.TrimLeft(header, " \t")[len("OAuth"):], -1) {
			if m[1] != "realm" {
				add(m[1], m[2][1:len(m[2])-1], false, true)
			}
		}
	}
	naivePairs(r.Query, func(name, value string) { add(name, value, true, source == SourceQuery) })
	naivePairs(string(r.Form), func(name, value string) { add(name, value, true, source == SourceForm) })
	var params []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		slices.Sort(values[name])
		for _, value := range values[name] {
			params = append(params, name+"="+value)
		}
	}
	scheme, host, path := strings.ToLower(r.Scheme), strings.ToLower(r.Host), r.Path
	if scheme == "http" && strings.HasSuffix(host, ":80") {
		host = host[:len(host)-3]
	}
	if scheme == "https" && strings.HasSuffix(host, ":443") {
		host = host[:len(host)-4]
	}
	if path == "" {
		path = "/"
	}
	return naiveEncode(strings.ToUpper(r.Method)) + "&" + naiveEncode(scheme+"://"+host+path) + "&" +
		naiveEncode(strings.Join(params, "&")), ok
}

var naiveHeaderParam = regexp.MustCompile(
	`(?s)([!#$%&'*+.^_|~0-9A-Za-z\x60-]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*")`)

func naivePairs(s string, add func(name, value string)) {
	for _, piece := range strings.Split(s, "&") {
		if name, value, _ := strings.Cut(piece, "="); piece != "" {
			add(name, value)
		}
	}
}

func naiveDecode(s string, plus bool) (string, bool) {
	var d []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			if i+3 > len(s) {
				return "", false
			}
			b, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			d = append(d, byte(b))
			i += 2
			continue
		}
		if s[i] == '+' && plus {
			d = append(d, ' ')
			continue
		}
		d = append(d, s[i])
	}
	return string(d), true
}

func naiveEncode(s string) string {
	var e strings.Builder
	for i := range len(s) {
		if regexpUnreserved.MatchString(s[i : i+1]) {
			e.WriteByte(s[i])
		} else {
			fmt.Fprintf(&e, "%%%02X", s[i])
		}
	}
	return e.String()
}

var regexpUnreserved = regexp.MustCompile(`^[A-Za-z0-9._~-]$`)

// asParamError reports whether err is a *ParamError whose text a client may see.
func asParamError(err error) bool {
	var p *ParamError
	return errors.As(err, &p) && p.Reason != "" && len(p.Error()) < 120 && strings.HasSuffix(p.Error(), ".")
}
