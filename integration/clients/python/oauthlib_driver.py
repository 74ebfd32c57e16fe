"""Drives oauthlib alone, which only signs requests. urllib.request sends them.

Argument: the matrix; see driver.py.
"""

import urllib.error
import urllib.request
from urllib.parse import parse_qs, urlencode

from oauthlib.oauth1 import Client

from driver import arguments, ask, content, finish, multipart, send, verifier


def client(args, **more):
    placement = {"header": "AUTH_HEADER", "query": "QUERY", "body": "BODY"}[args["placement"]]
    return Client(
        args["consumer"],
        client_secret=args["consumer_secret"] or None,
        rsa_key=args["rsa_key"] or None,
        signature_method=args["method"],
        signature_type=placement,
        **more,
    )


def fetch(signer, method, url, headers, body=None, data=None):
    """Signs a request and sends it. The signature covers body, a form, but not data."""
    if body is None and data is None and method == "POST" and signer.signature_type == "BODY":
        body, headers = "", {"Content-Type": "application/x-www-form-urlencoded"}
    uri, headers, body = signer.sign(url, http_method=method, body=body, headers=headers)
    sent = body.encode() if isinstance(body, str) else data
    if sent is None and method == "POST":
        sent = b""
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")  # urllib sets it anyway
    try:
        request = urllib.request.Request(uri, data=sent, headers=headers, method=method)
        with urllib.request.urlopen(request) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def token(answer):
    status, body = answer
    if status != 200:
        raise SystemExit("%d %s" % (status, body))
    values = {name: value[0] for name, value in parse_qs(body).items()}
    return values["oauth_token"], values["oauth_token_secret"], values.get("oauth_callback_confirmed")


def matrix(args):
    key, secret, result = args["token"], args["secret"], {}
    if args["legs"]:
        e = args["endpoints"]
        signer = client(args, callback_uri=args["callback"])
        key, secret, result["confirmed"] = token(fetch(signer, "POST", e["request_token"], {}))
        url = e["authorize"] + "?" + urlencode({"oauth_token": key})
        answer = ask("authorize", request_token=key, url=url)
        signer = client(args, resource_owner_key=key, resource_owner_secret=secret, verifier=verifier(answer))
        key, secret, _ = token(fetch(signer, "POST", e["access_token"], {}))
    signer = client(args, resource_owner_key=key, resource_owner_secret=secret)

    def one(r):
        headers = {"X-Case": r["name"]}
        if r["kind"] == "form":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            return fetch(signer, "POST", r["url"], headers, body=urlencode([tuple(p) for p in r["form"]]))
        if r["kind"] == "multipart":
            data, headers["Content-Type"] = multipart(r)
            return fetch(signer, "POST", r["url"], headers, data=data)
        if r["kind"] == "query":
            return fetch(signer, "GET", r["url"], headers)
        headers["Content-Type"] = r["content_type"]
        return fetch(signer, r["method"], r["url"], headers, data=content(r))

    return {**result, "token": key, "secret": secret, "sent": send(args["requests"], one)}


if __name__ == "__main__":
    finish(matrix(arguments()))
