package oauth1

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		authorization []string
		query, form   string
		want          Params
	}{
		"RFC 5849, 3.5.1: in the header": {
			authorization: []string{unfold(`OAuth realm="Example",
        oauth_consumer_key="0685bd9184jfhq22",
        oauth_token="ad180jjd733klru7",
        oauth_signature_method="HMAC-SHA1",
        oauth_signature="wOJIO9A2W5mFwDgiDvZbTSMK%2FPY%3D",
        oauth_timestamp="137131200",
        oauth_nonce="4572616e48616d6d65724c61686176",
        oauth_version="1.0"`)},
			want: Params{
				Source: SourceHeader, Realm: "Example", ConsumerKey: "0685bd9184jfhq22",
				Token: "ad180jjd733klru7", HasToken: true, SignatureMethod: "HMAC-SHA1",
				Signature: "wOJIO9A2W5mFwDgiDvZbTSMK/PY=", Timestamp: "137131200",
				Nonce: "4572616e48616d6d65724c61686176", Version: "1.0",
			},
		},
		"RFC 5849, 3.5.2: in the form": {
			form: "oauth_consumer_key=0685bd9184jfhq22&oauth_token=ad180jjd733klr&u=7",
			want: Params{Source: SourceForm, ConsumerKey: "0685bd9184jfhq22", Token: "ad180jjd733klr", HasToken: true},
		},
		"RFC 5849, 3.5.3: in the query": {
			query: "a=b&oauth_callback=http%3A%2F%2Fx%2F&oauth_verifier=v+w&oauth_body_hash=%3d",
			want: Params{
				Source: SourceQuery, Callback: "http://x/", HasCallback: true, Verifier: "v w", BodyHash: "=", HasBodyHash: true,
			},
		},
		"the RFC's own header": {authorization: []string{rfcHeader}, want: rfcParams},
		"the scheme in any case": {
			authorization: []string{"oauth" + rfcHeader[5:]},
			want:          rfcParams,
		},
		"blanks around the field": {
			authorization: []string{" " + rfcHeader + "\t "},
			want:          rfcParams,
		},
		"an OAuth header is a source, even empty": {
			authorization: []string{"OAuth"},
			want:          Params{Source: SourceHeader},
		},
		"an OAuth header of commas": {
			authorization: []string{"OAuth, , ,"},
			want:          Params{Source: SourceHeader},
		},
		"another scheme is not ours":  {authorization: []string{`Basic oauth_token="x"`}},
		"a longer scheme is not ours": {authorization: []string{`OAuth2 oauth_token="x"`}},
		"another scheme beside a signed query": {
			authorization: []string{"Bearer x"}, query: "oauth_nonce=n",
			want: Params{Source: SourceQuery, Nonce: "n"},
		},
		"none": {query: "a=1", form: "b=2"},
		"none, with an unsigned query that is malformed": {query: "a=%zz&%=1&b=%"},
		"none, with an unsigned form that is malformed":  {form: "100%"},
		"none, though oauth is the name":                 {query: "oauth=1&Oauth_token=2&xoauth_token=3&a=oauth_token"},
		"encoded twice is another name":                  {query: "%256Fauth_token=x"},
		"; is data":                                      {query: "a=1;oauth_token=x"},
		"an encoded name is the same name": {
			query: "%6Fauth%5ftoken=x",
			want:  Params{Source: SourceQuery, Token: "x", HasToken: true},
		},
		"an encoded name in the header": {
			authorization: []string{`OAuth %6fauth_token="x"`},
			want:          Params{Source: SourceHeader, Token: "x", HasToken: true},
		},
		"decoded once": {
			query: "oauth_token=%2541",
			want:  Params{Source: SourceQuery, Token: "%41", HasToken: true},
		},
		"an empty token is one": {
			query: "oauth_token",
			want:  Params{Source: SourceQuery, HasToken: true},
		},
		"+ in the header is itself": {
			authorization: []string{`OAuth oauth_consumer_key="just+testing"`},
			want:          Params{Source: SourceHeader, ConsumerKey: "just+testing"},
		},
		"+ in the form is a space": {
			form: "oauth_consumer_key=just+testing",
			want: Params{Source: SourceForm, ConsumerKey: "just testing"},
		},
		"blanks around = and comma, empty list elements": {
			authorization: []string{"OAuth ,oauth_token\t= \"x\" ,\t,oauth_nonce =\"n\","},
			want:          Params{Source: SourceHeader, Token: "x", HasToken: true, Nonce: "n"},
		},
		"a comma, unencoded, in a value": {
			authorization: []string{`OAuth oauth_nonce="a,b=c d"`},
			want:          Params{Source: SourceHeader, Nonce: "a,b=c d"},
		},
		"a realm is a quoted-string, not percent-encoded": {
			authorization: []string{`OAuth realm="a, \"b\" \\ %zz %41", oauth_nonce="n"`},
			want:          Params{Source: SourceHeader, Realm: `a, "b" \ %zz %41`, Nonce: "n"},
		},
		"a parameter that is not ours may repeat": {
			authorization: []string{`OAuth foo="1", foo="2"`}, query: "a=1&a=2",
			want: Params{Source: SourceHeader},
		},
		"unknown oauth_ parameters of different names": {
			query: "oauth_a=1&oauth_b=1&oauth_=1",
			want:  Params{Source: SourceQuery},
		},
		"NUL and invalid UTF-8 are bytes": {
			query: "oauth_token=%00%ff\xfe",
			want:  Params{Source: SourceQuery, Token: "\x00\xff\xfe", HasToken: true},
		},
		"PLAINTEXT, not encoded in the header": {
			authorization: []string{`OAuth oauth_signature="a&b"`},
			want:          Params{Source: SourceHeader, Signature: "a&b"},
		},
		"only one of two equal signs belongs to the name": {
			query: "oauth_signature=a==",
			want:  Params{Source: SourceQuery, Signature: "a=="},
		},
		"a name that only a space keeps from being oauth_": {query: "+oauth_token=x&oauth+token=x"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(test.authorization, test.query, []byte(test.form))
			if err != nil {
				t.Fatal(err)
			}
			got.header, got.sent = "", 0
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("\n got %+v\nwant %+v", got, test.want)
			}
		})
	}
}

