"""Drives mwoauth, which gets its tokens from MediaWiki's paths. requests-oauthlib signs with the
tokens, as the documentation of mwoauth says.

Argument: the matrix; see driver.py.
"""

from urllib.parse import urlsplit

import requests
from mwoauth import ConsumerToken, Handshaker
from requests_oauthlib import OAuth1

from driver import arguments, ask, by_requests, finish, send


def matrix(args):
    key, secret = args["token"], args["secret"]
    consumer = ConsumerToken(args["consumer"], args["consumer_secret"])
    if args["legs"]:
        wiki = args["root"] + "w/index.php"
        handshaker = Handshaker(wiki, consumer, callback=args["callback"], user_agent="the matrix")
        url, request_token = handshaker.initiate()
        answer = ask("authorize", request_token=request_token.key, url=url)
        key, secret = handshaker.complete(request_token, urlsplit(answer["redirect"]).query)
    session = requests.Session()
    session.auth = OAuth1(consumer.key, consumer.secret, key, secret)
    return {"token": key, "secret": secret, "sent": send(args["requests"], by_requests(session))}


if __name__ == "__main__":
    finish(matrix(arguments()))
