package command

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

func explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain <method> <url> [--header <authorization>] [--data <form>] [--base-string <file|text>] [--secret-stdin | --consumer <key> [--token <key>]]",
		Short: "Shows what a request's signature covers, and where a client's base string differs",
		Long: `
Shows the parameters of a signed request and its signature base string (RFC 5849
section 3.4.1), as the server computes it. It needs neither secrets nor a
running Caddy.

Give the request as the client sends it: the URL percent-encoded, the
Authorization header, and a form body as --data. Most OAuth libraries can print
the base string that they sign. Give it with --base-string, as a text or as the
name of a file (- is standard input), to see where the two differ.

With the keys it says what the client did wrong. Give the consumer's secret in
the first line of standard input, and the token's in the second if the request
has a token, with --secret-stdin; or name the keys that should have signed with
--consumer and --token. Then the running Caddy does it: no secret leaves it, and
it also says what its policies decide about the request.`,
		Example: `  $ caddy oauth1 explain GET 'https://api.example.com/items?a=1' \
      --header 'Authorization: OAuth oauth_consumer_key="printer", ...' \
      --base-string client.txt
  $ caddy oauth1 explain GET 'https://api.example.com/items?a=1' --header "$HEADER" --consumer printer --token xyz
  $ caddy oauth1 explain GET 'https://api.example.com/items?a=1' --header "$HEADER" --secret-stdin < secrets`,
		Args: cobra.ExactArgs(2),
		RunE: runExplain,
	}
	cmd.Flags().StringArray("header", nil, "The Authorization header")
	dataFlag(cmd)
	cmd.Flags().String("base-string", "",
		"The base string that the client signed: a text, a file, or - for standard input")
	keyFlags(cmd)
	return cmd
}

func runExplain(cmd *cobra.Command, args []string) error {
	request, err := signedRequest(cmd, args[0], args[1])
	if err != nil {
		return err
	}
	headers, err := cmd.Flags().GetStringArray("header")
	if err != nil {
		return err
	}
	var authorization []string
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ":")
		if !strings.EqualFold(strings.TrimSpace(name), "Authorization") {
			return misused("header %q: only the Authorization header matters for the signature", name)
		}
		authorization = append(authorization, strings.TrimSpace(value))
	}
	params, err := oauth1.Parse(authorization, request.Query, request.Form)
	if err != nil {
		var apart error
		if params, apart = oauth1.ParseTokenRequest(authorization, request.Query, request.Form); apart == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "Only the token endpoints accept this: %v\n\n", err)
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("the server refuses this request: %w", err)
	}
	if params.Source == oauth1.SourceNone {
		return misused("the request has no OAuth parameters; give its Authorization header with --header")
	}
	text, err := request.AppendBaseString(nil, &params)
	if err != nil {
		return fmt.Errorf("the server refuses this request: %w", err)
	}
	server, err := parseBaseString(string(text))
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	explainRequest(out, &params, server)
	if err := explainByKeys(cmd, args[1], request, &params, authorization); err != nil {
		return err
	}
	if !cmd.Flags().Changed("base-string") {
		return nil
	}
	text, err = readBaseString(cmd)
	if err != nil {
		return err
	}
	client, err := parseBaseString(strings.TrimSpace(string(text)))
	if err != nil {
		if hint := joinedHint(server, strings.TrimSpace(string(text))); hint != "" {
			err = fmt.Errorf("%w. %s", err, hint)
		}
		return misused("the client's base string: %w", err)
	}
	explainDifference(out, server, client)
	return nil
}

// readBaseString reads the value of --base-string: a text, unless it is the name of a file.
func readBaseString(cmd *cobra.Command) ([]byte, error) {
	value := flagText(cmd, "base-string")
	if value == "-" {
		return io.ReadAll(cmd.InOrStdin())
	}
	if strings.Count(value, "&") >= 2 { // a base string has two, a wrong one more, a file name hardly any
		return []byte(value), nil
	}
	text, err := os.ReadFile(value)
	if err != nil {
		return nil, misused("the client's base string is neither a text with two & nor a file: %w", err)
	}
	return text, nil
}

// A baseString is a signature base string, cut into method, base string URI, and parameters.
type baseString struct {
	text        string
	method, uri string
	params      []string // encoded, in their order: name%3Dvalue
}

func parseBaseString(text string) (*baseString, error) {
	parts := strings.Split(text, "&")
	if len(parts) != 3 {
		return nil, fmt.Errorf("has %d parts joined by &, and must have 3: "+
			"method, URL and parameters, each percent-encoded", len(parts))
	}
	return &baseString{
		text:   text,
		method: parts[0],
		uri:    parts[1],
		params: strings.Split(parts[2], "%26"),
	}, nil
}

// A stretch is a piece of a base string, encoded as it stands there.
type stretch struct {
	name string
	text string
	// shown is the text without the encoding of the base string.
	shown string
}

// stretchAt finds the stretch that a position lies in.
func (b *baseString) stretchAt(position int) stretch {
	if position <= len(b.method) {
		return stretch{"the method", b.method, b.method}
	}
	position -= len(b.method) + len("&")
	if position <= len(b.uri) {
		return stretch{"the URL", b.uri, decodeText(b.uri)}
	}
	position -= len(b.uri) + len("&")
	for _, param := range b.params {
		if position < len(param)+len("%26") {
			name, value := decodeParam(param)
			return stretch{"the parameter " + name, param, name + "=" + value}
		}
		position -= len(param) + len("%26")
	}
	return stretch{name: "nothing"}
}

