package pages

import (
	"html/template"
	"net/url"
	"strings"
	"time"
)

// A View is what a template gets.
type View struct {
	Site    string // how the site is called
	Initial string // its first letter
	User    string // who is logged in
	Tokens  string // link to the list of grants; empty on that page
	// What the page is about: an Authorize, a Done, a Message or a Tokens.
	Page any

	// Render fills these in.
	Logo      template.URL
	Style     template.CSS
	Language  string // for lang, such as "de"
	Direction string // for dir: "ltr" or "rtl"
}

// An Application is a consumer as the pages show it.
type Application struct {
	Key, Name, Homepage string
	// Contact is an e-mail address, or an http or https URL.
	Contact string
	// Initial and Hue (0 to 7) stand for the logo that an application has not got.
	Initial string
	Hue     int
	// SelfRegistered says that nobody has looked at the consumer: it came by itself.
	SelfRegistered bool
	// Anybody says that whoever knows the key can sign with it: the consumer has neither a secret
	// nor an RSA key, so the operator vouches for none of its requests.
	Anybody bool
}

// ContactLink is the link to the contact.
func (a Application) ContactLink() string {
	if strings.Contains(a.Contact, "://") { // no e-mail address has a colon
		return a.Contact
	}
	return "mailto:" + url.PathEscape(a.Contact)
}

// A Computer is what a system-wide consumer stands for.
type Computer struct{ Type, Host string }

// An Authorize is the page that asks. Its form is sent with a decision, "allow" or "refuse".
type Authorize struct {
	Application Application
	// Computer is set where the whole computer is meant, and not one application.
	Computer *Computer
	// Context is what the link names: nobody has signed it. ContextClaimed says that no policy of the
	// site looks at it, so that the limit means what the API behind makes of it.
	Context        string
	ContextClaimed bool

	Levels    []Choice // sent as "permission"
	Lifetimes []Choice // sent as "lifetime"
	// Destination is where the browser is sent then, as an origin or a scheme; empty for nowhere.
	Destination string
	// Polling says that the request did not say where it came from.
	Polling bool
	// OutOfBand says that the user will get a code to type in.
	OutOfBand bool
	CSRF      string // sent as "csrf"
	// Proof is sent as "proof", with the Application's Key as "consumer": so a form that comes
	// late, when the request is forgotten, gets a page that knows what it was about.
	Proof string
}

// A Choice is one of several answers.
type Choice struct {
	Value, Title, Description string
	Checked                   bool
	// Declared says that the operator wrote the title and the description, in any language.
	Declared bool
}

// A Done is the page that says how it ended.
type Done struct {
	Application Application
	Granted     bool
	// Finished says that the application has its access token.
	Finished bool
	// Verifier is what the user must type into the application; empty if there is nothing to type.
	Verifier string
}

// A Message is the page of a refusal.
type Message struct {
	Title, Text, Advice template.HTML
	// Link leads on, if there is anywhere to go; LinkText says where.
	Link     template.URL
	LinkText template.HTML
}

// A Tokens is the page that lists what a user has granted.
type Tokens struct {
	// Revoked is the name of the application that has just lost what it had, or one of it; empty if
	// none did.
	Revoked string
	// Applications are sorted by name.
	Applications []Grants
	// First and Next link to other pages, where there are any.
	First, Next string
}

// Grants are what a user has granted to one application, so far as it stands on this page.
type Grants struct {
	Application Application
	Grants      []Grant
	// CSRF goes with the Application's Key, sent as "consumer", to revoke all of it.
	CSRF string
}

// A Grant is an access token. Times that are zero mean never.
type Grant struct {
	Key string // sent as "token"
	// Title is the permission level's; Declared is as a Choice has it, ContextClaimed as an Authorize.
	Title, Context             string
	Declared, ContextClaimed   bool
	Created, LastUsed, Expires time.Time
	CSRF                       string
}
