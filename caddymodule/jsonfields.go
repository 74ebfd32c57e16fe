package caddymodule

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
)

// foldedName is the name of a JSON field as encoding/json compares it, which ignores case in
// Unicode's sense: the long s is an s, and the sign for kelvin a k.
func foldedName(name string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		for {
			next := unicode.SimpleFold(r)
			if next <= r { // the smallest of those that are the same letter
				return next
			}
			r = next
		}
	}, name))
}

// repeatedField returns the name of a field that an object in the JSON text has twice, or nothing.
// encoding/json takes the last, and other readers the first: so nobody knows which was meant. A text
// that is no JSON has none.
func repeatedField(text []byte) string {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	// The objects and lists around the next token. Seen is nil for a list.
	type level struct {
		seen  map[string]bool
		named bool // the next token is a value
	}
	var around []level
	for {
		token, err := dec.Token()
		if err != nil {
			return ""
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			around = around[:len(around)-1]
			continue
		}
		if n := len(around); n > 0 && around[n-1].seen != nil {
			if in := &around[n-1]; in.named {
				in.named = false
			} else {
				name, _ := token.(string)
				if in.seen[foldedName(name)] {
					return name
				}
				in.seen[foldedName(name)], in.named = true, true
				continue
			}
		}
		switch token {
		case json.Delim('{'):
			around = append(around, level{seen: make(map[string]bool)})
		case json.Delim('['):
			around = append(around, level{})
		}
	}
}