// decodeParam undoes the two encodings of a parameter.
func decodeParam(param string) (name, value string) {
	name, value, _ = strings.Cut(decodeText(param), "=")
	return decodeText(name), decodeText(value)
}

// decodeText is Decode for a client's text; it returns a malformed text as it is.
func decodeText(s string) string {
	decoded, err := oauth1.Decode(s)
	if err != nil {
		return s
	}
	return decoded
}

func explainRequest(out io.Writer, params *oauth1.Params, server *baseString) {
	fmt.Fprintf(out, "The OAuth parameters are in the %s.\n", params.Source)
	if params.SignatureMethod == oauth1.Plaintext {
		fmt.Fprintln(out, "The signature method is PLAINTEXT: the signature covers none of the following parts.")
	}
	fmt.Fprintf(out, "\nThe signature covers\n  the method      %s\n  the URL         %s\n",
		server.method, decodeText(server.uri))
	fmt.Fprintf(out, "  %d parameters, in this order:\n", len(server.params))
	for _, param := range server.params {
		name, value := decodeParam(param)
		fmt.Fprintf(out, "    %s = %q\n", onScreen(name), value)
	}
	fmt.Fprintf(out, "\nThe signature base string:\n%s\n", server.text)
}

// explainDifference tells where the client's base string begins to differ from the server's.
func explainDifference(out io.Writer, server, client *baseString) {
	if server.text == client.text {
		fmt.Fprintln(out, "\nThe client's base string is the same. "+
			"If the signature is refused nevertheless, the secrets or the key are wrong, or the signature is encoded wrongly.")
		return
	}
	position := 0
	for position < min(len(server.text), len(client.text)) && server.text[position] == client.text[position] {
		position++
	}
	fmt.Fprintf(out, "\nThe client's base string %s:\n", onScreen(differenceAt(server, client, position)))
	const before, behind = 24, 40
	from := max(0, position-before)
	fmt.Fprintf(out, "  server  %s\n", excerpt(server.text, from, position+behind))
	fmt.Fprintf(out, "  client  %s\n", onScreen(excerpt(client.text, from, position+behind)))
	indent := position - from
	if from > 0 {
		indent += len("...")
	}
	fmt.Fprintf(out, "          %s^\n", strings.Repeat(" ", indent))
	ours, theirs := server.stretchAt(position), client.stretchAt(position)
	if ours.shown != theirs.shown {
		fmt.Fprintf(out, "  server  %q\n  client  %q\n", ours.shown, theirs.shown)
	}
	if said := urlMistake(server.uri, client.uri); server.uri != client.uri && said != "" {
		fmt.Fprintln(out, said)
	}
	if server.method != client.method && strings.EqualFold(server.method, client.method) {
		fmt.Fprintln(out, saidCase)
	}
	explainParams(out, server.params, client.params)
}

// explainParams tells which parameters differ, and which mistake of the client explains it.
func explainParams(out io.Writer, server, client []string) {
	if sameInOtherOrder(server, client) {
		fmt.Fprintln(out, "The parameters are the same: the client sorts them in another order.")
		return
	}
	if whole := strings.Join(server, "%26"); strings.Join(client, "%26") == oauth1.Encode(whole) {
		fmt.Fprintln(out, "All parameters: "+saidTooOften)
		return
	}
	pairs, onlyServer, onlyClient := pairMistaken(server, client)
	explainOnly(out, "server", onlyServer)
	explainOnly(out, "client", onlyClient)
	for i, pair := range pairs {
		fmt.Fprintf(out, "For  %s  the client has  %s\n", pair.server, onScreen(pair.client))
		if i == len(pairs)-1 || pairs[i+1].said != pair.said { // said once for neighbours with the same mistake
			fmt.Fprintln(out, pair.said)
		}
	}
}

// joinedHint recognizes a base string whose parameters were not encoded as a whole, and which
// therefore has more than three parts.
func joinedHint(server *baseString, client string) string {
	_, params, _ := strings.Cut(client, "&")
	_, params, _ = strings.Cut(params, "&")
	inner := strings.Join(server.params, "%26")
	if params != "" && (params == decodeText(inner) || params == decodeText(decodeText(inner))) {
		return saidParamsNotEncoded
	}
	return ""
}

// differenceAt says where the two begin to differ, and how.
func differenceAt(server, client *baseString, position int) string {
	switch position {
	case len(client.text):
		return fmt.Sprintf("ends after %d characters, and the server's goes on", position)
	case len(server.text):
		return fmt.Sprintf("goes on where the server's ends, after %d characters", position)
	}
	ours, theirs := server.stretchAt(position), client.stretchAt(position)
	text := fmt.Sprintf("differs at character %d, in %s", position+1, ours.name)
	if theirs.name != ours.name {
		text += ", where the client has " + theirs.name
	}
	return text
}

func sameInOtherOrder(a, b []string) bool {
	return !slices.Equal(a, b) && slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// explainOnly lists parameters that only one side has.
func explainOnly(out io.Writer, side string, params []string) {
	for _, param := range params {
		name, value := decodeParam(param)
		fmt.Fprintf(out, "Only the %s has  %s = %q\n", side, onScreen(name), value)
	}
}

func excerpt(text string, from, to int) string {
	cut := text[from:min(to, len(text))]
	if from > 0 {
		cut = "..." + cut
	}
	if to < len(text) {
		cut += "..."
	}
	return cut
}
