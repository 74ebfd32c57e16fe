package pages

import (
	"fmt"
	"html"
	"html/template"
	"strings"
	"time"
)

// Text is the message with the key. Its arguments are texts, which are escaped, HTML, or whole
// numbers. An unknown key is an error.
func (l *Language) Text(key string, args ...any) (template.HTML, error) {
	from := l
	if !l.has[key] {
		if from = l.english; from == nil {
			return "", fmt.Errorf("there is no text %q", key)
		}
		return from.Text(key, args...)
	}
	escaped := make([]any, len(args))
	for i, arg := range args {
		switch arg := arg.(type) {
		case string:
			escaped[i] = html.EscapeString(arg)
		case template.HTML:
			escaped[i] = string(arg)
		case int:
			escaped[i] = arg
		default:
			return "", fmt.Errorf("text %q: an argument is of type %T", key, arg)
		}
	}
	return template.HTML(l.printer.Sprintf(key, escaped...)), nil
}

// Plain is a text that is not to be read as HTML; or the key, if there is none.
func (l *Language) Plain(key string, args ...any) string {
	text, err := l.Text(key, args...)
	if err != nil {
		return key
	}
	return html.UnescapeString(string(text))
}

// Name is a name of whatever language and direction, as part of a text.
func Name(name string) template.HTML {
	return template.HTML(`<bdi lang="">` + html.EscapeString(name) + "</bdi>")
}

// Date is a day and a time of day, in UTC.
func (l *Language) Date(t time.Time) (template.HTML, error) {
	t = t.UTC()
	months := strings.Fields(l.Plain("date.months"))
	if len(months) != 12 {
		return "", fmt.Errorf("text %q: has %d months", "date.months", len(months))
	}
	day := t.Format("2")
	if day == "1" { // an ordinal in some languages, where the others are none
		day = l.Plain("date.first")
	}
	return l.Text("date", day, months[t.Month()-1], t.Format("2006"), t.Format("15:04"))
}

// Duration is a length of time as people say it. What is left of a second counts as one.
func (l *Language) Duration(d time.Duration) (template.HTML, error) {
	if d > d.Truncate(time.Second) {
		d = d.Truncate(time.Second) + time.Second
	}
	for _, unit := range []struct {
		length time.Duration
		key    string
	}{{24 * time.Hour, "duration.days"}, {time.Hour, "duration.hours"}, {time.Minute, "duration.minutes"}} {
		if d >= unit.length && d%unit.length == 0 {
			return l.Text(unit.key, int(d/unit.length))
		}
	}
	return l.Text("duration.seconds", int(d/time.Second))
}

// funcs are the functions that templates have beside Go's own.
func (l *Language) funcs() template.FuncMap {
	return template.FuncMap{
		"text":    l.Text,
		"name":    Name,
		"strong":  func(name string) template.HTML { return "<strong>" + Name(name) + "</strong>" },
		"date":    l.Date,
		"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}
}
