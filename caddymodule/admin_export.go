package caddymodule

import (
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
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
	answer := adminapi.List[any]{Items: []any{}}
	switch body.Kind {
	case adminapi.KindConsumer:
		page, next, err := c.store.Consumers(c.Context(), body.After, adminapi.MaxExportPage)
		if err != nil {
			return 0, nil, storeFailure("", err)
		}
		for _, consumer := range page {
			answer.Items = append(answer.Items, adminapi.NewConsumerLine(consumer, body.Secrets))
		}
		answer.Next = next
	case adminapi.KindAccessToken:
		page, next, err := c.store.AccessTokens(c.Context(), tokenstore.Filter{}, body.After, adminapi.MaxExportPage)
		if err != nil {
			return 0, nil, storeFailure("", err)
		}
		for _, token := range page {
			answer.Items = append(answer.Items, adminapi.NewTokenLine(token, body.Secrets))
		}
		answer.Next = next
	default:
		return 0, nil, failure(http.StatusBadRequest, "kind %q: must be %s or %s",
			body.Kind, adminapi.KindConsumer, adminapi.KindAccessToken)
	}
	if body.After == "" {
		c.done("export begun", zap.String("kind", body.Kind), zap.Bool("secrets", body.Secrets))
	}
	return http.StatusOK, answer, nil
}
