package caddymodule

import (
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// websocket is the only protocol of upgrades if the option upgrades is not set.
const websocket = "websocket"

// limitUpgrades keeps only allowed protocols in Upgrade. With another protocol, such as h2c, the
// upstream would accept requests from the client that no policy judges.
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

// upgrades reports whether the site allows a protocol.
func (h *Handler) upgrades(protocol string) bool {
	return slices.ContainsFunc(h.Upgrades, func(allowed string) bool { return equalASCII(protocol, allowed) })
}

// checkUpgrade refuses an invalid protocol name (RFC 9110 section 7.8).
func checkUpgrade(protocol string) error {
	name, version, versioned := strings.Cut(protocol, "/")
	if !httpguts.ValidHeaderFieldName(name) || versioned && !httpguts.ValidHeaderFieldName(version) {
		return fmt.Errorf("upgrades %q: must be a protocol such as websocket or SPDY/3.1", protocol)
	}
	return nil
}
