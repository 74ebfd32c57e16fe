package policy

import "fmt"

// Subject is what a request proved, as far as a policy looks at it: for which user it is made, by
// which consumer, and with what permission.
type Subject struct {
	User, Consumer, Permission, Context string
	// Tokenless is the key of a known consumer that signed without saying for which user. Consumer
	// is empty then, and User too.
	Tokenless string
}

// Anonymous reports whether the request proved nothing.
func (s *Subject) Anonymous() bool { return s.User == "" }

// Describe says who it is, for people.
func (s *Subject) Describe() string {
	if s.Anonymous() {
		return "nobody (anonymous)"
	}
	text := fmt.Sprintf("user %s with %s", s.User, s.Permission)
	if s.Consumer != "" {
		text += ", by consumer " + s.Consumer
	}
	if s.Context != "" {
		text += ", in context " + s.Context
	}
	return text
}
