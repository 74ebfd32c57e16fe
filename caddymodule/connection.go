package caddymodule

import (
	"iter"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// connectionOptions are the options of Connection (RFC 9110 section 7.6.1), and the headers that
// apply to one connection.
var connectionOptions = []string{
	"close", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings",
	"proxy-connection", "proxy-authenticate", "proxy-authorization",
}

// listedHeaders yields the names of other headers that Connection lists. A proxy deletes those
// headers.
func listedHeaders(r *http.Request) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, field := range r.Header["Connection"] {
			for option := range strings.SplitSeq(field, ",") {
				option = textproto.TrimString(option)
				known := func(other string) bool { return equalASCII(option, other) }
				if httpguts.ValidHeaderFieldName(option) && !slices.ContainsFunc(connectionOptions, known) && !yield(option) {
					return
				}
			}
		}
	}
}

// dropListed removes the headers that Connection lists, as the proxy does later: policies must see
// only headers that reach the upstream. Signed requests that list any are refused.
func dropListed(r *http.Request) {
	for name := range listedHeaders(r) {
		r.Header.Del(name)
	}
}
