package command

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestCommandsOfAServerWithoutTheApp: the answer of another server says nothing about a consumer.
func TestCommandsOfAServerWithoutTheApp(t *testing.T) {
	for _, c := range []struct {
		status     int
		body, want string
		code       int
	}{
		{404, `{"error":"consumer \"x\": not found"}`, `consumer "x": not found`, 3},
		{404, `{"error":"resource not found: /oauth1/consumers/x"}`,
			"resource not found: /oauth1/consumers/x", 1},
		{404, "404 page not found\n", "the admin API answered 404 404 page not found?", 1},
		{403, `{"error":"host not allowed: x"}`, "host not allowed: x", 4},
		{409, `{"error":"no: such"}`, "no: such", 4},
		{410, `{"error":"expired"}`, "expired", 4},
		{502, "<html>", "the admin API answered 502 <html>", 1},
		{403, `{"error":"","x":"host bad"}`, `the admin API answered 403 {"error":"","x":"host bad"}`, 4},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		}))
		_, err := runCommand("", "consumer", "show", "x", "--address",
			strings.TrimPrefix(server.URL, "http://"))
		server.Close()
		if err == nil || err.Error() != c.want || ExitCode(err) != c.code {
			t.Errorf("%d %s: got %d %v, want %d %s", c.status, c.body, ExitCode(err), err, c.code, c.want)
		}
	}
}
