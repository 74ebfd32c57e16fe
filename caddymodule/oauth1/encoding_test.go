package oauth1

import "testing"

func TestEncode(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "abc": "abc", "a b": "a%20b", "http://h/?a=b&c": "http%3A%2F%2Fh%2F%3Fa%3Db%26c",
		"\x00\xff": "%00%FF", "é": "%C3%A9", "!*'()": "%21%2A%27%28%29", "%41": "%2541",
	} {
		if got := Encode(s); got != want {
			t.Errorf("Encode(%q) = %q, want %q", s, got, want)
		}
		if got := string(AppendEncode([]byte("x"), s)); got != "x"+want {
			t.Errorf("AppendEncode(x, %q) = %q, want %q", s, got, "x"+want)
		}
	}
}

func TestEncodeEveryByte(t *testing.T) {
	for c := range 256 {
		s := string([]byte{byte(c)})
		if got, want := Encode(s), naiveEncode(s); got != want {
			t.Errorf("Encode(%q) = %q, want %q", s, got, want)
		}
		if got, err := Decode(Encode(s)); got != s || err != nil {
			t.Errorf("Decode(%q) = %q, %v, want %q", Encode(s), got, err, s)
		}
	}
}

func TestDecode(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "a+b": "a+b", "%2b%2B": "++", "%2541": "%41", "é;\x00": "é;\x00", "%00%fF": "\x00\xff",
	} {
		if got, err := Decode(s); got != want || err != nil {
			t.Errorf("Decode(%q) = %q, %v, want %q", s, got, err, want)
		}
	}
	for _, s := range []string{"%", "%4", "a%zz", "%4g", "%%41", "% 41", "%+1", "%é"} {
		if got, err := Decode(s); err == nil {
			t.Errorf("Decode(%q) = %q, want an error", s, got)
		}
		if wellEncoded(s) {
			t.Errorf("%q is well encoded", s)
		}
	}
}
