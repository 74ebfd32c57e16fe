package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// DesktopIntegration is the level that stands for a whole computer: it is offered only when it is
// asked for alone, by a consumer whose key says that it is one.
const DesktopIntegration = "DESKTOP_INTEGRATION"

// PermissionLevel is something a user can allow a consumer to do.
type PermissionLevel struct {
	// The name that policies, tokens and clients use. Printable ASCII without spaces.
	Name string `json:"name"`
	// The title on the authorize page. Default: the name.
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
		Name: DesktopIntegration, Title: "Integrate an entire system",
		Description: "Every application on the computer may do everything in your name.",
		Implies:     []string{"WRITE_PRIVATE"},
	},
}

// Levels are the permission levels that exist, with all that each implies.
type Levels struct {
	// Ordered are the levels in the order of their declaration.
	Ordered []PermissionLevel
	// Builtin says that these are the default levels, for which the pages have texts in their
	// languages.
	Builtin bool

	held map[string][]string // by level: it, and what it implies
}

// LevelError is a mistake in the declaration of a level.
type LevelError struct {
	Level string
	text  string
}

// Error says which level, and what is wrong with it.
func (e *LevelError) Error() string { return fmt.Sprintf("permission %q: %s", e.Level, e.text) }

// NewLevels checks the declarations; where there are none, Launchpad's levels stand. Names that are
// used twice, unknown, or imply themselves are errors, of type *LevelError.
func NewLevels(declared []PermissionLevel) (*Levels, error) {
	builtin := len(declared) == 0
	if builtin {
		declared = defaultPermissionLevels
	}
	l := &Levels{Builtin: builtin, held: make(map[string][]string, len(declared))}
	direct := make(map[string][]string, len(declared))
	for _, level := range declared {
		if level.Name == tokenstore.Unauthorized {
			return nil, &LevelError{level.Name, "the name stands for a refusal and can't be declared"}
		}
		if !isWord(level.Name) {
			return nil, &LevelError{level.Name, "must be one word of printable ASCII"}
		}
		if _, ok := direct[level.Name]; ok {
			return nil, &LevelError{level.Name, "declared twice"}
		}
		if level.Title == "" {
			level.Title = level.Name
		}
		direct[level.Name] = level.Implies
		l.Ordered = append(l.Ordered, level)
	}
	for _, level := range l.Ordered {
		if _, err := l.reach(direct, level.Name, nil); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// reach returns the level and all that it implies, and records it. path holds the levels that led
// to this one.
func (l *Levels) reach(direct map[string][]string, name string, path []string) ([]string, error) {
	if held, ok := l.held[name]; ok {
		return held, nil
	}
	if slices.Contains(path, name) {
		return nil, &LevelError{name, fmt.Sprintf("implies itself, by way of %q", path[len(path)-1])}
	}
	implied, ok := direct[name]
	if !ok {
		return nil, &LevelError{path[len(path)-1], fmt.Sprintf("implies %q, which is not declared", name)}
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
	l.held[name] = held
	return held, nil
}

// Find returns the level with the name.
func (l *Levels) Find(name string) (PermissionLevel, bool) {
	i := slices.IndexFunc(l.Ordered, func(level PermissionLevel) bool { return level.Name == name })
	if i < 0 {
		return PermissionLevel{}, false
	}
	return l.Ordered[i], true
}

// Names are the names of the levels, in their order.
func (l *Levels) Names() []string {
	names := make([]string, len(l.Ordered))
	for i := range l.Ordered {
		names[i] = l.Ordered[i].Name
	}
	return names
}

// Check refuses a level that nobody declared.
func (l *Levels) Check(name string) error {
	if name == "" {
		return errors.New("permission: is missing")
	}
	if _, ok := l.Find(name); !ok {
		return fmt.Errorf("permission %q: is not declared", name)
	}
	return nil
}

// Holds reports whether a holder of one level has another. A level that is no longer declared holds
// nothing.
func (l *Levels) Holds(have, need string) bool {
	return slices.Contains(l.held[have], need)
}

// maxName is the longest name of a level, in bytes.
const maxName = 255

// isWord reports whether a text is one word of printable ASCII.
func isWord(s string) bool {
	return s != "" && len(s) <= maxName &&
		!strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}
