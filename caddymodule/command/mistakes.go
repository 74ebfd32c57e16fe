package command

import (
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// A mistake is a wrong way to make a base string. The right piece of the base string is known, so
// each mistake is tried on it; a mistake that results in the client's piece explains that piece.
// (Decoding the client's piece would not tell the mistake: too few encodings decode to the same
// text as the right number.)
type mistake struct {
	said string
	// param returns the pieces that the mistake makes of a parameter's decoded name and value.
	param func(name, value string) []string
}

const (
	saidTooFew = "The client encodes this one time too few: in a base string each name and value is " +
		"encoded, and then the whole is encoded again."
	saidTooOften     = "The client encodes this once too often."
	saidSentTooOften = "The client encodes this once too often in the request, or one time too few in " +
		"its base string: the server decodes the request once."
	saidDecodedTwice = "The client decodes this once too often before it signs it: %2B stands for +, " +
		"and that + is not a space."
	saidPlusIsSpace = "In a query or a form + stands for a space, and is signed as a space."
	saidSpaceAsPlus = "The client encodes a space as +, as in a form. In a base string a space is %20, " +
		"which is encoded again as %2520."
	saidUnencoded = "The client leaves ! ' ( ) * unencoded, as JavaScript's encodeURIComponent does. " +
		"OAuth encodes them."
	saidTilde = "The client encodes ~, which OAuth leaves unencoded."
	saidCase  = "The two differ only in upper and lower case."

	saidURLNotEncoded = "The client encodes this one time too few: in a base string the URL is encoded as " +
		"a whole."
	saidPathDecoded = "The client encodes this one time too few: the path is signed as it is sent, with its " +
		"percent-encoding, which is encoded again."
	saidPort  = "A base string leaves out the default port (80 with http, 443 with https)."
	saidQuery = "In a base string the URL has no query: its parameters stand among the others."

	saidParamsNotEncoded = "The client encodes this one time too few: the parameters, joined by = and &, are " +
		"encoded as a whole before they are joined to the method and the URL."
)

// paramMistakes are in the order in which they are tried.
var paramMistakes = []mistake{
	{saidSentTooOften, func(n, v string) []string {
		// A value that looks encoded, and is encoded one time too few.
		var pieces []string
		if decoded := decodeText(v); decoded != v {
			pieces = append(pieces, joined(twice(n), twice(decoded)))
		}
		if decoded := decodeText(n); decoded != n {
			pieces = append(pieces, joined(twice(decoded), twice(v)))
		}
		return pieces
	}},
	{saidUnencoded, func(n, v string) []string { // without any encoding it would be the same for some values
		return []string{joined(unreserved.Replace(partly(n)), unreserved.Replace(partly(v)))}
	}},
	{saidTooFew, func(n, v string) []string {
		once := oauth1.Encode
		return []string{
			joined(once(n), once(v)), joined(twice(n), once(v)), joined(once(n), twice(v)),
			once(n) + "=" + once(v), n + "=" + v, joined(n, v),
		}
	}},
	{saidTooOften, func(n, v string) []string {
		thrice := func(s string) string { return oauth1.Encode(twice(s)) }
		return []string{
			joined(twice(n), thrice(v)), joined(thrice(n), twice(v)), joined(thrice(n), thrice(v)),
			oauth1.Encode(joined(twice(n), twice(v))),
		}
	}},
	{saidDecodedTwice, func(n, v string) []string {
		spaced := func(s string) string { return twice(strings.ReplaceAll(s, "+", " ")) }
		return []string{joined(twice(n), spaced(v)), joined(spaced(n), spaced(v))}
	}},
	{saidPlusIsSpace, func(n, v string) []string {
		plus := func(s string) string { return twice(strings.ReplaceAll(s, " ", "+")) }
		return []string{joined(twice(n), plus(v)), joined(plus(n), plus(v))}
	}},
	{saidSpaceAsPlus, func(n, v string) []string {
		form := func(s string) string { return oauth1.Encode(url.QueryEscape(s)) }
		return []string{joined(twice(n), form(v)), joined(form(n), form(v))}
	}},
	{saidUnencoded, func(n, v string) []string { return []string{joined(partly(n), partly(v))} }},
	{saidTilde, func(n, v string) []string {
		encoded := func(s string) string { return strings.ReplaceAll(twice(s), "~", "%257E") }
		return []string{joined(encoded(n), encoded(v))}
	}},
}

// twice is how a name or a value stands in a base string.
func twice(s string) string { return oauth1.Encode(oauth1.Encode(s)) }

// unreserved undoes the encoding of the characters that OAuth encodes and JavaScript's
// encodeURIComponent does not.
var unreserved = strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*")

// partly is twice as a client does it that encodes names and values with encodeURIComponent, and
// the whole rightly.
func partly(s string) string { return oauth1.Encode(unreserved.Replace(oauth1.Encode(s))) }

// joined joins the name and the value of a parameter as they stand in a base string.
func joined(name, value string) string { return name + "%3D" + value }

// paramMistake finds the mistake that turns the server's piece into n of the client's, from
// position at on. There are several pieces when a value holds an & and is encoded one time too few.
// An empty said means that no known mistake explains any.
func paramMistake(server string, client []string) (said string, at, n int) {
	name, value := decodeParam(server)
	for _, m := range paramMistakes {
		for _, made := range m.param(name, value) {
			pieces := strings.Split(made, "%26")
			for at := range client {
				if rest := client[at:]; len(rest) >= len(pieces) && slices.Equal(rest[:len(pieces)], pieces) {
					return m.said, at, len(pieces)
				}
			}
		}
	}
	if at := slices.IndexFunc(client,
		func(theirs string) bool { return strings.EqualFold(server, theirs) }); at >= 0 {
		return saidCase, at, 1
	}
	return "", 0, 0
}

// urlMistake finds the mistake that turns the server's base string URI into the client's; it is
// empty if no known mistake does.
func urlMistake(server, client string) string {
	signed := decodeText(server) // without the encoding of the base string
	origin, path := cutOrigin(signed)
	segments := strings.Split(path, "/")
	for i := range segments {
		segments[i] = oauth1.Encode(segments[i])
	}
	switch {
	case client == oauth1.Encode(server), client == oauth1.Encode(origin+strings.Join(segments, "/")):
		return saidTooOften
	case client == signed, client == decodeText(signed):
		return saidURLNotEncoded
	case client == oauth1.Encode(decodeText(signed)):
		return saidPathDecoded
	case client == oauth1.Encode(origin+":443"+path), client == oauth1.Encode(origin+":80"+path):
		return saidPort
	case strings.HasPrefix(client, server+"%3F"):
		return saidQuery
	case strings.EqualFold(server, client):
		return saidCase
	}
	return ""
}

// cutOrigin cuts a URL after its host.
func cutOrigin(u string) (origin, path string) {
	scheme, rest, _ := strings.Cut(u, "://")
	host, path, found := strings.Cut(rest, "/")
	if found {
		path = "/" + path
	}
	return scheme + "://" + host, path
}

// A mistaken parameter is the server's, with the client's in its place and the reason.
type mistaken struct{ server, client, said string }

// pairMistaken pairs the parameters of both sides that differ by a known mistake, and returns the
// others.
func pairMistaken(server, client []string) (pairs []mistaken, onlyServer, onlyClient []string) {
	onlyServer, onlyClient = onlyIn(server, client), onlyIn(client, server)
	onlyServer = slices.DeleteFunc(onlyServer, func(ours string) bool {
		said, at, n := paramMistake(ours, onlyClient)
		if said == "" {
			return false
		}
		pairs = append(pairs, mistaken{ours, strings.Join(onlyClient[at:at+n], "%26"), said})
		onlyClient = slices.Delete(onlyClient, at, at+n)
		return true
	})
	return pairs, onlyServer, onlyClient
}

// onlyIn returns the elements that the other side lacks, or has fewer times.
func onlyIn(have, other []string) (only []string) {
	left := make(map[string]int)
	for _, s := range other {
		left[s]++
	}
	for _, s := range have {
		if left[s]--; left[s] < 0 {
			only = append(only, s)
		}
	}
	return only
}
