package command

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/doctor"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// keyFlags adds the flags by which explain gets the keys that should have signed.
func keyFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Bool("secret-stdin", false, "Read the secrets of the consumer and of the token from standard input, one a line")
	flags.String("public-key", "", "A PEM file with the consumer's RSA public key")
	flags.String("consumer", "", "The key of the consumer that should have signed: the running Caddy explains")
	flags.String("token", "", "The key of its token (if --consumer is used)")
	flags.String("address", "", "Address of the administration API listener (if --consumer is used)")
	flags.StringP("config", "c", "", "Configuration file that has the address (if --consumer is used)")
	flags.StringP("adapter", "a", "", "Name of config adapter to apply (if --config is used)")
	completeFlag(cmd, "consumer", consumerKeys)
	cmd.MarkFlagsMutuallyExclusive("secret-stdin", "public-key", "consumer")
}

// explainByKeys says what is wrong with the request, if the flags give keys.
func explainByKeys(
	cmd *cobra.Command, url string, request *oauth1.Request, params *oauth1.Params, authorization []string,
) error {
	flags := cmd.Flags()
	switch {
	case flags.Changed("consumer"):
		return explainByServer(cmd, url, request, authorization)
	case flags.Changed("token"):
		return misused("--token needs --consumer: the running Caddy knows the token's secret")
	case !flags.Changed("secret-stdin") && !flags.Changed("public-key"):
		return nil
	case flags.Changed("secret-stdin") && flagText(cmd, "base-string") == "-":
		return misused("--secret-stdin and --base-string - both read standard input: name a file with --base-string")
	}
	keys, err := givenKeys(cmd, params)
	if err != nil {
		return err
	}
	d := doctor.Diagnose(cmd.Context(), &doctor.Case{
		Request: *request, Params: *params, Host: request.Host, Keys: keys,
	})
	names := make([]string, len(d.Mistakes))
	for i, m := range d.Mistakes {
		names[i] = m.Name
	}
	showExplanation(cmd.OutOrStdout(), &adminapi.Explanation{
		Mistakes: names, Diagnosis: d.Text(), ClientBaseString: d.ClientBaseString,
	})
	return nil
}

// givenKeys reads the keys from standard input, or the public key from its file.
func givenKeys(cmd *cobra.Command, params *oauth1.Params) (keys doctor.Keys, err error) {
	if file := flagText(cmd, "public-key"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return keys, misused("reading the public key: %w", err)
		}
		if keys.PublicKey, err = oauth1.ParsePublicKey(string(pem)); err != nil {
			return keys, misused("public key %q: %w", file, err)
		}
		return keys, nil
	}
	names := []string{"consumer secret"}
	if params.Token != "" {
		names = append(names, "token secret")
	}
	secrets, err := readSecrets(cmd, "", names...)
	if err != nil {
		return keys, err
	}
	keys.ConsumerSecret = secrets[0]
	if len(secrets) > 1 {
		keys.TokenSecret = secrets[1]
	}
	return keys, nil
}

// explainByServer asks the running Caddy, which has the keys and the policies.
func explainByServer(cmd *cobra.Command, url string, request *oauth1.Request, authorization []string) error {
	s, err := newSession(cmd)
	if err != nil {
		return err
	}
	url, _, _ = strings.Cut(url, "#")
	body := adminapi.SignedRequest{
		Method:   request.Method,
		URL:      url,
		Form:     string(request.Form),
		Consumer: s.flag("consumer"),
		Token:    s.flag("token"),
	}
	if len(authorization) > 0 {
		body.Authorization = authorization[0]
	}
	var answer adminapi.Explanation
	if err := s.call(http.MethodPost, adminapi.ExplainPath, body, &answer); err != nil {
		return err
	}
	showExplanation(cmd.OutOrStdout(), &answer)
	return nil
}

// showExplanation prints what is wrong. The base string of the server stands above it.
func showExplanation(out io.Writer, e *adminapi.Explanation) {
	fmt.Fprintf(out, "\n%s\n", onScreen(e.Diagnosis))
	if len(e.Mistakes) > 0 {
		fmt.Fprintf(out, "The mistake's name: %s\n", onScreen(strings.Join(e.Mistakes, ", ")))
	}
	if e.ClientBaseString != "" {
		fmt.Fprintf(out, "\nThe base string that the client signed:\n%s\n", onScreen(e.ClientBaseString))
	}
	if e.Policy == "" {
		return
	}
	fmt.Fprint(out, "\nWith a right signature and a new timestamp:\n")
	for line := range strings.Lines(e.Policy) {
		fmt.Fprintf(out, "  %s\n", onScreen(strings.TrimSuffix(line, "\n")))
	}
}
