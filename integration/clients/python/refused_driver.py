"""Sends a request with tweepy or mwoauth that the server refuses, and prints the error they report.

Arguments: {"client": "tweepy" or "mwoauth", "root", "consumer", "consumer_secret", "token", "secret"}.
The result is {"text": the error's text, "codes": X's numbers, only from tweepy}.
"""

from urllib.parse import urlsplit

import requests

from driver import arguments, finish


class Session(requests.Session):
    """Uses http in place of the https in tweepy's code."""

    def request(self, method, url, **more):
        return super().request(method, url.replace("https:", "http:", 1), **more)


def refused_tweepy(args):
    import tweepy

    auth = tweepy.OAuth1UserHandler(
        args["consumer"], args["consumer_secret"], args["token"], args["secret"]
    )
    api = tweepy.API(auth, host=urlsplit(args["root"]).netloc)
    api.session = Session()
    try:
        api.verify_credentials()
    except tweepy.TweepyException as e:
        kind = type(e).__name__
        return {"text": kind + ": " + "; ".join(e.api_messages), "codes": e.api_codes}
    return {"text": "", "codes": []}


def refused_mwoauth(args):
    import mwoauth

    consumer = mwoauth.ConsumerToken(args["consumer"], args["consumer_secret"])
    try:
        mwoauth.initiate(args["root"] + "w/index.php", consumer, user_agent="a test")
    except mwoauth.OAuthException as e:
        return {"text": str(e), "codes": []}
    return {"text": "", "codes": []}


if __name__ == "__main__":
    args = arguments()
    finish(globals()["refused_" + args["client"]](args))
