package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// importedAtOnce is how many lines of a call are on their way to the store. The stores write what
// arrives at the same time together.
const importedAtOnce = 256

// importLines brings consumers and access tokens along, which another provider or another store
// had. Each line is judged by itself, so that a report can name all lines that are wrong.
func (c *adminCall) importLines() (int, any, error) {
	var body adminapi.Import
	if err := c.decodeImport(&body); err != nil {
		return 0, nil, err
	}
	i := importer{call: c, options: &body, now: c.app.now(), results: make([]adminapi.ImportResult, len(body.Lines))}
	if err := i.know(body.Known); err != nil {
		return 0, nil, refuse(err)
	}
	if err := i.run(c.Context()); err != nil {
		return 0, nil, storeFailure("", err)
	}
	return http.StatusOK, adminapi.Imported{Results: i.results}, nil
}

// decodeImport reads the body. A mistake inside a line is a result of that line, and no error.
func (c *adminCall) decodeImport(into *adminapi.Import) error {
	text, err := c.readJSON(maxImportBody)
	if err != nil {
		return err
	}
	if err := decodeStrictly(text, into); err != nil {
		return err
	}
	switch {
	case len(into.Lines) == 0:
		return failure(http.StatusBadRequest, `field "lines": is missing or empty`)
	case len(into.Lines) > adminapi.MaxImportLines:
		return failure(http.StatusBadRequest, `field "lines": there are %d; at most %d may be sent at once`,
			len(into.Lines), adminapi.MaxImportLines)
	case len(into.Known) > 0 && !into.DryRun:
		return failure(http.StatusBadRequest, `field "known": is for a dry run only`)
	}
	return nil
}

// maxImportBody has room for the lines, and for the consumers that a dry run knows.
const maxImportBody = 4 * adminapi.MaxImport

// An importer imports the lines of one call.
type importer struct {
	call    *adminCall
	options *adminapi.Import
	now     time.Time
	results []adminapi.ImportResult
	known   sync.Map // of the consumers that a dry run takes as imported, by key
}

// know notes the consumers that a dry run takes as imported.
func (i *importer) know(lines []json.RawMessage) error {
	for n, text := range lines {
		consumer, err := i.readConsumer(text)
		if err != nil {
			return fmt.Errorf("known: number %d: %s", n+1, withoutValues(err.Error(), text))
		}
		i.known.Store(consumer.Key, consumer)
	}
	return nil
}

// run imports the consumers first, and then the tokens, which need them.
func (i *importer) run(ctx context.Context) error {
	var tokens []int
	var consumers []int
	for n, text := range i.options.Lines {
		switch kind, _, err := adminapi.IdentifyLine(text); {
		case err != nil:
			i.results[n] = refusedLine(err)
		case kind == adminapi.KindConsumer:
			consumers = append(consumers, n)
		default:
			tokens = append(tokens, n)
		}
	}
	if err := i.each(ctx, consumers, i.consumer); err != nil {
		return err
	}
	return i.each(ctx, tokens, i.token)
}

// each imports some of the lines. It stops at the first error of the store.
func (i *importer) each(
	ctx context.Context, lines []int, do func(context.Context, json.RawMessage) (adminapi.ImportResult, error),
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var working sync.WaitGroup
	for range min(importedAtOnce, len(lines)) {
		working.Go(func() {
			for n := range next {
				result, err := do(ctx, i.options.Lines[n])
				if err != nil {
					cancel(err)
				}
				result.Problem = withoutValues(result.Problem, i.options.Lines[n])
				i.results[n] = result
			}
		})
	}
	for _, n := range lines {
		if ctx.Err() != nil {
			break
		}
		next <- n
	}
	close(next)
	working.Wait()
	return context.Cause(ctx)
}

// withoutValues removes the values of a line from what is said about it, but for its key: if a column
// is shifted in a file, any of them may be a secret. All errors quote the values that they name.
func withoutValues(said string, line json.RawMessage) string {
	var fields map[string]any
	if said == "" || json.Unmarshal(line, &fields) != nil {
		return said
	}
	key, _ := fields["key"].(string)
	for _, text := range texts(fields) {
		if quoted := strconv.Quote(text); text != key {
			said = strings.ReplaceAll(strings.ReplaceAll(said, " "+quoted, ""), quoted, "***")
		}
	}
	return said
}

