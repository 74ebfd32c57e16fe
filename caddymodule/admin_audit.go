package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
)

// showAudit tells where the audit trail goes, and the ends of its chains.
func (c *adminCall) showAudit() (int, any, error) {
	heads, err := auditHeads(c.Context(), c.store)
	if err != nil {
		return 0, nil, storeFailure("", err)
	}
	return http.StatusOK, adminapi.Audit{
		Mode: c.app.Audit.Mode, File: c.app.Audit.File, Heads: heads,
	}, nil
}

// verifyAudit verifies the lines in the body. The key of their hashes never leaves the server:
// somebody who has it could write lines that pass.
func (c *adminCall) verifyAudit() (int, any, error) {
	body := bufio.NewReaderSize(c.stream, maxAdminBody)
	first, err := body.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) { // also if the line is longer than that
		return 0, nil, failure(http.StatusBadRequest, "reading the request body: %w", err)
	}
	first = bytes.Clone(first)
	var known adminapi.AuditKnown
	if err := decodeStrictly(bytes.TrimSpace(first), &known); err != nil {
		return 0, nil, err
	}
	v := audit.NewVerifier(audit.Key(c.app.secret))
	if known.Separator != "" {
		v.Separator = []byte(known.Separator)
	}
	if err := v.Read(body); err != nil {
		return 0, nil, failure(http.StatusBadRequest, "reading the lines: %w", err)
	}
	return http.StatusOK, v.End(known.Heads, known.Part), nil
}

// tellRefused tells that a call which would have changed something was refused. It tells the status
// and no text, since a text may hold what the caller sent.
func (c *adminCall) tellRefused(pattern string, err error) {
	status := http.StatusInternalServerError
	if failed := (caddy.APIError{}); errors.As(err, &failed) {
		status = failed.HTTPStatus
	}
	event := c.event(audit.AdminRefused)
	event.Outcome = audit.Refused
	event.Reason = c.Method + " " + pattern + ": " + http.StatusText(status)
	key := c.PathValue("key")
	switch {
	case key == "":
	case strings.HasPrefix(pattern, adminapi.ConsumersPath):
		event.Consumer = key
	case strings.HasPrefix(pattern, adminapi.RequestTokensPath):
		event.RequestToken = key
	default:
		event.Token = key
	}
	_ = c.events.tell(event) // a failure is counted and logged
}

// verifyOffline verifies lines with the store of a configuration that is not running.
func verifyOffline(
	ctx context.Context, config []byte, part bool, read func(*audit.Verifier) error,
) (report audit.Report, err error) {
	o, err := provisionOffline(config)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	if _, err := o.openExisting(); err != nil {
		return report, err
	}
	heads, err := auditHeads(ctx, o.store)
	if err != nil {
		return report, err
	}
	if len(heads) == 0 { // with another store, each line would count as changed
		return report, fmt.Errorf("no Caddy has written an audit trail with this store: %s: is it the right configuration?", o.key)
	}
	secret, err := o.store.Secret(ctx)
	if err != nil {
		return report, err
	}
	v := audit.NewVerifier(audit.Key(secret))
	if err := read(v); err != nil {
		return report, err
	}
	return v.End(heads, part), nil
}
