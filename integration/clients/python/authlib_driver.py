"""Drives Authlib's OAuth1Session as its documentation says.

Argument: the matrix; see driver.py.
"""

import os

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # the test server speaks http

from authlib.integrations.requests_client import OAuth1Session  # noqa: E402

from driver import arguments, ask, by_requests, finish, send  # noqa: E402


def session(args, **more):
    return OAuth1Session(
        args["consumer"],
        args["consumer_secret"] or None,
        rsa_key=args["rsa_key"] or None,
        signature_method=args["method"],
        signature_type={"header": "HEADER", "query": "QUERY", "body": "BODY"}[args["placement"]],
        **more,
    )


def matrix(args):
    key, secret, result = args["token"], args["secret"], {}
    if args["legs"]:
        client = session(args, redirect_uri=args["callback"])
        request_token = client.fetch_request_token(args["endpoints"]["request_token"])
        result["confirmed"] = request_token["oauth_callback_confirmed"]
        url = client.create_authorization_url(args["endpoints"]["authorize"], request_token["oauth_token"])
        answer = ask("authorize", request_token=request_token["oauth_token"], url=url)
        if "redirect" in answer:
            client.parse_authorization_response(answer["redirect"])
            access = client.fetch_access_token(args["endpoints"]["access_token"])
        else:
            access = client.fetch_access_token(args["endpoints"]["access_token"], answer["verifier"])
        key, secret = access["oauth_token"], access["oauth_token_secret"]
    client = session(args, token=key, token_secret=secret)
    sent = send(args["requests"], by_requests(client, auth=client.auth))
    return {**result, "token": key, "secret": secret, "sent": sent}


if __name__ == "__main__":
    finish(matrix(arguments()))