// texts returns all texts in a value of JSON, the longest first.
func texts(value any) (list []string) {
	switch value := value.(type) {
	case string:
		return []string{value}
	case []any:
		for _, element := range value {
			list = append(list, texts(element)...)
		}
	case map[string]any:
		for _, element := range value {
			list = append(list, texts(element)...)
		}
	}
	slices.SortFunc(list, func(a, b string) int { return len(b) - len(a) })
	return list
}

func refusedLine(why error) adminapi.ImportResult {
	return adminapi.ImportResult{Outcome: adminapi.OutcomeRefused, Problem: why.Error()}
}

func conflict(format string, args ...any) adminapi.ImportResult {
	return adminapi.ImportResult{Outcome: adminapi.OutcomeConflict, Problem: fmt.Sprintf(format, args...)}
}

func outcome(o string) adminapi.ImportResult { return adminapi.ImportResult{Outcome: o} }

// readConsumer reads and checks the line of a consumer. Its errors hold no secret.
func (i *importer) readConsumer(text json.RawMessage) (*tokenstore.Consumer, error) {
	var line adminapi.ConsumerLine
	if err := decodeLine(text, &line); err != nil {
		return nil, err
	}
	c, err := line.Consumer()
	if err != nil {
		return nil, err
	}
	switch {
	case line.Secret == nil && c.RSAPublicKey == "":
		return nil, errors.New("secret: is missing; an export without secrets can't be imported")
	case line.PreviousSecret == "" && line.PreviousSecretExpires != "",
		line.PreviousSecret != "" && line.PreviousSecretExpires == "":
		return nil, errors.New("previous_secret and previous_secret_expires: give both, or neither")
	case c.PreviousSecret != "" && (c.Secret == "" || c.RSAPublicKey != ""):
		return nil, errors.New("previous_secret: the consumer has no secret")
	}
	for _, secret := range []string{c.Secret, c.PreviousSecret} {
		if err := checkSecret(secret); err != nil {
			return nil, err
		}
	}
	if c.PreviousSecret != "" && !i.now.Before(c.PreviousSecretExpires) {
		c.PreviousSecret, c.PreviousSecretExpires = "", time.Time{}
	}
	return c, checkConsumer(c, i.call.app.levels)
}

// decodeLine reads a line strictly.
func decodeLine(text json.RawMessage, into any) error {
	if name := repeatedField(text); name != "" {
		return fmt.Errorf("field %q: is there twice", name)
	}
	err := refuseEmpty(text)
	if err == nil {
		err = decodeStrictly(text, into)
	}
	if err != nil {
		return lineFault(err)
	}
	return nil
}

// lineFault returns a failure as the fault of a line.
func lineFault(err error) error {
	if failed := (caddy.APIError{}); errors.As(err, &failed) {
		err = failed.Err
	}
	if text, ok := strings.CutPrefix(err.Error(), "the request body "); ok {
		return errors.New(text)
	}
	return err
}

// consumer imports a consumer.
func (i *importer) consumer(ctx context.Context, text json.RawMessage) (adminapi.ImportResult, error) {
	c, err := i.readConsumer(text)
	if err != nil {
		return refusedLine(err), nil
	}
	if i.call.app.declared[c.Key] != nil {
		return conflict("the consumer is declared in Caddy's configuration; remove it from there, or from the file"), nil
	}
	if i.options.DryRun {
		i.known.Store(c.Key, c)
	}
	stored, err := i.call.store.Consumer(ctx, c.Key)
	if errors.Is(err, tokenstore.ErrNotFound) {
		if i.options.DryRun {
			return outcome(adminapi.OutcomeAdded), nil
		}
		err = i.addConsumer(ctx, c)
		switch {
		case errors.Is(err, tokenstore.ErrTooManyConsumers):
			return refusedLine(err), nil
		case !errors.Is(err, tokenstore.ErrExists):
			return outcome(adminapi.OutcomeAdded), err
		}
		stored, err = i.call.store.Consumer(ctx, c.Key) // another call has just added it
	}
	if err != nil {
		return adminapi.ImportResult{}, err
	}
	differs := changedConsumer(stored, c, i.now)
	switch {
	case len(differs) == 0:
		return outcome(adminapi.OutcomeUnchanged), nil
	case !i.options.Update:
		return conflict("the store has the consumer with another %s", strings.Join(differs, ", ")), nil
	case i.options.DryRun:
		return outcome(adminapi.OutcomeUpdated), nil
	}
	return outcome(adminapi.OutcomeUpdated), i.replaceConsumer(ctx, c)
}

