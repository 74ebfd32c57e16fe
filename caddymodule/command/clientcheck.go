package command

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

func clientCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "client-check --consumer <key>",
		Short: "Watches a new client, and ticks off what it signs right",
		Long: `
Waits for the requests of a new client on the running Caddy, and ticks off what
it signs right:

` + checkList() + `
Let the client send such requests to a site, and see the command tell what is
wrong as it happens. Refused requests are explained within the limits of the
option 'diagnoses': send one a second.

The command ends with exit code 0 when all is ticked off, and with 1 if you end
it before with ctrl-C. With --json it prints at its end what was seen and what
is missing.`,
		Example: `  $ caddy oauth1 client-check --consumer sandbox-1`,
	}
	cmd.Flags().String("consumer", "", "The key of the client's consumer")
	_ = cmd.MarkFlagRequired("consumer")
	completeFlag(cmd, "consumer", consumerKeys)
	return managing(cmd, cobra.NoArgs, runClientCheck)
}

// A clientChecked is one thing that a client has to show.
type clientChecked struct {
	name, text string
	// shows reports whether a passed request shows it. c knows the requests before it.
	shows func(c *clientCheck, p *adminapi.Pass) bool
}

const (
	// rightClock is how far a client's clock may be off, in seconds.
	rightClock = 30
	// newNonces is how many requests in a row must pass without a nonce that was used before.
	newNonces = 5
)

var clientChecks = []clientChecked{
	{"query", "a GET with a query", func(_ *clientCheck, p *adminapi.Pass) bool { return p.Method == http.MethodGet && p.Query }},
	{"form", "a POST with a form", func(_ *clientCheck, p *adminapi.Pass) bool { return p.Method == http.MethodPost && p.Form }},
	{"json", "a JSON body", func(_ *clientCheck, p *adminapi.Pass) bool { return p.JSON }},
	{"non_ascii", "a name or a value that is not ASCII", func(_ *clientCheck, p *adminapi.Pass) bool { return p.NonASCII }},
	{"repeated", "a parameter that is sent twice", func(_ *clientCheck, p *adminapi.Pass) bool { return p.Repeated }},
	{"no_plaintext", "a signature other than PLAINTEXT", func(_ *clientCheck, p *adminapi.Pass) bool { return p.SignatureMethod != "PLAINTEXT" }},
	{"clock", fmt.Sprintf("a clock that is right, to %d seconds", rightClock), func(_ *clientCheck, p *adminapi.Pass) bool {
		return p.ClockOff != nil && -rightClock <= *p.ClockOff && *p.ClockOff <= rightClock
	}},
	{"nonces", fmt.Sprintf("%d requests with new nonces", newNonces), func(c *clientCheck, p *adminapi.Pass) bool { return c.inARow >= newNonces }},
}

func checkList() string {
	var list strings.Builder
	for _, check := range clientChecks {
		fmt.Fprintf(&list, "  %s\n", check.text)
	}
	return list.String()
}

// clientCheck is a run of the command.
type clientCheck struct {
	out    io.Writer
	colour bool
	seen   map[string]bool
	inARow int // the requests that passed since a nonce was used twice
}

var errNotAllSeen = errors.New("not all was seen")

func runClientCheck(s *session, _ []string) error {
	c := &clientCheck{out: s.cmd.OutOrStdout(), seen: make(map[string]bool)}
	c.colour = isTerminalOut(c.out) && os.Getenv("NO_COLOR") == ""
	if s.flag("json") == "true" {
		c.out = io.Discard
	}
	passes := url.Values{"consumer": {s.flag("consumer")}}
	refused := url.Values{"consumer": {s.flag("consumer")}}
	passed, wrong, err := s.whatCame(passes, refused) // what was there before does not count
	if err != nil {
		return err
	}
	after(passes, passed)
	after(refused, wrong)
	fmt.Fprintf(c.out, "Waiting for requests of %s. Let the client send:\n%s",
		keyOnScreen(s.flag("consumer")), checkList())
	err = s.follow(func() error {
		if err := c.look(s, passes, refused); err != nil {
			return err
		}
		if len(c.seen) == len(clientChecks) {
			return errAllSeen
		}
		return nil
	})
	if err != nil && !errors.Is(err, errAllSeen) {
		return err
	}
	return c.end(s)
}

