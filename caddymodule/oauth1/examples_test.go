package oauth1

import (
	"errors"
	"os"
	"testing"
)

// The worked examples of the standards: RFC 5849, OAuth Core 1.0a's appendix A, and the test cases
// of the OAuth wiki (wiki.oauth.net/TestCases).

const (
	photosKey    = "dpf43f3p2l4k3l03"
	photosSecret = "kd94hf93k423kf44"
)

func TestVerifyPublishedExamples(t *testing.T) {
	tests := map[string]struct {
		header  string
		request Request
		key     Key
	}{
		"RFC 5849, 1.2: temporary credentials": {
			header: `OAuth realm="Photos",
        oauth_consumer_key="dpf43f3p2l4k3l03",
        oauth_signature_method="HMAC-SHA1",
        oauth_timestamp="137131200",
        oauth_nonce="wIjqoS",
        oauth_callback="http%3A%2F%2Fprinter.example.com%2Fready",
        oauth_signature="74KNZJeDHnMBp0EMJ9ZHt%2FXKycU%3D"`,
			request: Request{Method: "POST", Scheme: "https", Host: "photos.example.net", Path: "/initiate"},
			key:     Key{ConsumerSecret: photosSecret},
		},
		"RFC 5849, 1.2: token credentials": {
			header: `OAuth realm="Photos",
        oauth_consumer_key="dpf43f3p2l4k3l03",
        oauth_token="hh5s93j4hdidpola",
        oauth_signature_method="HMAC-SHA1",
        oauth_timestamp="137131201",
        oauth_nonce="walatlh",
        oauth_verifier="hfdp7dh39dks9884",
        oauth_signature="gKgrFCywp7rO0OXSjdot%2FIHF7IU%3D"`,
			request: Request{Method: "POST", Scheme: "https", Host: "photos.example.net", Path: "/token"},
			key:     Key{ConsumerSecret: photosSecret, TokenSecret: "hdhd0244k9j7ao03"},
		},
		"RFC 5849, 1.2: the photo": {
			header: `OAuth realm="Photos",
        oauth_consumer_key="dpf43f3p2l4k3l03",
        oauth_token="nnch734d00sl2jdk",
        oauth_signature_method="HMAC-SHA1",
        oauth_timestamp="137131202",
        oauth_nonce="chapoH",
        oauth_signature="MdpQcU8iPSUjWoN%2FUDMsK2sui9I%3D"`,
			request: Request{
				Method: "GET", Scheme: "http", Host: "photos.example.net", Path: "/photos",
				Query: "file=vacation.jpg&size=original",
			},
			key: Key{ConsumerSecret: photosSecret, TokenSecret: "pfkkdhi9sl3r4s00"},
		},
		"RFC 5849, 2.1: PLAINTEXT": {
			header: `OAuth realm="Example",
        oauth_consumer_key="jd83jd92dhsh93js",
        oauth_signature_method="PLAINTEXT",
        oauth_callback="http%3A%2F%2Fclient.example.net%2Fcb%3Fx%3D1",
        oauth_signature="ja893SD9%26"`,
			request: Request{Method: "POST", Scheme: "https", Host: "server.example.com", Path: "/request_temp_credentials"},
			key:     Key{ConsumerSecret: "ja893SD9"},
		},
		"RFC 5849, 2.3: PLAINTEXT with a token": {
			header: `OAuth realm="Example",
        oauth_consumer_key="jd83jd92dhsh93js",
        oauth_token="hdk48Djdsa",
        oauth_signature_method="PLAINTEXT",
        oauth_verifier="473f82d3",
        oauth_signature="ja893SD9%26xyz4992k83j47x0b"`,
			request: Request{Method: "POST", Scheme: "https", Host: "server.example.com", Path: "/request_token"},
			key:     Key{ConsumerSecret: "ja893SD9", TokenSecret: "xyz4992k83j47x0b"},
		},
		"RFC 5849, 3.4.1.1, erratum 2550": {
			header: rfcHeader + `, oauth_signature="r6%2FTJjbCOr97%2F%2BUU0NsvSne7s5g%3D"`,
			request: Request{
				Method: "POST", Scheme: "http", Host: "example.com", Path: "/request", Query: rfcQuery, Form: []byte(rfcForm),
			},
			key: Key{ConsumerSecret: "j49sk3j29djd", TokenSecret: "dh893hdasih9"},
		},
		"Core 1.0a, A.2: request token, PLAINTEXT in the query": {
			request: Request{
				Method: "GET", Scheme: "https", Host: "photos.example.net", Path: "/request_token",
				Query: "oauth_consumer_key=dpf43f3p2l4k3l03&oauth_signature_method=PLAINTEXT&oauth_signature=kd94hf93k423kf44%26" +
					"&oauth_timestamp=1191242090&oauth_nonce=hsu94j3884jdopsl&oauth_version=1.0" +
					"&oauth_callback=http%3A%2F%2Fprinter.example.com%2Frequest_token_ready",
			},
			key: Key{ConsumerSecret: photosSecret},
		},
		"Core 1.0a, A.4: access token, PLAINTEXT in the query": {
			request: Request{
				Method: "GET", Scheme: "https", Host: "photos.example.net", Path: "/access_token",
				Query: "oauth_consumer_key=dpf43f3p2l4k3l03&oauth_token=hh5s93j4hdidpola&oauth_signature_method=PLAINTEXT" +
					"&oauth_signature=kd94hf93k423kf44%26hdhd0244k9j7ao03&oauth_timestamp=1191242092" +
					"&oauth_nonce=dji430splmx33448&oauth_version=1.0&oauth_verifier=hfdp7dh39dks9884",
			},
			key: Key{ConsumerSecret: photosSecret, TokenSecret: "hdhd0244k9j7ao03"},
		},
		"Core 1.0a, A.5.3: the photo, in the header": {
			header: `OAuth realm="http://photos.example.net/photos",
        oauth_consumer_key="dpf43f3p2l4k3l03",
        oauth_token="nnch734d00sl2jdk",
        oauth_signature_method="HMAC-SHA1",
        oauth_signature="tR3%2BTy81lMeYAr%2FFid0kMTYa%2FWM%3D",
        oauth_timestamp="1191242096",
        oauth_nonce="kllo9940pd9333jh",
        oauth_version="1.0"`,
			request: Request{
				Method: "GET", Scheme: "http", Host: "photos.example.net", Path: "/photos",
				Query: "file=vacation.jpg&size=original",
			},
			key: Key{ConsumerSecret: photosSecret, TokenSecret: "pfkkdhi9sl3r4s00"},
		},
		"Core 1.0a, A.5.3: the photo, in the query": {
			request: Request{
				Method: "GET", Scheme: "http", Host: "photos.example.net", Path: "/photos", Query: "file=vacation.jpg&size=original" +
					"&oauth_consumer_key=dpf43f3p2l4k3l03&oauth_token=nnch734d00sl2jdk&oauth_signature_method=HMAC-SHA1" +
					"&oauth_signature=tR3%2BTy81lMeYAr%2FFid0kMTYa%2FWM%3D&oauth_timestamp=1191242096" +
					"&oauth_nonce=kllo9940pd9333jh&oauth_version=1.0",
			},
			key: Key{ConsumerSecret: photosSecret, TokenSecret: "pfkkdhi9sl3r4s00"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			// A header field's lines are folded into one, as HTTP/1.1 once allowed.
			p := mustParse(t, unfold(test.header), test.request.Query, string(test.request.Form))
			if err := Verify(&test.request, p, &test.key); err != nil {
				t.Error(err)
			}
			test.key.TokenSecret += "x"
			if err := Verify(&test.request, p, &test.key); !errors.Is(err, ErrSignature) {
				t.Errorf("with another token secret: %v, want ErrSignature", err)
			}
		})
	}
}

