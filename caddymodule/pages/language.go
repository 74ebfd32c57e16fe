package pages

import (
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"html"
	"slices"
	"strings"
	"sync"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/message/catalog"
)

// Languages are those that the pages are written in, by their BCP 47 tags. The first is that of a
// browser that asks for none of them, and of every text that another lacks.
var Languages = []string{"en", "de", "fr", "es", "pt-BR", "ja", "zh-Hans", "ar"}

// shortTags are other names that an operator may give to some of them.
var shortTags = map[string]string{"pt": "pt-BR"}

// rightToLeft are the languages among them that are written so.
var rightToLeft = []string{"ar"}

// A catalogue of messages is a JSON object of texts by their keys. A text holds %[1]s, %[2]s ...
// for its arguments, or is an object of texts by the plural forms (CLDR's names) of its first
// argument, a number.
//
//go:embed messages/*.json
var catalogues embed.FS

// A Language is one that the pages are written in.
type Language struct {
	tag     string
	printer *message.Printer
	has     map[string]bool // the keys of its catalogue
	english *Language       // for those that it lacks; nil for English itself
}

// Tag is the language's BCP 47 tag.
func (l *Language) Tag() string { return l.tag }

// English is the language that has all texts.
func (l *Language) English() *Language {
	if l.english == nil {
		return l
	}
	return l.english
}

// Direction is how it is written: ltr or rtl, as HTML says it.
func (l *Language) Direction() string {
	if slices.Contains(rightToLeft, l.tag) {
		return "rtl"
	}
	return "ltr"
}

// builtin are the languages in the order of Languages.
var builtin = sync.OnceValues(loadLanguages)

func loadLanguages() ([]*Language, error) {
	builder := catalog.NewBuilder(catalog.Fallback(language.English))
	var loaded []*Language
	for _, tag := range Languages {
		l := &Language{tag: tag, has: make(map[string]bool)}
		messages, err := readCatalogue(tag)
		if err != nil {
			return nil, err
		}
		// Figures are written 0 to 9, as in the keys and addresses beside them.
		parsed := language.MustParse(tag + "-u-nu-latn")
		for key, text := range messages {
			if err := builder.Set(parsed, key, text); err != nil {
				return nil, fmt.Errorf("messages/%s.json: %s: %w", tag, key, err)
			}
			l.has[key] = true
		}
		l.printer = message.NewPrinter(parsed, message.Catalog(builder))
		if loaded = append(loaded, l); len(loaded) > 1 {
			l.english = loaded[0]
		}
	}
	return loaded, nil
}

// readCatalogue reads the messages of a language. Their texts become HTML.
func readCatalogue(tag string) (map[string]catalog.Message, error) {
	name := "messages/" + tag + ".json"
	content, err := catalogues.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var texts map[string]json.RawMessage
	if err := json.Unmarshal(content, &texts); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	messages := make(map[string]catalog.Message, len(texts))
	for key, raw := range texts {
		var text string
		if json.Unmarshal(raw, &text) == nil {
			messages[key] = catalog.String(html.EscapeString(text))
			continue
		}
		var forms map[string]string
		if err := json.Unmarshal(raw, &forms); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, key, err)
		}
		messages[key] = pluralMessage(forms)
	}
	return messages, nil
}

// pluralForms are CLDR's names, the one for all that is left at the end.
var pluralForms = []string{"zero", "one", "two", "few", "many", "other"}

func pluralMessage(forms map[string]string) catalog.Message {
	var cases []any
	for _, form := range pluralForms {
		if text, ok := forms[form]; ok {
			cases = append(cases, form, html.EscapeString(text))
		}
	}
	return plural.Selectf(1, "%d", cases...)
}

// maxAcceptLanguage is how much of a browser's wishes is read, in bytes.
const maxAcceptLanguage = 1024

var matcher = sync.OnceValue(func() language.Matcher {
	var tags []language.Tag
	for _, tag := range Languages {
		tags = append(tags, language.MustParse(tag))
	}
	return language.NewMatcher(tags)
})

// match returns the index of the language that suits an Accept-Language header best.
func match(acceptLanguage []string) int {
	wishes := strings.Join(acceptLanguage, ",")
	if len(wishes) > maxAcceptLanguage {
		wishes = wishes[:strings.LastIndexByte(wishes[:maxAcceptLanguage+1], ',')+1]
	}
	tags := parseWishes(wishes)
	if len(tags) == 0 {
		return 0
	}
	_, index, _ := matcher().Match(tags...)
	return index
}

// parseWishes returns the languages of an Accept-Language header, the heaviest first. An element
// that can't be read does not hide the others: browsers send what their users have typed in.
func parseWishes(wishes string) []language.Tag {
	type wish struct {
		tag    language.Tag
		weight float32
	}
	var read []wish
	for element := range strings.SplitSeq(wishes, ",") {
		tags, weights, err := language.ParseAcceptLanguage(element)
		if err == nil && len(tags) == 1 {
			read = append(read, wish{tags[0], weights[0]})
		}
	}
	slices.SortStableFunc(read, func(a, b wish) int { return cmp.Compare(b.weight, a.weight) })
	tags := make([]language.Tag, len(read))
	for i, w := range read {
		tags[i] = w.tag
	}
	return tags
}

// CheckLanguage refuses a tag that no catalogue has.
func CheckLanguage(tag string) error {
	if !slices.Contains(Languages, cmp.Or(shortTags[tag], tag)) {
		return fmt.Errorf("language %q: must be one of %s", tag, strings.Join(Languages, ", "))
	}
	return nil
}
