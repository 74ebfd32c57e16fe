"""Shared by the Python drivers: the talk with the Go test that runs them.

A driver is started with one argument, a JSON object. It writes JSON objects to standard output, one on
a line: {"ask": WHAT, ...} waits for one line on standard input, the answer, also JSON;
{"result": ...} is the last.
"""

import json
import sys
from urllib.parse import parse_qs, urlsplit


def arguments():
    return json.loads(sys.argv[1])


def ask(what, **values):
    print(json.dumps({"ask": what, **values}), flush=True)
    line = sys.stdin.readline()
    if not line:
        raise SystemExit("the test has gone")
    return json.loads(line)


def finish(result):
    print(json.dumps({"result": result}), flush=True)


def verifier(answer):
    """The verifier that the user typed in, or that the callback URL contains."""
    if "redirect" in answer:
        return parse_qs(urlsplit(answer["redirect"]).query)["oauth_verifier"][0]
    return answer["verifier"]


class Unable(Exception):
    """The client has no way to send a request of that kind."""


def send(requests, one):
    """Sends the requests of the matrix by one(request), which returns a status and a body."""
    sent = []
    for r in requests:
        result = {"name": r["name"]}
        try:
            result["status"], result["body"] = one(r)
        except Unable as e:
            result["error"] = "unable: %s" % e
        except Exception as e:  # the client's own fault: the test says whether it expects one
            result["error"] = "%s: %s" % (type(e).__name__, e)
        sent.append(result)
    return sent


def content(r):
    """The body of a request as bytes, for clients that don't build it themselves."""
    if r["body_file"]:
        with open(r["body_file"], "rb") as f:
            return f.read()
    return r["body"].encode()


def by_requests(session, **more):
    """Sends one request with a requests.Session or a similar object."""

    def one(r):
        keywords = {"headers": {"X-Case": r["name"]}, **more}
        if r["kind"] == "form":
            keywords["data"] = [tuple(pair) for pair in r["form"]]
        elif r["kind"] == "json":
            keywords["json"] = json.loads(r["body"])
        elif r["kind"] == "multipart":
            keywords["data"] = dict(r["form"])
            keywords["files"] = {field: (name, text, type_) for field, name, type_, text in r["files"]}
        elif r["kind"] == "upload":
            keywords["data"] = content(r)
            keywords["headers"]["Content-Type"] = r["content_type"]
        response = session.request(r["method"], r["url"], **keywords)
        return response.status_code, response.text

    return one


def multipart(r):
    """The body of a multipart request and its type, for clients that don't build it themselves."""
    boundary = "a-boundary-that-occurs-nowhere"
    parts = ['Content-Disposition: form-data; name="%s"\r\n\r\n%s' % (name, value) for name, value in r["form"]]
    for field, name, type_, text in r["files"]:
        head = 'Content-Disposition: form-data; name="%s"; filename="%s"\r\nContent-Type: %s' % (field, name, type_)
        parts.append(head + "\r\n\r\n" + text)
    body = "".join("--%s\r\n%s\r\n" % (boundary, part) for part in parts) + "--%s--\r\n" % boundary
    return body.encode(), "multipart/form-data; boundary=" + boundary
