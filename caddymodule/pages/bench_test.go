package pages

import (
	"io"
	"testing"
)

// BenchmarkRender draws the authorize page, which has many texts.
func BenchmarkRender(b *testing.B) {
	set, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	page := samples()[1]
	for _, tag := range []string{"en", "ar"} {
		b.Run(tag, func(b *testing.B) {
			language := set.Language([]string{tag})
			b.ReportAllocs()
			for b.Loop() {
				if err := set.Render(io.Discard, language, page); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLanguage finds the language of a browser, as every page does.
func BenchmarkLanguage(b *testing.B) {
	set, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	header := []string{"de-AT,de;q=0.9,en-US;q=0.8,en;q=0.7"}
	b.ReportAllocs()
	for b.Loop() {
		set.Language(header)
	}
}

// BenchmarkNew measures the cost of a site's pages at a reload.
func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := New(Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
