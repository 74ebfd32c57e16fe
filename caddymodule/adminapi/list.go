package adminapi

import (
	"context"
	"iter"
	"maps"
	"net/http"
	"net/url"
)

// MaxPage is the number of items on a page of a list, unless the query parameter `limit` asks for
// fewer.
const MaxPage = 100

// A List is a page of a list, ordered by key.
type List[T any] struct {
	Items []T `json:"items"`
	// Next is the value of the query parameter `after` for the next page; empty at the end.
	Next string `json:"next,omitempty"`
}

// Items are the items of a list, from all its pages; a page is asked for when its first item is.
// The query holds the list's filters, and may hold `limit` and `after`; it is not changed. The last
// item that comes with an error is no item.
func Items[T any](ctx context.Context, c *Client, path string, query url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		query := maps.Clone(query)
		if query == nil {
			query = make(url.Values)
		}
		for {
			var page List[T]
			err := c.Do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &page)
			if err != nil {
				yield(*new(T), err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			query.Set("after", page.Next)
		}
	}
}
