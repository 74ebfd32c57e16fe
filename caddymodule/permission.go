package caddymodule

import (
	"fmt"
	"slices"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/pages"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// desktopIntegration is the level that stands for a whole computer: it is offered only when it is asked for alone, by a
// consumer whose key says that it is one.
const desktopIntegration = "DESKTOP_INTEGRATION"

// unauthorizedTitle is what Launchpad calls a refusal.
const unauthorizedTitle = "No Access"

// PermissionLevel is something a user can allow a consumer to do.
type PermissionLevel struct {
	// The name that policies, tokens and clients use. Printable ASCII without spaces.
	Name string `json:"name"`
	// What people read at the authorize page. Default: the name.
	Title string `json:"title,omitempty"`
	// One sentence more for them.
	Description string `json:"description,omitempty"`
	// The levels that a holder of this one has as well.
	Implies []string `json:"implies,omitempty"`
}

// defaultPermissionLevels are Launchpad's.
var defaultPermissionLevels = []PermissionLevel{
	{
		Name: "READ_PUBLIC", Title: "Read Non-Private Data",
		Description: "The application may read what everybody may read, in your name.",
	},
	{
		Name: "WRITE_PUBLIC", Title: "Change Non-Private Data",
		Description: "The application may read and change your data, except what is private.",
		Implies:     []string{"READ_PUBLIC"},
	},
	{
		Name: "READ_PRIVATE", Title: "Read Anything",
		Description: "The application may read all your data, private data too, and change nothing.",
		Implies:     []string{"READ_PUBLIC"},
	},
	{
		Name: "WRITE_PRIVATE", Title: "Change Anything",
		Description: "The application may read and change all your data, private data too.",
		Implies:     []string{"READ_PRIVATE", "WRITE_PUBLIC"},
	},
	{
		Name: desktopIntegration, Title: "Integrate an entire system",
		Description: "Every application on the computer may do everything in your name.",
		Implies:     []string{"WRITE_PRIVATE"},
	},
}

// levels are the declared permission levels, in the order of their declaration, with what each holds.
type levels struct {
	ordered []PermissionLevel
	holds   map[string][]string
	// builtin says that these are the default levels, for which the pages have texts in their
	// languages.
	builtin bool
}

// levelError is a mistake in the declaration of a level.
type levelError struct {
	level string
	text  string
}

// Error says which level, and what is wrong with it.
func (e *levelError) Error() string { return fmt.Sprintf("permission %q: %s", e.level, e.text) }

// newLevels checks the declarations: names that are used twice, unknown, or imply themselves are errors, of type *levelError.
func newLevels(declared []PermissionLevel) (*levels, error) {
	l := &levels{holds: make(map[string][]string, len(declared))}
	direct := make(map[string][]string, len(declared))
	for _, level := range declared {
		if level.Name == tokenstore.Unauthorized {
			return nil, &levelError{level.Name, "the name stands for a refusal and can't be declared"}
		}
		if !isWord(level.Name) {
			return nil, &levelError{level.Name, "must be one word of printable ASCII"}
		}
		if _, ok := direct[level.Name]; ok {
			return nil, &levelError{level.Name, "declared twice"}
		}
		if level.Title == "" {
			level.Title = level.Name
		}
		direct[level.Name] = level.Implies
		l.ordered = append(l.ordered, level)
	}
	for _, level := range l.ordered {
		if _, err := l.reach(direct, level.Name, nil); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// reach lists the level and all that it implies, and remembers it; path is how it was come by.
func (l *levels) reach(direct map[string][]string, name string, path []string) ([]string, error) {
	if held, ok := l.holds[name]; ok {
		return held, nil
	}
	if slices.Contains(path, name) {
		return nil, &levelError{name, fmt.Sprintf("implies itself, by way of %q", path[len(path)-1])}
	}
	implied, ok := direct[name]
	if !ok {
		return nil, &levelError{path[len(path)-1], fmt.Sprintf("implies %q, which is not declared", name)}
	}
	held := []string{name}
	for _, next := range implied {
		more, err := l.reach(direct, next, append(slices.Clone(path), name))
		if err != nil {
			return nil, err
		}
		for _, m := range more {
			if !slices.Contains(held, m) {
				held = append(held, m)
			}
		}
	}
	l.holds[name] = held
	return held, nil
}

// declared returns the level with the name.
func (l *levels) declared(name string) (PermissionLevel, bool) {
	i := slices.IndexFunc(l.ordered, func(level PermissionLevel) bool { return level.Name == name })
	if i < 0 {
		return PermissionLevel{}, false
	}
	return l.ordered[i], true
}

// in returns what people read of a level in a language. What the operator declared is as it was
// written.
func (l *levels) in(language *pages.Language, level PermissionLevel) (title, description string) {
	if !l.builtin {
		return level.Title, level.Description
	}
	key := "level." + level.Name
	return language.Plain(key + ".title"), language.Plain(key + ".description")
}

// allows reports whether a holder of one level has another. A level that is no longer declared allows nothing.
func (l *levels) allows(have, need string) bool {
	return slices.Contains(l.holds[have], need)
}