func (i *importer) addConsumer(ctx context.Context, c *tokenstore.Consumer) error {
	if c.Created.IsZero() {
		c = c.Clone()
		c.Created = i.now
	}
	event := i.call.event(audit.ConsumerAdded)
	event.Consumer, event.Expires = c.Key, c.Expires
	event.Changes = consumerChanges(new(tokenstore.Consumer), c)
	return i.change(event, func() error { return i.call.store.CreateConsumer(ctx, c) })
}

func (i *importer) replaceConsumer(ctx context.Context, c *tokenstore.Consumer) error {
	event := i.call.event(audit.ConsumerChanged)
	event.Consumer, event.Expires = c.Key, c.Expires
	return i.change(event, func() error {
		_, err := i.call.app.updateConsumer(ctx, i.call.store, c.Key, true, func(stored *tokenstore.Consumer) error {
			before := stored.Clone()
			*stored = *c.Clone()
			if stored.Created.IsZero() {
				stored.Created = before.Created
			}
			event.Changes = consumerChanges(before, stored)
			return nil
		})
		return err
	})
}

// change makes a change and tells it. An error of the store stays as it is.
func (i *importer) change(event *audit.Event, do func() error) error {
	var failed error
	err := i.call.events.change(event, func() error {
		failed = do()
		return failed
	})
	if failed == nil && err != nil {
		return unrecordedFailure(err)
	}
	return failed
}

// changedConsumer returns the names of the fields that differ. It is no difference if the line has
// no time of creation, or not the secret whose overlap has ended.
func changedConsumer(stored, c *tokenstore.Consumer, now time.Time) []string {
	if c.Created.IsZero() {
		c = c.Clone()
		c.Created = stored.Created
	}
	if c.PreviousSecret == "" && stored.PreviousSecret != "" {
		stored = stored.Clone()
		if !now.Before(stored.PreviousSecretExpires) {
			stored.PreviousSecret, stored.PreviousSecretExpires = "", time.Time{}
		}
	}
	return differentFields(adminapi.NewConsumerLine(stored, true), adminapi.NewConsumerLine(c, true))
}

