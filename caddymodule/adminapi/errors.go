package adminapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// An Error is an answer that refuses a call, or that another server than ours gave.
type Error struct {
	Status int
	// Message is the API's own; empty where the answer was no error of Caddy's admin endpoint.
	Message string
	// Body is the answer as it came.
	Body string
}

// newError reads the body of an answer, which caddy.APIError has encoded if all is well.
func newError(status int, body []byte) *Error {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &said) != nil {
		said.Error = ""
	}
	return &Error{Status: status, Message: said.Error, Body: string(body)}
}

func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("the admin API answered %d %s", e.Status, oneLine(e.Body))
	}
	return e.Message
}

// NotFound reports whether the API knows no such consumer or token. A Caddy without the oauth1 app
// answers with the same status, since it does not know the path.
func (e *Error) NotFound() bool {
	return e.Status == http.StatusNotFound &&
		strings.HasSuffix(e.Message, ": "+tokenstore.ErrNotFound.Error())
}

// Refused reports whether the server refused the call: it would refuse the same call again.
func (e *Error) Refused() bool { return e.Status/100 == 4 }

// oneLine makes an unknown server's answer fit for one line of a terminal.
func oneLine(body string) string {
	const most = 255
	if len(body) > most {
		body = body[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, body)
}