// errAllSeen ends the waiting.
var errAllSeen = errors.New("all was seen")

// whatCame asks the server for the requests after the queries' times.
func (s *session) whatCame(passes, refused url.Values) ([]adminapi.Pass, []adminapi.Diagnosis, error) {
	var passed adminapi.Passes
	if err := s.call(http.MethodGet, adminapi.PassesPath+"?"+passes.Encode(), nil, &passed); err != nil {
		return nil, nil, err
	}
	wrong, err := s.diagnoses(refused)
	return passed.Items, wrong.Items, err
}

// after moves the time of a query on to the end of a list.
func after[T interface{ When() time.Time }](query url.Values, items []T) {
	if n := len(items); n > 0 {
		query.Set("since", items[n-1].When().Format(time.RFC3339Nano))
	}
}

// look asks the server what came, and shows it.
func (c *clientCheck) look(s *session, passes, refused url.Values) error {
	passed, wrong, err := s.whatCame(passes, refused)
	if err != nil {
		return err
	}
	for i := range wrong {
		c.wrong(&wrong[i])
	}
	for i := range passed {
		c.passed(&passed[i])
	}
	after(passes, passed)
	after(refused, wrong)
	return nil
}

// passed ticks off what a request shows.
func (c *clientCheck) passed(p *adminapi.Pass) {
	c.inARow++
	fmt.Fprintf(c.out, "passed   %s %s\n", onScreen(p.Method), onScreen(p.URL))
	for i := range clientChecks {
		check := &clientChecks[i]
		if !c.seen[check.name] && check.shows(c, p) {
			c.seen[check.name] = true
			fmt.Fprintf(c.out, "%s %s (%d of %d)\n", c.paint("32", "  right: "), check.text, len(c.seen), len(clientChecks))
		}
	}
	if p.SignatureMethod == "PLAINTEXT" {
		fmt.Fprintf(c.out, "%s PLAINTEXT proves nothing about the request: use HMAC or RSA\n", c.paint("33", "  beware:"))
	}
	if off := p.ClockOff; off != nil && (*off < -rightClock || *off > rightClock) {
		fmt.Fprintf(c.out, "%s the client's clock is %d seconds off: set it by NTP\n", c.paint("33", "  beware:"), *off)
	}
}

// wrong shows a refused request.
func (c *clientCheck) wrong(d *adminapi.Diagnosis) {
	if d.Reason == "nonce_used" {
		c.inARow = 0
	}
	fmt.Fprintf(c.out, "%s  %s %s\n  %s\n", c.paint("31", "refused"), onScreen(d.Method), onScreen(d.URL), onScreen(d.Refusal))
	if d.Diagnosis != "" {
		fmt.Fprintf(c.out, "  %s\n", onScreen(d.Diagnosis))
	}
	if d.ClientBaseString != "" {
		fmt.Fprintf(c.out, "  server: %s\n  client: %s\n", onScreen(d.BaseString), onScreen(d.ClientBaseString))
	}
}

// paint colours a word at a terminal.
func (c *clientCheck) paint(colour, word string) string {
	if !c.colour {
		return word
	}
	return "\x1b[" + colour + "m" + word + "\x1b[0m"
}

// end says what was seen. Its error makes the exit code 1.
func (c *clientCheck) end(s *session) error {
	result := struct {
		Seen    []string `json:"seen"`
		Missing []string `json:"missing"`
	}{[]string{}, []string{}}
	var texts []string
	for _, check := range clientChecks {
		if c.seen[check.name] {
			result.Seen = append(result.Seen, check.name)
			continue
		}
		result.Missing = append(result.Missing, check.name)
		texts = append(texts, check.text)
	}
	if s.flag("json") == "true" {
		if err := s.showJSON(result); err != nil {
			return err
		}
	}
	if len(texts) == 0 {
		fmt.Fprintln(c.out, "All is right.")
		return nil
	}
	return fmt.Errorf("%w: %s", errNotAllSeen, strings.Join(texts, "; "))
}

// isTerminalOut reports whether a person reads an output.
func isTerminalOut(out io.Writer) bool {
	if passed, ok := out.(*output); ok {
		out = passed.to
	}
	file, ok := out.(io.Reader) // an *os.File is both
	return ok && isTerminal(file)
}
