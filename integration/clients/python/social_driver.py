"""Drives the OAuth 1 backend of social-auth-core, with which web sites in Django, Flask and others
let their users log in. The strategy, which a web framework's package brings along, keeps its
session in a dictionary here.

Argument: the matrix; see driver.py.
"""

from urllib.parse import parse_qsl, urlsplit

from social_core.backends.oauth import BaseOAuth1
from social_core.storage import BaseStorage
from social_core.strategy import BaseStrategy

from driver import Unable, arguments, ask, finish, send


class Strategy(BaseStrategy):
    def __init__(self, settings):
        super().__init__(BaseStorage)
        self.settings, self.session, self.data = settings, {}, {}

    def get_setting(self, name):
        return self.settings[name]

    def request_data(self, merge=True):
        return self.data

    def build_absolute_uri(self, path=None):
        return path

    def session_get(self, name, default=None):
        return self.session.get(name, default)

    def session_set(self, name, value):
        self.session[name] = value


class Backend(BaseOAuth1):
    """A backend for a provider, as in the documentation."""

    name = "matrix"


def matrix(args):
    Backend.REQUEST_TOKEN_URL = args["endpoints"]["request_token"]
    Backend.AUTHORIZATION_URL = args["endpoints"]["authorize"]
    Backend.ACCESS_TOKEN_URL = args["endpoints"]["access_token"]
    strategy = Strategy({
        "SOCIAL_AUTH_MATRIX_KEY": args["consumer"],
        "SOCIAL_AUTH_MATRIX_SECRET": args["consumer_secret"],
    })
    backend = Backend(strategy, redirect_uri=args["callback"])
    url = backend.auth_url()
    request_token = dict(parse_qsl(urlsplit(url).query))["oauth_token"]
    answer = ask("authorize", request_token=request_token, url=url)
    strategy.data = dict(parse_qsl(urlsplit(answer["redirect"]).query))
    backend = Backend(strategy, redirect_uri=args["callback"])  # of the request to the callback
    token = backend.access_token(backend.get_unauthorized_token())

    def one(r):
        if r["kind"] != "query":
            raise Unable("it reads who the user is")
        response = backend.oauth_request(token, r["url"])
        return response.status_code, response.text

    sent = send(args["requests"], one)
    return {"token": token["oauth_token"], "secret": token["oauth_token_secret"], "sent": sent}


if __name__ == "__main__":
    finish(matrix(arguments()))
