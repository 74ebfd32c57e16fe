package pages

import (
	"bytes"
	"html/template"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func newSet(t *testing.T, o Options) *Set {
	t.Helper()
	set, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// RFC 9110 section 12.5.4: the browser's languages, in the order of their weights. The page is in
// English if it has none of them.
func TestLanguage(t *testing.T) {
	t.Parallel()
	set := newSet(t, Options{})
	for name, c := range map[string]struct {
		header []string
		want   string
	}{
		"none":                                 {nil, "en"},
		"empty":                                {[]string{""}, "en"},
		"the language":                         {[]string{"de"}, "de"},
		"a region of it":                       {[]string{"de-AT,de;q=0.9,en;q=0.8"}, "de"},
		"the region of the texts":              {[]string{"pt-BR"}, "pt-BR"},
		"another region":                       {[]string{"pt-PT"}, "pt-BR"},
		"no region":                            {[]string{"pt"}, "pt-BR"},
		"in upper case":                        {[]string{"FR-ca"}, "fr"},
		"the heaviest":                         {[]string{"en;q=0.5, fr;q=0.9, de;q=0.7"}, "fr"},
		"the first that is there":              {[]string{"sv, ja;q=0.5"}, "ja"},
		"no available language":                {[]string{"sv, fi;q=0.5"}, "en"},
		"one that is refused":                  {[]string{"de;q=0"}, "en"},
		"any":                                  {[]string{"*"}, "en"},
		"English before others":                {[]string{"en-GB,de;q=0.9"}, "en"},
		"Chinese":                              {[]string{"zh"}, "zh-Hans"},
		"Chinese of China":                     {[]string{"zh-CN,zh;q=0.9,en;q=0.8"}, "zh-Hans"},
		"Arabic of Egypt":                      {[]string{"ar-EG"}, "ar"},
		"several lines":                        {[]string{"sv", "es;q=0.3"}, "es"},
		"nonsense":                             {[]string{"\x00;;q=="}, "en"},
		"an invalid weight":                    {[]string{"de;q=x"}, "en"},
		"more than anybody wishes":             {[]string{strings.Repeat("de,", 1000)}, "de"},
		"a tag that is longer than any may be": {[]string{strings.Repeat("a-", 600) + "b, de"}, "en"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := set.Language(c.header).Tag(); got != c.want {
				t.Errorf("%q: got %s, want %s", c.header, got, c.want)
			}
		})
	}
	t.Run("a site that has one has it for everybody", func(t *testing.T) {
		t.Parallel()
		set := newSet(t, Options{Language: "de"})
		if got := set.Language([]string{"fr"}).Tag(); got != "de" || set.Varies() {
			t.Errorf("got %s, varies %t", got, set.Varies())
		}
	})
	t.Run("Portuguese needs no region", func(t *testing.T) {
		t.Parallel()
		if got := newSet(t, Options{Language: "pt"}).Language(nil).Tag(); got != "pt-BR" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("a language that is not there", func(t *testing.T) {
		t.Parallel()
		if _, err := New(Options{Language: "tlh"}); err == nil || !strings.Contains(err.Error(), `language "tlh": must be one of en, de,`) {
			t.Errorf("got %v", err)
		}
	})
}

// FuzzLanguage: every Accept-Language header gets one of the languages.
func FuzzLanguage(f *testing.F) {
	for _, header := range []string{"de-AT,de;q=0.9,en;q=0.8", "zh-Hant-TW", "*;q=0", "x-private, i-klingon", "en-u-nu-arab-x-a", "\xff"} {
		f.Add(header)
	}
	set, err := New(Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if got := set.Language([]string{header}).Tag(); !slices.Contains(Languages, got) {
			t.Errorf("%q: got %q", header, got)
		}
	})
}

func TestDirection(t *testing.T) {
	t.Parallel()
	set := newSet(t, Options{})
	for _, tag := range Languages {
		want := map[bool]string{true: "rtl", false: "ltr"}[tag == "ar"]
		if got := set.Language([]string{tag}).Direction(); got != want {
			t.Errorf("%s: got %s, want %s", tag, got, want)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	set := newSet(t, Options{})
	german := set.Language([]string{"de"})
	for name, c := range map[string]struct {
		key  string
		args []any
		want template.HTML
		err  string
	}{
		"a text":                   {"button.allow", nil, "Erlauben", ""},
		"a name":                   {"authorize.title", []any{"Forge"}, "Forge zulassen?", ""},
		"markup in a name is text": {"authorize.title", []any{`<b>"%[1]s%d`}, "&lt;b&gt;&#34;%[1]s%d zulassen?", ""},
		"HTML stays":               {"head.user", []any{Name("<x>")}, "Angemeldet als <bdi lang=\"\">&lt;x&gt;</bdi>", ""},
		"an argument too many":     {"button.allow", []any{"x"}, "Erlauben", ""},
		"an unknown key":           {"no.such", nil, "", `there is no text "no.such"`},
		"an argument of no use":    {"head.user", []any{1.5}, "", "is of type float64"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := german.Text(c.key, c.args...)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("got error %v, want %q", err, c.err)
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	t.Run("a text that is missing is English", func(t *testing.T) {
		t.Parallel()
		lacking := *german
		lacking.has = maps.Clone(german.has)
		delete(lacking.has, "duration.days")
		for n, want := range map[int]template.HTML{1: "1 day", 2: "2 days"} {
			if got, err := lacking.Text("duration.days", n); err != nil || got != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		}
	})
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		french := set.Language([]string{"fr"})
		if got, want := french.Plain("notice.unfinished.title"), "Cette demande a expiré"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := french.Plain("no.such"); got != "no.such" {
			t.Errorf("got %q", got)
		}
	})
}

// CLDR's plural rules: Arabic has six forms, Japanese one.
func TestDuration(t *testing.T) {
	t.Parallel()
	set := newSet(t, Options{})
	const day = 24 * time.Hour
	for tag, cases := range map[string]map[time.Duration]template.HTML{
		"en": {
			time.Second: "1 second", 90 * time.Second: "90 seconds", time.Minute: "1 minute", 90 * time.Minute: "90 minutes",
			time.Hour: "1 hour", 36 * time.Hour: "36 hours", day: "1 day", 2000 * day: "2,000 days", time.Millisecond: "1 second",
			1500 * time.Millisecond: "2 seconds",
		},
		"de":      {day: "1 Tag", 30 * day: "30 Tage", 2000 * day: "2.000 Tage"},
		"fr":      {day: "1 jour", 2 * day: "2 jours"},
		"es":      {time.Hour: "1 hora", 5 * time.Hour: "5 horas"},
		"pt-BR":   {time.Minute: "1 minuto", 5 * time.Minute: "5 minutos"},
		"ja":      {day: "1 日", 30 * day: "30 日"},
		"zh-Hans": {day: "1 天", 3 * time.Hour: "3 小时"},
		"ar": {
			day: "يوم واحد", 2 * day: "يومين", 3 * day: "3 أيام", 11 * day: "11 يومًا", 100 * day: "100 يوم", 102 * day: "102 يوم",
			103 * day: "103 أيام",
		},
	} {
		for d, want := range cases {
			if got, err := set.Language([]string{tag}).Duration(d); err != nil || got != want {
				t.Errorf("%s: %v is %q, %v; want %q", tag, d, got, err, want)
			}
		}
	}
}

func TestDate(t *testing.T) {
	t.Parallel()
	set := newSet(t, Options{})
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", -3600))
	for tag, want := range map[string]template.HTML{
		"en":      "2 Jan 2026, 04:04 UTC",
		"de":      "2. Januar 2026, 04:04 UTC",
		"fr":      "2 janvier 2026 à 04:04 UTC",
		"es":      "2 de enero de 2026, 04:04 UTC",
		"pt-BR":   "2 de janeiro de 2026, 04:04 UTC",
		"ja":      "2026年1月2日 04:04（UTC）",
		"zh-Hans": "2026年1月2日 04:04（UTC）",
		"ar":      "2 يناير 2026، 04:04 UTC",
	} {
		if got, err := set.Language([]string{tag}).Date(at); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", tag, got, err, want)
		}
	}
}

// TestRender: every page in every language, in many goroutines at the same time.
func TestRender(t *testing.T) {
	t.Parallel()
	set := newSet(t, Options{})
	var all sync.WaitGroup
	for _, tag := range slices.Concat(Languages, Languages) {
		all.Go(func() {
			language := set.Language([]string{tag})
			for _, sample := range samples() {
				var page bytes.Buffer
				if err := set.Render(&page, language, sample); err != nil {
					t.Errorf("%s: %v", tag, err)
					return
				}
				head := `<html lang="` + tag + `" dir="` + language.Direction() + `">`
				for _, want := range []string{head, template.HTMLEscapeString(language.Plain("tokens.title"))} {
					if !strings.Contains(page.String(), want) {
						t.Errorf("%s: %T does not hold %q", tag, sample.Page, want)
					}
				}
				for _, wrong := range []string{"%!", "ZgotmplZ", "&amp;#", "&lt;bdi"} {
					if strings.Contains(page.String(), wrong) {
						t.Errorf("%s: %T holds %q:\n%s", tag, sample.Page, wrong, page.String())
					}
				}
			}
		})
	}
	all.Wait()
	if err := set.Render(new(bytes.Buffer), set.Language(nil), View{Page: 1}); err == nil {
		t.Error("there is a page for a number")
	}
}
