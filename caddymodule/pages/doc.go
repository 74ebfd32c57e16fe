// Package pages draws the pages at which people grant access and take it back.
//
//	view.go         what each page has to show: the types that templates get
//	templates.go    a Set: the templates and the style sheet of a site, the operator's or the built-in ones
//	language.go     the languages, and which of them a browser gets; messages/: a catalogue for each
//	text.go         a text in a language: arguments, plural forms, dates and durations
//	colour.go       the accent, and what can be read on it
//	*.html, style.css
//
// A page shows no word that is not of a catalogue, of the operator, or a name; so templates hold
// none. The package knows neither Caddy nor a store.
package pages
