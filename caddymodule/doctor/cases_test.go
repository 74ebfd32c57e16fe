package doctor

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor/doctortest"
)

var now = time.Unix(1_700_000_000, 0)

// TestTimestamps: what a timestamp outside the window says about the client's clock.
func TestTimestamps(t *testing.T) {
	t.Parallel()
	at := func(off time.Duration) string { return strconv.FormatInt(now.Add(off).Unix(), 10) }
	same := []time.Duration{-600 * time.Second, -603 * time.Second, -598 * time.Second}
	for _, c := range []struct {
		name, timestamp string
		earlier         []time.Duration
		want, text      string
	}{
		{"inside", at(-5 * time.Minute), nil, "", validText},
		{"milliseconds", "1700000000123", nil, timestampUnit, "in milliseconds"},
		{"microseconds", "1700000000123456", nil, timestampUnit, "in microseconds"},
		{"nanoseconds", "1700000000123456789", nil, timestampUnit, "in nanoseconds"},
		{"a fraction", "1700000000.123", nil, timestampText, "no whole number"},
		{"a date", "2023-11-14T22:13:20Z", nil, timestampText, "no whole number"},
		{"too large a number", "99999999999999999999", nil, timestampText, "no whole number"},
		{"New York's time", at(-5*time.Hour - 20*time.Second), nil, timestampZone, "18020 seconds (5h0m20s) behind"},
		{"India's time", at(5*time.Hour + 30*time.Minute), nil, timestampZone, "ahead"},
		{"no zone", at(-5*time.Hour - 5*time.Minute), nil, timestampOff, "18300 seconds (5h5m) behind"},
		{"a quarter that is no zone", at(75 * time.Minute), nil, timestampOff, "4500 seconds (1h15m) ahead"},
		{"too far for a zone", at(15 * time.Hour), nil, timestampOff, "ahead; at most 300 seconds (5m)"},
		{"off", at(-601 * time.Second), nil, timestampOff, "601 seconds (10m1s) behind"},
		{"off as always", at(-601 * time.Second), same, clockOff, "601 seconds (10m1s) behind, and this consumer's always are"},
		{"off as twice before", at(-601 * time.Second), same[:2], timestampOff, "behind"},
		{"off as never before", at(-601 * time.Second), append(same, 0), timestampOff, "behind"},
		{"1970", "1", nil, timestampOff, "1699999999 seconds"},
		{"the end of time", "9223372036854775807", nil, timestampOff, "years off"},
		{"before all time", "-9223372036854775808", nil, timestampOff, "years off"},
	} {
		d := Timestamp(&TimestampCase{Timestamp: c.timestamp, Now: now, Window: 5 * time.Minute, Earlier: c.earlier})
		if d.Names() != c.want || !strings.Contains(d.Text(), c.text) {
			t.Errorf("%s: says %q, %q; want %q, %q", c.name, d.Names(), d.Text(), c.want, c.text)
		}
	}
}

// TestNonces: how a nonce came to be used twice.
func TestNonces(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                 string
		used                 time.Time
		address, usedAddress string
		want, text           string
	}{
		{"not known when", time.Time{}, "", "", nonceRepeated, "some time ago"},
		{"a second ago", now.Add(-time.Second), "10.0.0.1", "10.0.0.1", nonceRetry, "after 1 second."},
		{"a second ago, address not known", now.Add(-time.Second), "10.0.0.1", "", nonceRetry, "after 1 second."},
		{"an hour ago", now.Add(-time.Hour), "10.0.0.1", "10.0.0.1", nonceRepeated, "3600 seconds (1h0m) ago"},
		{"elsewhere", now.Add(-time.Second), "10.0.0.1", "10.0.0.2", nonceOtherAddress, "from another address"},
		{"in the future", now.Add(time.Hour), "10.0.0.1", "10.0.0.1", nonceRetry, "after 0 seconds"},
	} {
		d := Nonce(&NonceCase{Now: now, Used: c.used, Address: c.address, UsedAddress: c.usedAddress})
		if d.Names() != c.want || !strings.Contains(d.Text(), c.text) || strings.Contains(d.Text(), "10.0.0") {
			t.Errorf("%s: says %q, %q; want %q, %q", c.name, d.Names(), d.Text(), c.want, c.text)
		}
	}
}

