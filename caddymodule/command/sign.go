package command

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// The environment variables that may hold the secrets in place of standard input.
const (
	envConsumerSecret = "OAUTH1_CONSUMER_SECRET"
	envTokenSecret    = "OAUTH1_TOKEN_SECRET"
)

func signCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sign <method> <url> --consumer <key>",
		Short: "Prints the Authorization header that signs a request",
		Long: `
Prints the Authorization header that signs a request (RFC 5849), as an argument
for curl's -H. It needs no running Caddy.

Give the URL exactly as it will be sent, percent-encoded, and a form body as
--data. The secrets are read from standard input: the consumer's from the first
line, with --token the token's from the second. They may be in the environment
variables ` + envConsumerSecret + ` and ` + envTokenSecret + ` instead. A
secret that is missing or empty is an error; with --no-secret the consumer has
none, and standard input holds the token's alone. With --private-key the
consumer signs with RSA, and no secret is needed.`,
		Example: `  $ export OAUTH1_CONSUMER_SECRET OAUTH1_TOKEN_SECRET
  $ curl -H "$(caddy oauth1 sign GET 'https://api.example.com/items?a=1' --consumer printer --token xyz)" 'https://api.example.com/items?a=1'
  $ caddy oauth1 sign POST https://api.example.com/items --consumer ci-bot --private-key ci-bot.key --data 'name=a%20b'`,
		Args: cobra.ExactArgs(2),
		RunE: runSign,
	}
	flags := cmd.Flags()
	flags.String("consumer", "", "The consumer key")
	flags.String("token", "", "The key of the access token or request token (default: none is sent)")
	flags.String("signature-method", "",
		"One of "+strings.Join(oauth1.SignatureMethods, ", ")+" (default: HMAC-SHA256, or RSA-SHA256 with --private-key)")
	flags.String("private-key", "", "A PEM file with the consumer's RSA private key")
	flags.Bool("no-secret", false, "The consumer's secret is empty")
	dataFlag(cmd)
	flags.String("realm", "", "The realm to send (default: none)")
	flags.String("callback", "", "oauth_callback, for a request token: a URL or oob")
	flags.String("verifier", "", "oauth_verifier, for an access token")
	flags.Int64("timestamp", 0, "oauth_timestamp in seconds (default: now)")
	flags.String("nonce", "", "oauth_nonce (default: a random one)")
	_ = cmd.MarkFlagRequired("consumer")
	cmd.MarkFlagsMutuallyExclusive("no-secret", "private-key")
	completeFlag(cmd, "signature-method", signatureMethodNames)
	return cmd
}

func dataFlag(cmd *cobra.Command) {
	cmd.Flags().StringArray("data", nil, "The form body, encoded as it is sent (repeatable, joined by &)")
	_ = cmd.Flags().SetAnnotation("data", mayBeEmpty, []string{"an empty form"})
}

func runSign(cmd *cobra.Command, args []string) error {
	request, err := signedRequest(cmd, args[0], args[1])
	if err != nil {
		return err
	}
	signer := &oauth1.Signer{
		ConsumerKey:     flagText(cmd, "consumer"),
		Token:           flagText(cmd, "token"),
		SignatureMethod: flagText(cmd, "signature-method"),
		Realm:           flagText(cmd, "realm"),
		Callback:        flagText(cmd, "callback"),
		Verifier:        flagText(cmd, "verifier"),
		Nonce:           flagText(cmd, "nonce"),
	}
	if signer.Timestamp, err = cmd.Flags().GetInt64("timestamp"); err != nil {
		return err
	}
	if cmd.Flags().Changed("timestamp") && signer.Timestamp <= 0 {
		return misused("timestamp %d: must be positive", signer.Timestamp)
	}
	if err := readSigningKeys(cmd, signer); err != nil {
		return err
	}
	header, err := signer.Sign(request)
	if errors.Is(err, oauth1.ErrKeyKind) {
		return misused("signature method %s: the RSA methods need --private-key, and all others must not have it",
			signer.SignatureMethod)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "Authorization:", header)
	return err
}

// readSigningKeys reads the private key or the secrets. A missing secret is an error, and not taken
// for an empty one: the server would refuse the signature without saying why.
func readSigningKeys(cmd *cobra.Command, signer *oauth1.Signer) error {
	if file := flagText(cmd, "private-key"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return misused("reading the private key: %w", err)
		}
		if signer.PrivateKey, err = oauth1.ParsePrivateKey(string(pem)); err != nil {
			return misused("private key %q: %w", file, err)
		}
		return nil
	}
	const hint = "; --no-secret says that the consumer has none"
	var needed []secret
	if flagText(cmd, "no-secret") != "true" {
		needed = append(needed, secret{"consumer secret", envConsumerSecret, &signer.ConsumerSecret})
	}
	if signer.Token != "" {
		needed = append(needed, secret{"token secret", envTokenSecret, &signer.TokenSecret})
	}
	var names []string
	inEnvironment := false
	for _, s := range needed {
		_, ok := os.LookupEnv(s.variable)
		inEnvironment = inEnvironment || ok
		names = append(names, s.name)
	}
	if inEnvironment {
		for _, s := range needed {
			if *s.into = os.Getenv(s.variable); *s.into == "" {
				return misused("the environment variable %s holds no %s%s", s.variable, s.name, hint)
			}
		}
		return nil
	}
	secrets, err := readSecrets(cmd, hint, names...)
	if err != nil {
		return err
	}
	for i, s := range needed {
		*s.into = secrets[i]
	}
	return nil
}

// A secret is one that a signature needs: its name, its environment variable, and its place.
type secret struct {
	name, variable string
	into           *string
}

// signedRequest returns the signed parts of the request that the arguments and --data describe.
func signedRequest(cmd *cobra.Command, method, target string) (*oauth1.Request, error) {
	target, _, _ = strings.Cut(target, "#") // clients do not send the fragment
	u, err := url.Parse(target)
	if err != nil {
		return nil, misused("URL %q: %w", target, errors.Unwrap(err))
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, misused("URL %q: must begin with http:// or https:// and a host", target)
	}
	if strings.Contains(target, " ") {
		return nil, misused("URL %q: holds a space; encode it as it is sent, %%20 or +", target)
	}
	path, query := oauth1.SplitTarget(target)
	request := &oauth1.Request{Method: method, Scheme: u.Scheme, Host: u.Host, Path: path, Query: query}
	data, err := cmd.Flags().GetStringArray("data")
	if err != nil {
		return nil, err
	}
	if len(data) > 0 {
		request.Form = []byte(strings.Join(data, "&"))
	}
	return request, nil
}
