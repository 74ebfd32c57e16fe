package pages

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// texts returns the messages in the file of a catalogue, by key and plural form. A message without
// plural forms has the form "".
func texts(t *testing.T, tag string) map[string]map[string]string {
	t.Helper()
	content, err := catalogues.ReadFile("messages/" + tag + ".json")
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	if _, err := decoder.Token(); err != nil {
		t.Fatal(err)
	}
	messages := make(map[string]map[string]string)
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		if messages[key.(string)] != nil {
			t.Errorf("%s: %q stands there twice", tag, key)
		}
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			t.Fatal(err)
		}
		var text string
		forms := make(map[string]string)
		if json.Unmarshal(raw, &text) == nil {
			forms[""] = text
		} else if err := json.Unmarshal(raw, &forms); err != nil {
			t.Fatalf("%s: %q: %v", tag, key, err)
		}
		messages[key.(string)] = forms
	}
	return messages
}

var placeholder = regexp.MustCompile(`%(\[[0-9]+\][a-z]|.|$)`)

// placeholders returns the placeholders of a text, each once, in order.
func placeholders(text string) []string {
	found := placeholder.FindAllString(text, -1)
	slices.Sort(found)
	return slices.Compact(found)
}

// TestCatalogues: every catalogue has every text, with the plural forms of its language and with
// all placeholders.
func TestCatalogues(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(catalogues, "messages/*.json")
	if err != nil || len(files) != len(Languages) {
		t.Errorf("there are the catalogues %q for the languages %q (%v)", files, Languages, err)
	}
	forms := map[string][]string{
		"ja": {"other"}, "zh-Hans": {"other"}, "ar": {"few", "many", "one", "other", "two", "zero"},
	}
	english := texts(t, "en")
	for _, tag := range Languages {
		t.Run(tag, func(t *testing.T) {
			t.Parallel()
			messages := texts(t, tag)
			for key := range messages {
				if english[key] == nil {
					t.Errorf("%q is no text of the pages", key)
				}
			}
			for key, want := range english {
				got := messages[key]
				if got == nil {
					t.Errorf("%q is missing", key)
					continue
				}
				wantForms := []string{""}
				if _, single := want[""]; !single {
					if wantForms = forms[tag]; wantForms == nil {
						wantForms = []string{"one", "other"}
					}
				}
				if has := slices.Sorted(maps.Keys(got)); !slices.Equal(has, wantForms) {
					t.Errorf("%q has the plural forms %q, want %q", key, has, wantForms)
				}
				all := placeholders(want[slices.Max(slices.Collect(maps.Keys(want)))])
				for form, text := range got {
					exact := slices.Contains([]string{"zero", "one", "two"}, form) // the number may stand in the text as a word
					if has := placeholders(text); !slices.Equal(has, all) && !(exact && len(has) == 0) {
						t.Errorf("%q %s has the placeholders %q, want %q", key, form, has, all)
					}
					if strings.TrimSpace(text) == "" || strings.ContainsAny(text, "<>\n\t") {
						t.Errorf("%q %s is %q", key, form, text)
					}
				}
			}
			if months := strings.Fields(messages["date.months"][""]); len(months) != 12 {
				t.Errorf("there are the months %q", months)
			}
		})
	}
}

// sameInEnglish lists the texts that a language shares with English.
var sameInEnglish = map[string][]string{
	"de":      {"facts.website", "date.first"},
	"fr":      {"tokens.pages", "duration.minutes"},
	"es":      {"date.first"},
	"ja":      {"date.first"},
	"zh-Hans": {"date.first"},
	"ar":      {"date.first"},
}

// TestCataloguesAreTranslated: no catalogue has an English text by mistake.
func TestCataloguesAreTranslated(t *testing.T) {
	t.Parallel()
	english := texts(t, "en")
	for _, tag := range Languages[1:] {
		messages := texts(t, tag)
		for key, forms := range english {
			for form, text := range forms {
				if messages[key][form] == text && !slices.Contains(sameInEnglish[tag], key) {
					t.Errorf("%s: %q is English: %q", tag, key, text)
				}
			}
		}
		for _, key := range sameInEnglish[tag] {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(english[key])), func(form string) bool {
				return messages[key][form] == english[key][form]
			}) {
				t.Errorf("%s: %q is no longer the same", tag, key)
			}
		}
	}
}

// TestTemplatesHoldNoWords: a word in a template would appear in one language only.
func TestTemplatesHoldNoWords(t *testing.T) {
	t.Parallel()
	files, err := templateFiles("")
	if err != nil {
		t.Fatal(err)
	}
	action := regexp.MustCompile(`(?s)\{\{.*?\}\}`)
	for name, content := range files {
		if name == fileStyle {
			continue
		}
		tokens := html.NewTokenizer(strings.NewReader(action.ReplaceAllString(content, "")))
		for tokens.Next() != html.ErrorToken {
			token := tokens.Token()
			if token.Type == html.TextToken && strings.ContainsAny(strings.ToLower(token.Data), "abcdefghijklmnopqrstuvwxyz") {
				t.Errorf("%s says %q", name, strings.TrimSpace(token.Data))
			}
			for _, attribute := range token.Attr {
				switch attribute.Key {
				case "aria-label", "aria-description", "alt", "title", "placeholder":
					if attribute.Val != "" {
						t.Errorf("%s: %s is %q", name, attribute.Key, attribute.Val)
					}
				}
			}
		}
	}
}
