package pages

import (
	"strings"
	"testing"
	"time"
)

// TestOneWishThatCannotBeRead: an unreadable entry in Accept-Language does not hide the others.
func TestOneWishThatCannotBeRead(t *testing.T) {
	t.Parallel()
	pages, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, wishes := range []string{
		"xx, de", "no-NO-NY, de;q=0.9", "de_DE.UTF-8, de;q=0.9", "x, de", "zzzz,de;q=0.8", "de, a",
		"de," + strings.Repeat("nl;q=0.1,", 120) + "nl;q=0.1",
	} {
		if got := pages.Language([]string{wishes}).Tag(); got != "de" {
			t.Errorf("%.30q: %s", wishes, got)
		}
	}
}

// TestFirstOfAMonthInFrench: a French date has an ordinal for the first day alone.
func TestFirstOfAMonthInFrench(t *testing.T) {
	t.Parallel()
	pages, err := New(Options{Language: "fr"})
	if err != nil {
		t.Fatal(err)
	}
	for day, want := range map[int]string{1: "1er mars 2026 à", 2: "2 mars 2026 à"} {
		got, err := pages.Language(nil).Date(time.Date(2026, 3, day, 4, 5, 0, 0, time.UTC))
		if err != nil || !strings.HasPrefix(string(got), want) {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}
