package oauth1_test

import (
	"fmt"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// A client signs a request; a server verifies it.
func Example() {
	request := &oauth1.Request{
		Method: "GET", Scheme: "http", Host: "photos.example.net", Path: "/photos", Query: "file=vacation.jpg&size=original",
	}
	signer := &oauth1.Signer{
		ConsumerKey: "dpf43f3p2l4k3l03", ConsumerSecret: "kd94hf93k423kf44",
		Token: "nnch734d00sl2jdk", TokenSecret: "pfkkdhi9sl3r4s00",
		SignatureMethod: "HMAC-SHA1",
		Timestamp:       1191242096, Nonce: "kllo9940pd9333jh", // default: now, and a random one
	}
	header, err := signer.Sign(request)
	if err != nil {
		fmt.Println(err)
		return
	}

	params, err := oauth1.Parse([]string{header}, request.Query, request.Form)
	if err != nil {
		fmt.Println(err) // 400
		return
	}
	// The server looks up the secrets of params.ConsumerKey and params.Token, and checks timestamp
	// and nonce.
	key := &oauth1.Key{ConsumerSecret: "kd94hf93k423kf44", TokenSecret: "pfkkdhi9sl3r4s00"}
	fmt.Println(params.Signature, oauth1.Verify(request, &params, key))
	// Output: tR3+Ty81lMeYAr/Fid0kMTYa/WM= <nil>
}