var rfcParams = Params{
	Source: SourceHeader, Realm: "Example", ConsumerKey: "9djdj82h48djs9d2", Token: "kkk9d7dh3k39sjv7", HasToken: true,
	SignatureMethod: "HMAC-SHA1", Timestamp: "137131201", Nonce: "7d8f3e4a",
}

func TestParseRefuses(t *testing.T) {
	rejects := func(parameter, reason string) ParamError { return ParamError{"parameter_rejected", parameter, reason} }
	twoPlaces := func(a, b string) ParamError {
		return rejects("", "OAuth parameters in two places, the "+a+" and the "+b)
	}
	twice := rejects("oauth_token", "sent twice")
	unknownTwice := rejects("", "An oauth_ parameter was sent twice")
	malformedHeader := rejects("", `Malformed Authorization header: not a list of name="value"`)
	malformedIn := func(where string) ParamError { return rejects("", "Malformed percent-encoding in the "+where) }
	malformedName := rejects("", "Malformed percent-encoding in the name of an oauth_ parameter")
	version := ParamError{"version_rejected", "oauth_version", `not "1.0"`}
	method := ParamError{"signature_method_rejected", "oauth_signature_method", "not supported"}

	tests := map[string]struct {
		header, query, form string
		want                ParamError
	}{
		"header and query": {
			header: `OAuth oauth_nonce="n"`, query: "oauth_token=x",
			want: twoPlaces("Authorization header", "query"),
		},
		"header and form": {
			header: `OAuth oauth_nonce="n"`, form: "oauth_token=x",
			want: twoPlaces("Authorization header", "form body"),
		},
		"query and form": {
			query: "oauth_nonce=n", form: "oauth_token=x",
			want: twoPlaces("query", "form body"),
		},
		"an empty OAuth header and a query": {
			header: "OAuth", query: "oauth_token=x",
			want: twoPlaces("Authorization header", "query"),
		},
		"header and an encoded name": {
			header: "OAuth", query: "%6Fauth_token=x",
			want: twoPlaces("Authorization header", "query"),
		},
		"header and an unknown parameter": {
			header: "OAuth", form: "a=1&oauth_x=y",
			want: twoPlaces("Authorization header", "form body"),
		},
		"header and a malformed name": {
			header: "OAuth", form: "oauth_%=y",
			want: twoPlaces("Authorization header", "form body"),
		},
		"twice in the header":                {header: `OAuth oauth_token="x", oauth_token="x"`, want: twice},
		"twice in the query":                 {query: "oauth_token=x&a=1&oauth_token=x", want: twice},
		"twice in the form":                  {form: "oauth_token&oauth_token", want: twice},
		"twice, once encoded":                {query: "oauth_token=x&oauth%5Ftoken=y", want: twice},
		"twice, once encoded, in the header": {header: `OAuth oauth_token="x", oauth%5ftoken="y"`, want: twice},
		"realm twice": {
			header: `OAuth realm="a", realm="b"`,
			want:   rejects("realm", "sent twice"),
		},
		"an unknown one twice":          {query: "oauth_y=1&oauth_x=1&oauth_y=2", want: unknownTwice},
		"an unknown one twice, encoded": {query: "oauth_x+=1&oauth_x%20=1", want: unknownTwice},

		"version 2.0":            {query: "oauth_version=2.0", want: version},
		"version 1.0a":           {query: "oauth_version=1.0a", want: version},
		"an empty version":       {query: "oauth_version=", want: version},
		"an unknown method":      {query: "oauth_signature_method=HMAC-MD5", want: method},
		"a method in lower case": {query: "oauth_signature_method=hmac-sha1", want: method},
		"an empty method":        {query: "oauth_signature_method", want: method},
		"malformed value of ours, in header": {
			header: `OAuth oauth_nonce="%"`,
			want:   rejects("oauth_nonce", "malformed percent-encoding"),
		},
		"malformed value of ours, in query": {
			query: "oauth_nonce=%4",
			want:  rejects("oauth_nonce", "malformed percent-encoding"),
		},
		"malformed value of an unknown one": {
			query: "oauth_x=%g0",
			want:  rejects("", "Malformed percent-encoding in an oauth_ parameter"),
		},
		"malformed name that could be ours":   {query: "oauth_%zz=1", want: malformedName},
		"the same, encoded":                   {query: "%6fauth_%f=1", want: malformedName},
		"malformed name in the header":        {header: `OAuth oauth_%zz="1"`, want: malformedName},
		"malformed query of a signed request": {header: "OAuth", query: "a=%zz", want: malformedIn("query")},
		"malformed before the signed part":    {query: "a=%zz&oauth_token=x", want: malformedIn("query")},
		"malformed query, signed in the form": {query: "%zz", form: "oauth_token=x", want: malformedIn("query")},
		"malformed form of a signed request":  {query: "oauth_token=x", form: "a=%", want: malformedIn("form body")},
		"malformed other value in the header": {header: `OAuth foo="%"`, want: malformedIn("Authorization header")},
		"malformed other name in the header":  {header: `OAuth %="foo"`, want: malformedIn("Authorization header")},

		"a value without quotes":             {header: `OAuth oauth_token=x`, want: malformedHeader},
		"a value in single quotes":           {header: `OAuth oauth_token='x'`, want: malformedHeader},
		"no closing quote":                   {header: `OAuth oauth_token="x`, want: malformedHeader},
		"no value":                           {header: `OAuth oauth_token`, want: malformedHeader},
		"no value behind =":                  {header: `OAuth oauth_token=`, want: malformedHeader},
		"no name":                            {header: `OAuth ="x"`, want: malformedHeader},
		"a bearer token":                     {header: `OAuth abc123==`, want: malformedHeader},
		"text behind the value":              {header: `OAuth oauth_token="x"y`, want: malformedHeader},
		"no comma":                           {header: `OAuth oauth_token="x" oauth_nonce="y"`, want: malformedHeader},
		"; for a comma":                      {header: `OAuth oauth_token="x"; oauth_nonce="y"`, want: malformedHeader},
		"& for a comma":                      {header: `OAuth oauth_token="x"&oauth_nonce="y"`, want: malformedHeader},
		"a quote in the name":                {header: `OAuth oauth"_token="x"`, want: malformedHeader},
		"a blank in the name":                {header: `OAuth oauth _token="x"`, want: malformedHeader},
		"a backslash outside the realm":      {header: `OAuth oauth_token="x\"y"`, want: malformedHeader},
		"a control character in a value":     {header: "OAuth oauth_token=\"x\x01\"", want: malformedHeader},
		"a control character in the realm":   {header: "OAuth realm=\"x\x7f\"", want: malformedHeader},
		"an escape at the end of the realm":  {header: `OAuth realm="x\"`, want: malformedHeader},
		"a second field in the same line":    {header: `OAuth oauth_token="x", Basic abc`, want: malformedHeader},
		"malformed behind a well-formed one": {header: `OAuth oauth_token="x",,oauth_nonce`, want: malformedHeader},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]string{test.header}, test.query, []byte(test.form))
			wantParamError(t, err, test.want)
		})
	}
	for name, authorization := range map[string][]string{
		"two OAuth fields":          {rfcHeader, rfcHeader},
		"OAuth and Basic":           {rfcHeader, "Basic x"},
		"Basic and OAuth":           {"Basic x", rfcHeader},
		"two fields, neither OAuth": {"Basic x", "Basic x"},
		"a field and an empty on":   {rfcHeader, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(authorization, "", nil)
			wantParamError(t, err, rejects("", "More than one Authorization header field"))
		})
	}
}

