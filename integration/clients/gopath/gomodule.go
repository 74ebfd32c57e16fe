//go:build ignore

// Drives gomodule/oauth1 as its documentation says. Debian has it as a package for GOPATH, so the
// test builds this file by itself. It talks with the test as the Python drivers do: see
// ../python/driver.py.
package main

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/gomodule/oauth1/oauth"
)

type request struct {
	Name, Kind, URL, Body string
	BodyFile              string `json:"body_file"`
	ContentType           string `json:"content_type"`
	Query, Form           [][2]string
	Files                 [][4]string
}

type run struct {
	Endpoints struct {
		RequestToken string `json:"request_token"`
		Authorize    string
		AccessToken  string `json:"access_token"`
	}
	Method, Placement, Legs, Callback, Consumer string
	ConsumerSecret                              string `json:"consumer_secret"`
	RSAKey                                      string `json:"rsa_key"`
	Token, Secret                               string
	Requests                                    []request
}

type sent struct {
	Name   string `json:"name"`
	Status int    `json:"status"`
	Body   string `json:"body"`
	Error  string `json:"error"`
}

func main() {
	log.SetFlags(0)
	var r run
	if err := json.Unmarshal([]byte(os.Args[1]), &r); err != nil {
		log.Fatal(err)
	}
	result, err := r.drive()
	if err != nil {
		log.Fatal(err)
	}
	say(map[string]any{"result": result})
}

func say(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", text)
}

func (r run) client() (*oauth.Client, error) {
	c := &oauth.Client{
		Credentials:                   oauth.Credentials{Token: r.Consumer, Secret: r.ConsumerSecret},
		TemporaryCredentialRequestURI: r.Endpoints.RequestToken,
		ResourceOwnerAuthorizationURI: r.Endpoints.Authorize,
		TokenRequestURI:               r.Endpoints.AccessToken,
	}
	switch r.Method {
	case "PLAINTEXT":
		c.SignatureMethod = oauth.PLAINTEXT
	case "RSA-SHA1":
		block, _ := pem.Decode([]byte(r.RSAKey))
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		c.SignatureMethod, c.PrivateKey = oauth.RSASHA1, key
	}
	return c, nil
}

func (r run) drive() (any, error) {
	client, err := r.client()
	if err != nil {
		return nil, err
	}
	token := &oauth.Credentials{Token: r.Token, Secret: r.Secret}
	if r.Legs != "" {
		if token, err = r.login(client); err != nil {
			return nil, err
		}
	}
	all := []sent{}
	for _, q := range r.Requests {
		one := sent{Name: q.Name}
		resp, err := r.send(client, token, q)
		if err != nil {
			one.Error = err.Error()
		} else {
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			one.Status, one.Body = resp.StatusCode, string(body)
		}
		all = append(all, one)
	}
	return map[string]any{"token": token.Token, "secret": token.Secret, "sent": all}, nil
}

func (r run) login(client *oauth.Client) (*oauth.Credentials, error) {
	temporary, err := client.RequestTemporaryCredentials(nil, r.Callback, nil)
	if err != nil {
		return nil, err
	}
	address := client.AuthorizationURL(temporary, nil)
	say(map[string]any{"ask": "authorize", "request_token": temporary.Token, "url": address})
	line, err := bufio.NewReader(os.Stdin).ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	var answer struct{ Redirect, Verifier string }
	if err := json.Unmarshal(line, &answer); err != nil {
		return nil, err
	}
	if answer.Redirect != "" {
		u, err := url.Parse(answer.Redirect)
		if err != nil {
			return nil, err
		}
		answer.Verifier = u.Query().Get("oauth_verifier")
	}
	token, _, err := client.RequestToken(nil, temporary, answer.Verifier)
	return token, err
}

// send sends a form with the client's Get and Post, or with SignForm in the query or body. It sends
// other bodies with net/http and SetAuthorizationHeader.
func (r run) send(client *oauth.Client, token *oauth.Credentials, q request) (*http.Response, error) {
	u, err := url.Parse(q.URL)
	if err != nil {
		return nil, err
	}
	u.RawQuery = ""
	address, form := u.String(), url.Values{}
	for _, p := range append(q.Query, q.Form...) {
		form.Add(p[0], p[1])
	}
	switch isForm := q.Kind == "query" || q.Kind == "form"; {
	case !isForm && r.Placement == "header":
		return sendBody(client, token, q, u)
	case !isForm || r.Placement == "query" && q.Kind == "form":
		return nil, errors.New("unable: SignForm signs what is sent in one place")
	case r.Placement == "header" && q.Kind == "query":
		return client.Get(nil, token, address, form)
	case r.Placement == "header":
		return client.Post(nil, token, address, form)
	case q.Kind == "query":
		if err := client.SignForm(token, "GET", address, form); err != nil {
			return nil, err
		}
		return http.Get(address + "?" + form.Encode())
	default:
		if err := client.SignForm(token, "POST", address, form); err != nil {
			return nil, err
		}
		return http.PostForm(address, form)
	}
}

func sendBody(client *oauth.Client, token *oauth.Credentials, q request, u *url.URL) (*http.Response, error) {
	body, contentType, err := q.content()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest("POST", u.String(), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	if err := client.SetAuthorizationHeader(req.Header, token, "POST", u, nil); err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(req)
}

func (q request) content() (io.Reader, string, error) {
	if q.Kind == "upload" {
		b, err := os.ReadFile(q.BodyFile)
		return bytes.NewReader(b), q.ContentType, err
	}
	if q.Kind != "multipart" {
		return strings.NewReader(q.Body), q.ContentType, nil
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range q.Form {
		w.WriteField(p[0], p[1])
	}
	for _, f := range q.Files {
		part, err := w.CreateFormFile(f[0], f[1])
		if err != nil {
			return nil, "", err
		}
		io.WriteString(part, f[3])
	}
	return &b, w.FormDataContentType(), w.Close()
}