const (
	rfcHeader = `OAuth realm="Example", oauth_consumer_key="9djdj82h48djs9d2", oauth_token="kkk9d7dh3k39sjv7", ` +
		`oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131201", oauth_nonce="7d8f3e4a"`
	rfcQuery = "b5=%3D%253D&a3=a&c%40=&a2=r%20b"
	rfcForm  = "c2&a3=2+q"
)

func TestWikiParameterEncoding(t *testing.T) {
	for decoded, encoded := range map[string]string{
		"abcABC123": "abcABC123", "-._~": "-._~", "%": "%25", "+": "%2B", "&=*": "%26%3D%2A",
		"\u000A": "%0A", "\u0020": "%20", "\u007F": "%7F", "\u0080": "%C2%80", "\u3001": "%E3%80%81",
	} {
		if got := Encode(decoded); got != encoded {
			t.Errorf("Encode(%q) = %q, want %q", decoded, got, encoded)
		}
		if got, err := Decode(encoded); got != decoded || err != nil {
			t.Errorf("Decode(%q) = %q, %v, want %q", encoded, got, err, decoded)
		}
	}
}

func TestWikiNormalizedParameters(t *testing.T) {
	for query, want := range map[string]string{
		"name":             "name=",
		"a=b":              "a=b",
		"a=b&c=d":          "a=b&c=d",
		"c=d&a=b":          "a=b&c=d",
		"a=x!y&a=x+y":      "a=x%20y&a=x%21y",
		"x!y=a&x=a":        "x=a&x%21y=a",
		rfcQuery + "&c2":   "a2=r%20b&a3=a&b5=%3D%253D&c%40=&c2=",
		"a=1&c=hi%20there": "a=1&c=hi%20there",
		// Core 1.0, 9.1.1
		"f=25&a=1&f=50&c=hi%20there&f=a&z=p&z=t": "a=1&c=hi%20there&f=25&f=50&f=a&z=p&z=t",
	} {
		r := Request{Method: "GET", Scheme: "http", Host: "example.com", Query: query}
		got, err := r.AppendBaseString(nil, &Params{})
		if err != nil {
			t.Fatal(err)
		}
		if want := "GET&http%3A%2F%2Fexample.com%2F&" + Encode(want); string(got) != want {
			t.Errorf("%s:\n got %s\nwant %s", query, got, want)
		}
	}
}

