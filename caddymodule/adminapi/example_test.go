package adminapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

// A program adds a consumer, and hands out the secret that the answer shows once.
func ExampleClient() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != adminapi.ConsumersPath {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":"consumer \"scanner\": not found"}`)
			return
		}
		fmt.Fprint(w, `{"key":"printer","name":"Photo printer","secret":"fqj0Vn"}`)
	}))
	defer server.Close()

	client := &adminapi.Client{Address: strings.TrimPrefix(server.URL, "http://")}
	body := adminapi.NewConsumer{Key: "printer"}
	body.Name = "Photo printer"
	var added adminapi.ConsumerWithSecret
	err := client.Do(context.Background(), http.MethodPost, adminapi.ConsumersPath, body, &added)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(added.Key, *added.Secret)

	path := adminapi.ResourcePath(adminapi.ConsumersPath, "scanner", "")
	err = client.Do(context.Background(), http.MethodDelete, path, nil, nil)
	var refused *adminapi.Error
	fmt.Println(errors.As(err, &refused) && refused.NotFound(), err)
	// Output:
	// printer fqj0Vn
	// true consumer "scanner": not found
}
