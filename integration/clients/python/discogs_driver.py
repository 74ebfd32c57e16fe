"""Drives python3-discogs-client, a client of Discogs' API, against another server: its URLs are
attributes of its Client.

Argument: the matrix; see driver.py.
"""

import json

from discogs_client import Client

from driver import Unable, arguments, ask, finish, send, verifier


def matrix(args):
    client = Client("matrix/1.0", args["consumer"], args["consumer_secret"], args["token"], args["secret"])
    client._base_url = args["root"].rstrip("/")
    client._request_token_url = args["endpoints"]["request_token"]
    client._authorize_url = args["endpoints"]["authorize"]
    client._access_token_url = args["endpoints"]["access_token"]
    key, secret = args["token"], args["secret"]
    if args["legs"]:
        request_token, _, url = client.get_authorize_url(args["callback"])
        answer = ask("authorize", request_token=request_token, url=url)
        key, secret = client.get_access_token(verifier(answer))

    def one(r):
        if r["kind"] == "query":
            return 200, json.dumps(client._get(r["url"]))
        if r["kind"] == "json":
            return 200, json.dumps(client._post(r["url"], json.loads(r["body"])))
        raise Unable("it sends JSON only")

    return {"token": key, "secret": secret, "sent": send(args["requests"], one)}


if __name__ == "__main__":
    finish(matrix(arguments()))
