package policy

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// CoveredBy finds out whether earlier policies leave nothing for one to decide. It returns the
// number of the last of those that it takes, from 1; 0 where something is left, or where that can't
// be told. It knows paths and methods; of other matchers, that equal ones select the same.
func CoveredBy(earlier []*Policy, later *Policy) int {
	sets := later.selectors()
	if len(sets) == 0 {
		sets = caddyhttp.RawMatcherSets{nil} // everything
	}
	last := 0
	for _, set := range sets {
		i := slices.IndexFunc(earlier, func(p *Policy) bool {
			covered := func(by caddy.ModuleMap) bool { return covers(by, set) }
			return p.unconditional() || slices.ContainsFunc(p.selectors(), covered)
		})
		if i < 0 {
			return 0
		}
		last = max(last, i+1)
	}
	return last
}

// covers reports whether one set of matchers selects all that another does: each of its matchers
// must let through all that the other's let through.
func covers(earlier, later caddy.ModuleMap) bool {
	for name, wide := range earlier {
		narrow := later[name]
		switch {
		case name == "path" && coversAll(wide, narrow, coversPath):
		case name == "method" && coversAll(wide, narrow, same):
		case narrow != nil && bytes.Equal(compacted(wide), compacted(narrow)):
		default:
			return false
		}
	}
	return true
}

func same(a, b string) bool { return a == b }

// coversAll reports whether each element of the list narrow is covered by one of the list wide. No
// list at all stands for everything.
func coversAll(wide, narrow json.RawMessage, covers func(a, b string) bool) bool {
	elements := []string{"*"}
	var wider []string
	if json.Unmarshal(wide, &wider) != nil || (narrow != nil && json.Unmarshal(narrow, &elements) != nil) {
		return false
	}
	return !slices.ContainsFunc(elements, func(b string) bool {
		return !slices.ContainsFunc(wider, func(a string) bool { return covers(a, b) })
	})
}

// coversPath reports whether one pattern of Caddy's path matcher, which ignores case, matches all
// paths that another does.
func coversPath(wide, narrow string) bool {
	if wide == "*" || wide == "/*" || wide == narrow {
		return true
	}
	prefix, open := strings.CutSuffix(wide, "*")
	if strings.ContainsAny(prefix, special) || strings.ContainsAny(narrow, "%") ||
		strings.Contains(prefix+" "+narrow, "//") {
		return false
	}
	if !open {
		return strings.EqualFold(wide, narrow)
	}
	if i := strings.IndexAny(narrow, special); i >= 0 {
		narrow = narrow[:i]
	}
	return len(narrow) >= len(prefix) && strings.EqualFold(narrow[:len(prefix)], prefix)
}

// special are the characters that stand for something else in a pattern. With a %, the pattern is
// compared with the path as it was sent.
const special = `*?[\{%`

func compacted(raw json.RawMessage) []byte {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return raw
	}
	return b.Bytes()
}
