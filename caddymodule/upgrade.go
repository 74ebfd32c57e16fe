package caddymodule

import (
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// websocket is the protocol that may be upgraded to where the option upgrades does not say.
const websocket = "websocket"

// limitUpgrades leaves in Upgrade only what the site lets through. An upstream that agrees to another
// protocol, such as h2c, would take requests from the client that nobody judges.
func (h *Handler) limitUpgrades(r *http.Request) {
	fields, ok := r.Header["Upgrade"]
	if !ok {
		return
	}
	var kept []string
	for _, field := range fields {
		for protocol := range strings.SplitSeq(field, ",") {
			protocol = textproto.TrimString(protocol)
			same := func(other string) bool { return equalASCII(protocol, other) }
			if h.upgrades(protocol) && !slices.ContainsFunc(kept, same) {
				kept = append(kept, protocol)
			}
		}
	}
	if len(kept) == 0 {
		delete(r.Header, "Upgrade")
		return
	}
	r.Header["Upgrade"] = []string{strings.Join(kept, ", ")}
}

// upgrades reports whether the site lets a protocol through.
func (h *Handler) upgrades(protocol string) bool {
	return slices.ContainsFunc(h.Upgrades, func(allowed string) bool { return equalASCII(protocol, allowed) })
}

// checkUpgrade refuses what is no protocol (RFC 9110 section 7.8).
func checkUpgrade(protocol string) error {
	name, version, versioned := strings.Cut(protocol, "/")
	if !httpguts.ValidHeaderFieldName(name) || versioned && !httpguts.ValidHeaderFieldName(version) {
		return fmt.Errorf("upgrades %q: is no protocol, such as websocket or SPDY/3.1", protocol)
	}
	return nil
}
