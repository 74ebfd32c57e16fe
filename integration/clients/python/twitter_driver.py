"""Drives python-twitter, a client of X's (Twitter's) API, against another server, whose URLs are its
options. All its methods send with _RequestUrl and then read X's answer; here the answer is not X's.

Argument: the matrix; see driver.py.
"""

import io
import json

import twitter

from driver import Unable, arguments, finish, send


def matrix(args):
    root = args["root"].rstrip("/")
    api = twitter.Api(
        args["consumer"],
        args["consumer_secret"],
        args["token"],
        args["secret"],
        base_url=root + "/1.1",
        upload_url=root + "/1.1",
    )

    def one(r):
        if r["name"] == "repeated":
            raise Unable("a parameter has one value")
        if r["kind"] == "query":
            response = api._RequestUrl(r["url"].split("?")[0], "GET", data=dict(r["query"]))
        elif r["kind"] == "form":
            response = api._RequestUrl(r["url"], "POST", data=dict(r["form"]))
        elif r["kind"] == "json":
            response = api._RequestUrl(r["url"], "POST", json=json.loads(r["body"]))
        elif r["kind"] == "multipart":
            _, name, _, text = r["files"][0]
            f = io.BytesIO(text.encode())
            f.name = name
            response = api._RequestUrl(r["url"], "POST", data={"media": f})
        else:
            raise Unable("it uploads in multipart bodies")
        return response.status_code, response.text

    return {"sent": send(args["requests"], one)}


if __name__ == "__main__":
    finish(matrix(arguments()))
