"""Drives tweepy, a client of X's (Twitter's) API, against another host.

The host is an attribute of tweepy's API. The scheme and the URLs of the three legs are in its code:
a subclass replaces the URLs, and a session of requests replaces https with http.

Argument: the matrix; see driver.py.
"""

import io
import json
from urllib.parse import urlsplit

import requests
import tweepy

from driver import Unable, arguments, ask, finish, send, verifier


class Handler(tweepy.OAuth1UserHandler):
    endpoints = {}

    def _get_oauth_url(self, endpoint):
        return self.endpoints[endpoint]


class Session(requests.Session):
    def request(self, method, url, **more):
        return super().request(method, url.replace("https:", "http:", 1), **more)


class Raw(tweepy.parsers.Parser):
    """Accepts an answer that is not X's."""

    def parse(self, payload, *args, **kwargs):
        return payload


def matrix(args):
    Handler.endpoints = args["endpoints"]
    auth = Handler(args["consumer"], args["consumer_secret"], args["token"], args["secret"], args["callback"] or None)
    if args["legs"]:
        url = auth.get_authorization_url()
        answer = ask("authorize", request_token=auth.request_token["oauth_token"], url=url)
        auth.get_access_token(verifier(answer))
    host = urlsplit(args["root"]).netloc
    api = tweepy.API(auth, host=host, upload_host=host, parser=Raw())
    api.session = Session()

    def one(r):
        if r["name"] == "repeated":
            raise Unable("a parameter has one value")
        if r["kind"] == "query":
            api.search_tweets(**dict(r["query"]))
        elif r["name"] == "brackets":
            raise Unable("its parameters are X's own")
        elif r["kind"] == "form":
            api.update_status(r["form"][0][1])
        elif r["kind"] == "json":
            api.create_media_metadata("1", json.loads(r["body"])["a"])
        elif r["kind"] == "multipart":
            _, name, _, text = r["files"][0]
            api.simple_upload(name, file=io.BytesIO(text.encode()))
        else:
            raise Unable("it uploads in multipart bodies")
        return api.last_response.status_code, api.last_response.text

    paths = {
        "query": "/1.1/search/tweets.json",
        "form": "/1.1/statuses/update.json",
        "json": "/1.1/media/metadata/create.json",
        "multipart": "/1.1/media/upload.json",
    }
    sent = [{**result, "path": paths.get(result["name"], "")} for result in send(args["requests"], one)]
    return {"token": auth.access_token, "secret": auth.access_token_secret, "sent": sent}


if __name__ == "__main__":
    finish(matrix(arguments()))
