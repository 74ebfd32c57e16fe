package caddymodule

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// Where the secrets may be instead of on standard input.
const (
	envConsumerSecret = "OAUTH1_CONSUMER_SECRET"
	envTokenSecret    = "OAUTH1_TOKEN_SECRET"
)

func signCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sign <method> <url> --consumer <key>",
		Short: "Prints the Authorization header that signs a request",
		Long: `
Prints the Authorization header that signs a request (RFC 5849), in the form
that curl's -H takes. It needs no running Caddy.

Give the URL exactly as it will be sent, percent-encoded, and a form body as
--data. The secrets are read from standard input: the consumer's from the first
line, the token's from the second. They may be in the environment variables
` + envConsumerSecret + ` and ` + envTokenSecret + ` instead. With
--private-key the consumer signs with RSA, and no secret is needed.`,
		Example: `  $ export OAUTH1_CONSUMER_SECRET OAUTH1_TOKEN_SECRET
  $ curl -H "$(caddy oauth1 sign GET 'https://api.example.com/items?a=1' --consumer printer --token xyz)" 'https://api.example.com/items?a=1'
  $ caddy oauth1 sign POST https://api.example.com/items --consumer ci-bot --private-key ci-bot.key --data 'name=a%20b'`,
		Args: cobra.ExactArgs(2),
		RunE: runSign,
	}
	flags := cmd.Flags()
	flags.String("consumer", "", "The consumer key")
	flags.String("token", "", "The key of the access token or request token (default: none is sent)")
	flags.String("signature-method", "", "One of "+strings.Join(oauth1.SignatureMethods, ", ")+" (default: HMAC-SHA256, or RSA-SHA256 with --private-key)")
	flags.String("private-key", "", "A PEM file with the consumer's RSA private key")
	flags.StringArray("data", nil, "The form body, encoded as it is sent (repeatable, joined by &)")
	flags.String("realm", "", "The realm to send (default: none)")
	flags.String("callback", "", "oauth_callback, for a request token: a URL or oob")
	flags.String("verifier", "", "oauth_verifier, for an access token")
	flags.Int64("timestamp", 0, "oauth_timestamp in seconds (default: now)")
	flags.String("nonce", "", "oauth_nonce (default: a random one)")
	_ = cmd.MarkFlagRequired("consumer")
	return cmd
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
	if err := readSigningKeys(cmd, signer); err != nil {
		return err
	}
	header, err := signer.Sign(request)
	if errors.Is(err, oauth1.ErrKeyKind) {
		return fmt.Errorf("signature method %s: the RSA methods need --private-key, and all others no such key", signer.SignatureMethod)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), "Authorization:", header)
	return nil
}

// readSigningKeys finds the private key or the secrets.
func readSigningKeys(cmd *cobra.Command, signer *oauth1.Signer) error {
	if file := flagText(cmd, "private-key"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading the private key: %w", err)
		}
		signer.PrivateKey, err = oauth1.ParseRSAPrivateKey(string(pem))
		return err
	}
	consumerSecret, consumerOK := os.LookupEnv(envConsumerSecret)
	tokenSecret, tokenOK := os.LookupEnv(envTokenSecret)
	if consumerOK || tokenOK {
		signer.ConsumerSecret, signer.TokenSecret = consumerSecret, tokenSecret
		return nil
	}
	in := cmd.InOrStdin()
	if file, ok := in.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "Type the consumer secret, and on a second line the token secret (empty for none):")
		}
	}
	lines := bufio.NewReader(in)
	for _, secret := range []*string{&signer.ConsumerSecret, &signer.TokenSecret} {
		line, err := lines.ReadString('\n')
		*secret = strings.TrimRight(line, "\r\n")
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the secrets from standard input: %w", err)
		}
	}
	return nil
}

// signedRequest is what a signature covers of the request that the arguments and --data describe.
func signedRequest(cmd *cobra.Command, method, target string) (*oauth1.Request, error) {
	target, _, _ = strings.Cut(target, "#") // never sent
	u, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("URL %q: %w", target, errors.Unwrap(err))
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("URL %q: must begin with http:// or https:// and a host", target)
	}
	if strings.Contains(target, " ") {
		return nil, fmt.Errorf("URL %q: holds a space; encode it as it is sent, %%20 or +", target)
	}
	path, query := splitTarget(target)
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