func TestWikiHMACSHA1(t *testing.T) {
	const photo = "GET&http%3A%2F%2Fphotos.example.net%2Fphotos&file%3Dvacation.jpg%26oauth_consumer_key%3Ddpf43f3p2l4k3l03" +
		"%26oauth_nonce%3Dkllo9940pd9333jh%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D1191242096" +
		"%26oauth_token%3Dnnch734d00sl2jdk%26oauth_version%3D1.0%26size%3Doriginal"
	for _, test := range []struct{ consumerSecret, tokenSecret, baseString, want string }{
		{"cs", "", "bs", "egQqG5AJep5sJ7anhXju1unge2I="},
		{"cs", "ts", "bs", "VZVjXceV7JgPq/dOTnNmEfO0Fv8="},
		{photosSecret, "pfkkdhi9sl3r4s00", photo, "tR3+Ty81lMeYAr/Fid0kMTYa/WM="},
	} {
		if got := hmacText("HMAC-SHA1", test.consumerSecret, test.tokenSecret, test.baseString); got != test.want {
			t.Errorf("%s: %s, want %s", test.baseString, got, test.want)
		}
	}
}

func TestWikiRSASHA1(t *testing.T) {
	private, err := ParsePrivateKey(readFile(t, "testdata/wiki-private.pem"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := ParsePublicKey(readFile(t, "testdata/wiki-certificate.pem"))
	if err != nil {
		t.Fatal(err)
	}
	const signature = "jvTp/wX1TYtByB1m+Pbyo0lnCOLIsyGCH7wke8AUs3BpnwZJtAuEJkvQL2/9n4s5wUmUl4aCI4BwpraNx4RtEXMe5qg5T1LVTGliMRpK" +
		"asKsW//e+RinhejgCuzoH26dyF8iY2ZZ/5D1ilgeijhV/vBka5twt399mXwaYdCwFYE="
	r := &Request{
		Method: "GET", Scheme: "http", Host: "photos.example.net", Path: "/photos", Query: "file=vacaction.jpg&size=original",
	}
	s := &Signer{
		ConsumerKey: photosKey, PrivateKey: private, SignatureMethod: "RSA-SHA1",
		Timestamp: 1196666512, Nonce: "13917289812797014437",
	}
	header, err := s.Sign(r)
	if err != nil {
		t.Fatal(err)
	}
	p := mustParse(t, header, r.Query, "")
	if p.Signature != signature {
		t.Errorf("signature is %s, want %s", p.Signature, signature)
	}
	if err := Verify(r, p, &Key{Public: public}); err != nil {
		t.Error(err)
	}
}

func readFile(tb testing.TB, name string) string {
	tb.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}
