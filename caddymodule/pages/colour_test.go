package pages

import "testing"

// TestAccentReads: with every accent, the text on it has the contrast of WCAG 2.2 AA (4.5).
func TestAccentReads(t *testing.T) {
	for r := 0; r < 256; r += 15 {
		for g := 0; g < 256; g += 15 {
			for b := 0; b < 256; b += 15 {
				c := colour{byte(r), byte(g), byte(b)}
				if best := max(contrast(c, black), contrast(c, white)); best < 4.5 {
					t.Fatalf("%v: %f", c, best)
				}
			}
		}
	}
	if got := contrast(black, white); got != 21 {
		t.Errorf("black on white: %f; want 21", got)
	}
	for _, test := range []struct {
		accent, surface colour
		want            string
	}{
		{colour{0xff, 0xd5, 0}, lightSurface, "--accent:#ffd500;--on-accent:#000000;--control:var(--ink)"},
		{colour{0xff, 0xd5, 0}, darkSurface, "--accent:#ffd500;--on-accent:#000000;--control:#ffd500"},
		{colour{0, 0, 0x80}, lightSurface, "--accent:#000080;--on-accent:#ffffff;--control:#000080"},
		{colour{0, 0, 0x80}, darkSurface, "--accent:#000080;--on-accent:#ffffff;--control:var(--ink)"},
	} {
		if got := accentOn(test.accent, test.surface); got != test.want {
			t.Errorf("accentOn(%v, %v) = %q; want %q", test.accent, test.surface, got, test.want)
		}
	}
}

// TestSurfaces: the colours that an accent is judged on are those that style.css draws it on.
func TestSurfaces(t *testing.T) {
	if lightSurface != white || contrast(darkSurface, white) < 12 {
		t.Errorf("the surfaces are %v and %v", lightSurface, darkSurface)
	}
}
