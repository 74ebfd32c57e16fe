package pages

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A colour is red, green and blue.
type colour [3]byte

var (
	black = colour{}
	white = colour{0xff, 0xff, 0xff}

	lightSurface, darkSurface = builtinSurfaces()

	defaultAccent     = colour{0x2f, 0x56, 0xc5}
	defaultAccentDark = colour{0x9d, 0xb6, 0xff}
)

var surfaceProperty = regexp.MustCompile(`--surface: (#[0-9a-f]{6});`)

// builtinSurfaces returns the colour of --surface in the built-in style.css, which has it first for
// light and then for dark.
func builtinSurfaces() (light, dark colour) {
	style, err := builtinFiles.ReadFile(fileStyle)
	if err != nil {
		panic(err)
	}
	found := surfaceProperty.FindAllSubmatch(style, -1)
	if len(found) != 2 {
		panic(fmt.Sprintf("%s: --surface is there %d times, not 2", fileStyle, len(found)))
	}
	for i, c := range []*colour{&light, &dark} {
		if *c, err = parseColour("--surface", string(found[i][1])); err != nil {
			panic(err)
		}
	}
	return light, dark
}

func parseColour(option, text string) (colour, error) {
	digits := strings.TrimPrefix(text, "#")
	if len(digits) == 3 {
		digits = string([]byte{digits[0], digits[0], digits[1], digits[1], digits[2], digits[2]})
	}
	n, err := strconv.ParseUint(digits, 16, 24)
	if len(digits) != 6 || err != nil {
		return colour{}, fmt.Errorf("%s %q: must be a colour such as 2f56c5", option, text)
	}
	return colour{byte(n >> 16), byte(n >> 8), byte(n)}, nil
}

func (c colour) String() string { return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2]) }

// colours is the part of the style sheet that depends on the accent.
func colours(accent, accentDark string) (string, error) {
	light, dark := defaultAccent, defaultAccentDark
	var err error
	if accent != "" {
		if light, err = parseColour("accent", accent); err != nil {
			return "", err
		}
		dark = light
	}
	if accentDark != "" {
		if dark, err = parseColour("accent_dark", accentDark); err != nil {
			return "", err
		}
	}
	return ":root{" + accentOn(light, lightSurface) + "}\n" +
		"@media (prefers-color-scheme:dark){:root{" + accentOn(dark, darkSurface) + "}}\n", nil
}

// accentOn are the properties of an accent: itself, the text on it, and what is drawn with it on
// the surface, which is the text's colour where the accent would be too faint (WCAG 2.2 success
// criterion 1.4.11).
func accentOn(accent, surface colour) string {
	text := white
	if contrast(black, accent) > contrast(white, accent) {
		text = black
	}
	control := accent.String()
	if contrast(accent, surface) < 4.5 {
		control = "var(--ink)"
	}
	return fmt.Sprintf("--accent:%v;--on-accent:%v;--control:%s", accent, text, control)
}

// contrast is the contrast ratio of WCAG 2.2, 1 to 21.
func contrast(a, b colour) float64 {
	l := []float64{a.luminance(), b.luminance()}
	slices.Sort(l)
	return (l[1] + 0.05) / (l[0] + 0.05)
}

// luminance is the relative luminance of WCAG 2.2, 0 to 1.
func (c colour) luminance() float64 {
	var linear [3]float64
	for i, v := range c {
		s := float64(v) / 255
		if s <= 0.04045 {
			linear[i] = s / 12.92
			continue
		}
		linear[i] = math.Pow((s+0.055)/1.055, 2.4)
	}
	return 0.2126*linear[0] + 0.7152*linear[1] + 0.0722*linear[2]
}