// differentFields returns the names of the JSON fields that differ, in order.
func differentFields(a, b any) []string {
	first, second := jsonFields(a), jsonFields(b)
	var names []string
	for name := range first {
		if !bytes.Equal(first[name], second[name]) {
			names = append(names, name)
		}
	}
	for name := range second {
		if _, ok := first[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func jsonFields(v any) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	if text, err := json.Marshal(v); err == nil {
		_ = json.Unmarshal(text, &fields)
	}
	return fields
}

// token imports an access token.
func (i *importer) token(ctx context.Context, text json.RawMessage) (adminapi.ImportResult, error) {
	var line adminapi.TokenLine
	if err := decodeLine(text, &line); err != nil {
		return refusedLine(err), nil
	}
	t, err := line.Token()
	if err == nil {
		err = i.checkTokenLine(&line)
	}
	if err != nil {
		return refusedLine(err), nil
	}
	if t.Expired(i.now) {
		return outcome(adminapi.OutcomeExpired), nil
	}
	consumer, err := i.consumerOf(ctx, t)
	switch {
	case errors.Is(err, tokenstore.ErrNotFound):
		return refusedLine(fmt.Errorf("consumer %q: not found; import it before its tokens", t.Consumer)), nil
	case err != nil:
		return adminapi.ImportResult{}, err
	case !i.call.app.grantable(consumer, t.Permission):
		return refusedLine(fmt.Errorf("permission %q: the consumer %q may not be granted it", t.Permission, t.Consumer)), nil
	case t.Secret == "" && consumer.Secret == "" && consumer.RSAPublicKey == "":
		return refusedLine(errors.New("secret: is empty, and so is the consumer's: everybody could sign")), nil
	}
	return i.putToken(ctx, t)
}

// checkTokenLine checks everything that needs no store.
func (i *importer) checkTokenLine(line *adminapi.TokenLine) error {
	switch {
	case line.Secret == nil:
		return errors.New("secret: is missing; an export without secrets can't be imported")
	case *line.Secret == "" && !i.options.AllowEmptyTokenSecrets:
		return errors.New("secret: is empty; --allow-empty-token-secrets imports such tokens")
	}
	if err := checkKey("key", line.Key); err != nil {
		return err
	}
	if err := checkSecret(*line.Secret); err != nil {
		return err
	}
	if err := checkText("consumer", line.Consumer); err != nil {
		return err
	}
	grant := adminapi.Grant{User: line.User, Context: line.Context}
	if err := checkGrantTexts(&grant); err != nil {
		return lineFault(err)
	}
	if err := i.call.app.levels.Check(line.Permission); err != nil {
		return fmt.Errorf("%w; it must be one of %s", err, strings.Join(i.call.app.levels.Names(), ", "))
	}
	return nil
}

// consumerOf finds the consumer of a token.
func (i *importer) consumerOf(ctx context.Context, t *tokenstore.AccessToken) (*tokenstore.Consumer, error) {
	if known, ok := i.known.Load(t.Consumer); ok {
		return known.(*tokenstore.Consumer), nil
	}
	return i.call.app.consumer(ctx, i.call.store, t.Consumer)
}

// putToken adds a token, or finds out why it can't.
func (i *importer) putToken(ctx context.Context, t *tokenstore.AccessToken) (adminapi.ImportResult, error) {
	stored, err := i.call.store.AccessToken(ctx, t.Key)
	if errors.Is(err, tokenstore.ErrNotFound) {
		if i.options.DryRun {
			return outcome(adminapi.OutcomeAdded), nil
		}
		added := *t
		if added.Created.IsZero() {
			added.Created = i.now
		}
		event := i.call.event(audit.AccessTokenImported)
		tellToken(event, &added)
		err = i.change(event, func() error { return i.call.store.CreateAccessToken(ctx, &added) })
		if !errors.Is(err, tokenstore.ErrExists) {
			return outcome(adminapi.OutcomeAdded), err
		}
		stored, err = i.call.store.AccessToken(ctx, t.Key) // another call has just added it
	}
	if err != nil {
		return adminapi.ImportResult{}, err
	}
	differs := changedToken(stored, t)
	switch {
	case len(differs) == 0:
		return outcome(adminapi.OutcomeUnchanged), nil
	case !i.options.Update:
		return conflict("the store has the access token with another %s", strings.Join(differs, ", ")), nil
	case i.options.DryRun:
		return outcome(adminapi.OutcomeUpdated), nil
	}
	return outcome(adminapi.OutcomeUpdated), i.replaceToken(ctx, stored, t)
}

// replaceToken revokes a token, and adds it again with other values. If it stops in between, the
// next import of the line adds the token.
func (i *importer) replaceToken(ctx context.Context, stored, t *tokenstore.AccessToken) error {
	added := *t
	if added.Created.IsZero() {
		added.Created = stored.Created
	}
	event := i.call.event(audit.AccessTokenImported)
	tellToken(event, &added)
	event.Changes = tokenChanges(stored, &added)
	return i.change(event, func() error {
		untold := i.call.app.revokeToken(ctx, i.call.store, t.Key)
		if untold != nil && !unjournaled(untold) && !errors.Is(untold, tokenstore.ErrNotFound) {
			return untold
		}
		err := i.call.store.CreateAccessToken(ctx, &added)
		switch {
		case !unjournaled(untold):
			return err
		case err != nil: // not done, unlike the revocation
			return fmt.Errorf("%w; the token was revoked: %v", err, untold)
		}
		return untold
	})
}

// tokenChanges returns what differs, without secrets.
func tokenChanges(before, after *tokenstore.AccessToken) []audit.Change {
	changes := settingChanges("", tokenTexts(before), tokenTexts(after))
	if before.Secret != after.Secret {
		changes = append(changes, audit.Change{Field: "secret", From: hidden(before.Secret), To: hidden(after.Secret)})
	}
	return changes
}

func tokenTexts(t *tokenstore.AccessToken) map[string]string {
	return map[string]string{
		"consumer": t.Consumer, "user": t.User, "permission": t.Permission, "context": t.Context,
		"created": audit.Time(t.Created), "expires": audit.Time(t.Expires),
	}
}

// changedToken returns the names of the fields that differ. The last use is none of them: both
// sides may have seen the token since.
func changedToken(stored, t *tokenstore.AccessToken) []string {
	a, b := *stored, *t
	a.LastUsed, b.LastUsed = time.Time{}, time.Time{}
	if b.Created.IsZero() {
		b.Created = a.Created
	}
	return differentFields(adminapi.NewTokenLine(&a, true), adminapi.NewTokenLine(&b, true))
}
