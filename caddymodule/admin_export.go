package caddymodule

import (
	"net/http"
	"strconv"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// exportLines returns a page of lines.
func (c *adminCall) exportLines() (int, any, error) {
	var body adminapi.Export
	if err := c.decode(&body); err != nil {
		return 0, nil, err
	}
	// A remote administrator proves who it is by TLS. It may be allowed some routes, and this one
	// would hand out what lets it sign as everybody.
	if body.Secrets && c.TLS != nil {
		return 0, nil, failure(http.StatusForbidden, "secrets are exported at the local admin endpoint only")
	}
	var page func() (adminapi.List[any], error)
	switch body.Kind {
	case adminapi.KindConsumer:
		page = func() (answer adminapi.List[any], err error) {
			consumers, next, err := c.store.Consumers(c.Context(), body.After, adminapi.MaxExportPage)
			answer.Items, answer.Next = make([]any, len(consumers)), next
			for i, consumer := range consumers {
				answer.Items[i] = adminapi.NewConsumerLine(consumer, body.Secrets)
			}
			return answer, err
		}
	case adminapi.KindAccessToken:
		page = func() (answer adminapi.List[any], err error) {
			tokens, next, err := c.store.AccessTokens(c.Context(), tokenstore.Filter{}, body.After, adminapi.MaxExportPage)
			answer.Items, answer.Next = make([]any, len(tokens)), next
			for i, token := range tokens {
				answer.Items[i] = adminapi.NewTokenLine(token, body.Secrets)
			}
			return answer, err
		}
	default:
		return 0, nil, failure(http.StatusBadRequest, "kind %q: must be %s or %s",
			body.Kind, adminapi.KindConsumer, adminapi.KindAccessToken)
	}
	answer, err := c.exportPage(&body, page)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, answer, nil
}

// exportPage reads a page. Each page with secrets is told, and the first one without: a caller may
// begin in the middle.
func (c *adminCall) exportPage(
	body *adminapi.Export, page func() (adminapi.List[any], error),
) (answer adminapi.List[any], err error) {
	if !body.Secrets && body.After != "" {
		if answer, err = page(); err != nil {
			err = storeFailure("", err)
		}
		return answer, err
	}
	event := c.event(audit.StoreExported)
	event.Changes = []audit.Change{
		{Field: "kind", To: body.Kind},
		{Field: "secrets", To: strconv.FormatBool(body.Secrets)},
	}
	err = c.change(event, "", func() (err error) {
		answer, err = page()
		event.Count = len(answer.Items)
		return err
	})
	return answer, err
}