// TestUnknownKeys: what an unknown key is, for each thing that can be found.
func TestUnknownKeys(t *testing.T) {
	t.Parallel()
	for found := FoundNothing; found <= FoundQuoted; found++ {
		d := UnknownKey(TokenKey, found)
		if found == FoundNothing {
			if len(d.Mistakes) > 0 || d.Valid {
				t.Errorf("nothing: %+v", d)
			}
			continue
		}
		if len(d.Mistakes) != 1 || !strings.Contains(d.Text(), "oauth_token ") {
			t.Errorf("%d: %q", found, d.Text())
		}
	}
	if d := UnknownKey(ConsumerKey, FoundWithBlanks); !strings.HasPrefix(d.Text(), "oauth_consumer_key has a blank") {
		t.Errorf("%q", d.Text())
	}
}

// TestNearKeys: the keys that an unknown one may stand for.
func TestNearKeys(t *testing.T) {
	t.Parallel()
	for key, want := range map[string][]NearKey{
		"printer":                {{"PRINTER", FoundInOtherCase}},
		"Printer\n":              {{"Printer", FoundWithBlanks}, {"printer\n", FoundInOtherCase}, {"PRINTER\n", FoundInOtherCase}},
		`"Ab"`:                   {{"Ab", FoundQuoted}, {`"ab"`, FoundInOtherCase}, {`"AB"`, FoundInOtherCase}},
		"1%202":                  {{"1 2", FoundEncoded}},
		"12":                     nil,
		"":                       nil,
		"%":                      nil,
		strings.Repeat("x", 513): nil,
	} {
		if got := NearKeys(key); !slices.Equal(got, want) {
			t.Errorf("%q: %+v, want %+v", key, got, want)
		}
	}
}

// TestNamesAreAClosedList: a mistake has one name, a text and an advice that are sentences, and a
// test that leads to it.
func TestNamesAreAClosedList(t *testing.T) {
	t.Parallel()
	source := ""
	for _, file := range []string{"diagnose_test.go", "cases_test.go", "unknownkey.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source += string(text)
	}
	signed := 0
	for i, name := range Names() {
		if !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(name) || slices.Index(Names(), name) != i {
			t.Errorf("%q is no name, or there twice", name)
		}
		m := Mistake{Name: name, Parameter: "oauth_token", Signed: "this", Expected: "that"}
		for _, text := range []string{m.Text(), m.Advice()} {
			if !regexp.MustCompile(`^[A-Za-z].*\.$`).MatchString(text) || strings.ContainsAny(text, "{}") {
				t.Errorf("%s: %q is no sentence", name, text)
			}
		}
		isSigned := slices.ContainsFunc(doctortest.Mistakes, func(m doctortest.Mistake) bool {
			return slices.ContainsFunc(strings.Split(m.Want, "+"), func(want string) bool {
				return want == name || strings.HasPrefix(want, name+" ")
			})
		})
		if isSigned {
			signed++
		}
		constant := regexp.MustCompile(`(?m)^\t(\w+) += "` + name + `"$`).FindStringSubmatch(mistakeSource(t))
		if !isSigned && (constant == nil || !strings.Contains(source, constant[1])) {
			t.Errorf("no test leads to %s", name)
		}
	}
	if signed < 45 {
		t.Errorf("a signer makes %d mistakes only", signed)
	}
	t.Logf("%d mistakes, %d of them in signatures", len(Names()), signed)
}

func mistakeSource(t *testing.T) string {
	text, err := os.ReadFile("mistake.go")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestTextsAreForOneLine: what a client sent cannot break out of its line.
func TestTextsAreForOneLine(t *testing.T) {
	t.Parallel()
	m := Mistake{Name: pathSlash, Signed: "/a\nb\x1b[31m\u202e\xff" + strings.Repeat("é", 200), Expected: ""}
	text := m.Text()
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || len(text) > 400 {
		t.Errorf("%q", text)
	}
	if !strings.Contains(text, "sent nothing") {
		t.Errorf("an empty value is not said: %q", text)
	}
}

// TestManualNamesEachMistake: the page for developers explains each mistake.
func TestManualNamesEachMistake(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/debugging.md")
	if err != nil {
		t.Fatal(err)
	}
	values := strings.NewReplacer("^{parameter}", "A parameter", "^", "", "{signed}", "A", "{expected}", "B",
		"{parameter}", "a parameter")
	for _, m := range texts {
		row := "| `" + m.name + "` | " + values.Replace("^"+m.said) + " | " + values.Replace(m.advice) + " |\n"
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/debugging.md lacks the row\n%s", row)
		}
	}
	for _, match := range regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)`").FindAllStringSubmatch(string(page), -1) {
		if !slices.Contains(Names(), match[1]) {
			t.Errorf("docs/debugging.md explains %s, which is no mistake", match[1])
		}
	}
}
