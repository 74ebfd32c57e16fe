package caddymodule

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
)

// foldedName returns the name of a JSON field in one case. Like encoding/json, it folds case as
// Unicode does: the long s equals s, and the Kelvin sign equals k.
func foldedName(name string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		for {
			next := unicode.SimpleFold(r)
			if next <= r { // the smallest letter among those that are equal
				return next
			}
			r = next
		}
	}, name))
}

// repeatedField returns the name of a field that an object in the JSON text has twice, or an empty
// text. encoding/json uses the last one, other readers use the first, so the meaning is unclear.
// For a text that is not JSON it returns an empty text.
func repeatedField(text []byte) string {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	// The objects and lists around the next token. seen is nil for a list.
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
