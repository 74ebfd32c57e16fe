"""Drives Twython, a client of X's (Twitter's) API, against another server: its URLs are attributes of
its object.

Argument: the matrix; see driver.py.
"""

import io
import json
from urllib.parse import urlsplit

from twython import Twython

from driver import Unable, arguments, ask, finish, send, verifier


def twython(args, *token):
    twitter = Twython(args["consumer"], args["consumer_secret"], *token)
    twitter.api_url = args["root"] + "%s"
    twitter.request_token_url = args["endpoints"]["request_token"]
    twitter.authenticate_url = args["endpoints"]["authorize"]
    twitter.access_token_url = args["endpoints"]["access_token"]
    return twitter


def matrix(args):
    token = args["token"], args["secret"]
    if args["legs"]:
        auth = twython(args).get_authentication_tokens(callback_url=args["callback"])
        answer = ask("authorize", request_token=auth["oauth_token"], url=auth["auth_url"])
        twitter = twython(args, auth["oauth_token"], auth["oauth_token_secret"])
        access = twitter.get_authorized_tokens(verifier(answer))
        token = access["oauth_token"], access["oauth_token_secret"]
    twitter = twython(args, *token)

    def one(r):
        endpoint = urlsplit(r["url"]).path.lstrip("/")
        if r["name"] == "repeated":
            raise Unable("a parameter has one value")
        if r["kind"] == "query":
            twitter.get(endpoint, params=dict(r["query"]))
        elif r["kind"] == "form":
            twitter.post(endpoint, params=dict(r["form"]))
        elif r["kind"] == "json":
            twitter.post(endpoint, params=json.loads(r["body"]), json_encoded=True)
        elif r["kind"] == "multipart":
            field, name, _, text = r["files"][0]
            f = io.BytesIO(text.encode())
            f.name = name
            twitter.post(endpoint, params={**dict(r["form"]), field: f})
        else:
            raise Unable("it uploads in multipart bodies")
        return twitter._last_call["status_code"], twitter._last_call["content"]

    sent = send(args["requests"], one)
    for r, result in zip(args["requests"], sent):
        result["path"] = "/1.1" + urlsplit(r["url"]).path + ".json"
    return {"token": token[0], "secret": token[1], "sent": sent}


if __name__ == "__main__":
    finish(matrix(arguments()))