// TestMaxParams: reading the largest permitted number of parameters does not take quadratic time. A
// signed request with more is refused. An unsigned request may have any number.
func TestMaxParams(t *testing.T) {
	start := time.Now()
	if _, err := Parse(nil, manyParameters("oauth_x", MaxParams), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(nil, manyParameters("oauth_x", MaxParams-1)+"&oauth_x7=", nil); err == nil || errors.Is(err, ErrTooManyParams) {
		t.Errorf("the one that was sent twice is not found: %v", err)
	}
	const header = `OAuth oauth_token="x", a="b"`
	many := manyParameters("x", 100*MaxParams)
	for name, test := range map[string]struct {
		authorization []string
		query, form   string
	}{
		"in the query":               {nil, manyParameters("oauth_x", MaxParams+1), ""},
		"in the form":                {nil, "", many + "&oauth_token=x"},
		"in the header":              {[]string{"OAuth " + strings.Repeat(`a="",`, MaxParams+1)}, "", ""},
		"in the query, signed there": {nil, many + "&oauth_token=x", ""},
		"in all of them":             {[]string{header}, manyParameters("x", MaxParams/2), manyParameters("x", MaxParams/2-1)},
	} {
		if _, err := Parse(test.authorization, test.query, []byte(test.form)); !errors.Is(err, ErrTooManyParams) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Parse([]string{header}, manyParameters("x", MaxParams/2), []byte(manyParameters("x", MaxParams/2-2))); err != nil {
		t.Errorf("just as many as may be: %v", err)
	}
	if p, err := Parse(nil, many, []byte(many)); err != nil || p.Source != SourceNone {
		t.Errorf("unsigned: %v, %v", p.Source, err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestHasParams(t *testing.T) {
	for form, want := range map[string]bool{
		"": false, "a=oauth_token": false, `{"oauth_token":"x"}`: false, "xoauth_requestor_id=a": false,
		"oauth_token": true, "a=b&oauth_token=x": true, "a&%6fauth_token=x": true,
	} {
		if got := HasParams([]byte(form)); got != want {
			t.Errorf("%q: %v", form, got)
		}
	}
}

func TestParamErrorIsASentence(t *testing.T) {
	for want, err := range map[string]*ParamError{
		"oauth_nonce: sent twice.":                         rejected("oauth_nonce", "sent twice"),
		"An oauth_ parameter was sent twice.":              rejected("", "An oauth_ parameter was sent twice"),
		`oauth_version: not "1.0".`:                        {problemVersion, "oauth_version", `not "1.0"`},
		"oauth_signature_method: not supported.":           errMethod(),
		"Malformed percent-encoding in the form body.":     errMalformed(SourceForm),
		"OAuth parameters in two places, the x and the y.": rejected("", "OAuth parameters in two places, the x and the y"),
	} {
		if got := err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSourceString(t *testing.T) {
	for source, want := range map[Source]string{
		SourceNone: "none", SourceHeader: "Authorization header", SourceQuery: "query", SourceForm: "form body", 9: "none",
	} {
		if got := source.String(); got != want {
			t.Errorf("%d is %q, want %q", source, got, want)
		}
	}
}

func TestTimestamp(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "137131200": 137131200, "0137131200": 137131200, "9223372036854775807": 1<<63 - 1} {
		if got, err := (&Params{Timestamp: text}).Unix(); got != want || err != nil {
			t.Errorf("%q is %d, %v, want %d", text, got, err, want)
		}
	}
	_, err := (&Params{}).Unix()
	wantParamError(t, err, ParamError{"parameter_absent", "oauth_timestamp", "missing"})
	for text, reason := range map[string]string{
		"-1": "not a number of seconds", "+1": "not a number of seconds", "1.5": "not a number of seconds",
		" 1": "not a number of seconds", "0x1": "not a number of seconds", "1e9": "not a number of seconds",
		"１": "not a number of seconds", "1_0": "not a number of seconds", "0": "out of range", "000": "out of range",
		"9223372036854775808": "out of range", strings.Repeat("9", 1000): "out of range",
	} {
		_, err := (&Params{Timestamp: text}).Unix()
		wantParamError(t, err, ParamError{"parameter_rejected", "oauth_timestamp", reason})
	}
}

func TestNonce(t *testing.T) {
	for _, nonce := range []string{"a", " ", "~", `a b"\,%`, strings.Repeat("n", 128)} {
		if err := (&Params{Nonce: nonce}).CheckNonce(); err != nil {
			t.Errorf("%q: %v", nonce, err)
		}
	}
	wantParamError(t, (&Params{}).CheckNonce(), ParamError{"parameter_absent", "oauth_nonce", "missing"})
	for nonce, reason := range map[string]string{
		strings.Repeat("n", 129): "longer than 128 characters",
		"a\x00":                  "not printable ASCII", "a\n": "not printable ASCII", "\x7f": "not printable ASCII",
		"é": "not printable ASCII", "\xff": "not printable ASCII",
	} {
		wantParamError(t, (&Params{Nonce: nonce}).CheckNonce(), ParamError{"parameter_rejected", "oauth_nonce", reason})
	}
}

func TestStripQuery(t *testing.T) {
	for query, want := range map[string]string{
		"":                           "",
		"a=1&b=2":                    "a=1&b=2",
		"a=1&oauth_x=y&b=2":          "a=1&b=2",
		"oauth_x=y&b=2":              "b=2",
		"a=1&oauth_x=y":              "a=1",
		"oauth_x=y":                  "",
		"oauth_x&oauth_y":            "",
		"a=%7e+%zz&oauth_x=y&&b=é;c": "a=%7e+%zz&&b=é;c",
		"%6Fauth_token=x&%6f%61uth_x=1&b=oauth_x=1": "b=oauth_x=1",
		"oauth_%zz=1&a":             "a",
		"oauth=1&OAUTH_x=1&oauth.x": "oauth=1&OAUTH_x=1&oauth.x",
		"&oauth_x=1&":               "&",
		"&&":                        "&&",
		"%256Fauth_x=1":             "%256Fauth_x=1",
		"a=1;oauth_x=1":             "a=1;oauth_x=1",
		"=oauth_x&oauth_x=&=":       "=oauth_x&=",
	} {
		if got := StripQuery(query); got != want {
			t.Errorf("StripQuery(%q) = %q, want %q", query, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(rfcHeader, rfcQuery, rfcForm)
	f.Add("", "oauth_token=x&%6fauth_token=y&a=%zz", "oauth_%=1")
	f.Add("Basic x", "a=1", "%6Fauth_nonce=a+b&&=&oauth_x")
	f.Add(`oauth realm="\"\\",,a="b" , oauth_signature="%3D", oauth_version="1.0"`, "a", "b=%00")
	f.Add("OAuth x", "", "")
	f.Add("OAuth oauth_token=\"x\"", "oauth%5Fverifier=a+b", "oauth_callback=%41")
	f.Add("OAuth oauth_token=\"x%2B\"", "", "oauth_token=x%2b&oauth_verifier=y")
	f.Add("OAuth oauth_token=\"x\"", "oauth_token=x", "oauth_token=x")
	f.Fuzz(func(t *testing.T, header, query, form string) {
		checkParse(t, header, query, form, Parse, nil)
		checkParse(t, header, query, form, ParseTokenRequest, []string{"oauth_callback", "oauth_verifier"})
	})
}

// checkParse compares the result of a function with the parameters in the request. Some parameters
// may be outside the source of the others.
func checkParse(t *testing.T, header, query, form string, parse func([]string, string, []byte) (Params, error), roaming []string) {
	p, err := parse([]string{header}, query, []byte(form))
	if err != nil {
		if !asParamError(err) {
			t.Fatalf("no *ParamError that a client may see: %v", err)
		}
		if !reflect.DeepEqual(p, Params{}) {
			t.Error("parameters beside an error")
		}
		return
	}
	sent := map[Source]map[string]int{SourceHeader: {}, SourceQuery: {}, SourceForm: {}}
	again := 0
	values, roamed := map[string]string{}, map[string]int{}
	collect := func(source Source) func(name, value string) {
		return func(name, value string) {
			name, _ = naiveDecode(name, source != SourceHeader)
			if strings.HasPrefix(name, "oauth_") {
				if name == "oauth_token" && roaming != nil && p.Source == SourceHeader && source != SourceHeader {
					again++
					if value, _ = naiveDecode(value, true); value != p.Token || again > 1 {
						t.Errorf("a token was accepted for the %d. time as %q, which was %q before", again+1, value, p.Token)
					}
					return
				}
				if slices.Contains(roaming, name) {
					roamed[name]++
					values[name], _ = naiveDecode(value, source != SourceHeader)
					return
				}
				sent[source][name]++
				values[name], _ = naiveDecode(value, source != SourceHeader)
			}
		}
	}
	if p.Source == SourceHeader {
		for _, m := range naiveHeaderParam.FindAllStringSubmatch(strings.TrimLeft(header, " \t")[len("OAuth"):], -1) {
			collect(SourceHeader)(m[1], m[2][1:len(m[2])-1])
		}
	}
	naivePairs(query, collect(SourceQuery))
	naivePairs(form, collect(SourceForm))
	for source, names := range sent {
		if source != p.Source && len(names) > 0 {
			t.Errorf("source is the %v, but the %v holds %v", p.Source, source, names)
		}
		for name, n := range names {
			if n > 1 {
				t.Errorf("%s was accepted %d times", name, n)
			}
		}
	}
	for name, n := range roamed {
		if n > 1 {
			t.Errorf("%s was accepted %d times", name, n)
		}
	}
	for name, got := range map[string]string{
		"oauth_consumer_key": p.ConsumerKey, "oauth_token": p.Token, "oauth_signature_method": p.SignatureMethod,
		"oauth_signature": p.Signature, "oauth_timestamp": p.Timestamp, "oauth_nonce": p.Nonce, "oauth_version": p.Version,
		"oauth_callback": p.Callback, "oauth_verifier": p.Verifier, "oauth_body_hash": p.BodyHash,
	} {
		if got != values[name] {
			t.Errorf("%s is %q, want %q", name, got, values[name])
		}
	}
	if p.HasToken != (sent[p.Source]["oauth_token"] == 1) {
		t.Errorf("HasToken is %v", p.HasToken)
	}
}

func FuzzStripQuery(f *testing.F) {
	f.Add("a=1&oauth_x=y&b=2")
	f.Add("&&%6Fauth_x&oauth_%zz=%&%zz=1&a;oauth_x=1&")
	f.Fuzz(func(t *testing.T, query string) {
		got := StripQuery(query)
		if p, err := Parse(nil, got, nil); err != nil || p.Source != SourceNone {
			t.Errorf("%q still has OAuth parameters: %v, %v", got, p.Source, err)
		}
		var kept []string
		for _, piece := range strings.Split(query, "&") {
			if name, _, _ := strings.Cut(piece, "="); !strings.HasPrefix(naiveLenientDecode(name), "oauth_") {
				kept = append(kept, piece)
			}
		}
		if want := strings.Join(kept, "&"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// naiveLenientDecode decodes valid escapes and keeps the rest.
func naiveLenientDecode(s string) string {
	var d strings.Builder
	for i := 0; i < len(s); i++ {
		if c, ok := naiveDecode(s[i:min(i+3, len(s))], true); ok && s[i] == '%' {
			d.WriteString(c[:1])
			i += 2
			continue
		}
		d.WriteByte(s[i])
	}
	return d.String()
}
