"""The auth server of the peer forward_auth-python: oauthlib's ResourceEndpoint as a WSGI application."""

import json
import threading
import time

from oauthlib.oauth1 import RequestValidator, ResourceEndpoint, SIGNATURE_HMAC_SHA256

with open("known.json") as f:
    known = json.load(f)
tokens, consumers, window = known["tokens"], known["consumers"], known["window"]


class Validator(RequestValidator):
    enforce_ssl = False
    allowed_signature_methods = (SIGNATURE_HMAC_SHA256,)
    timestamp_lifetime = window
    dummy_client = "dummyclientdummyclie"
    dummy_access_token = "dummytokendummytoken"

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()
        self.nonces = {}
        self.swept = time.time()

    def validate_timestamp_and_nonce(self, client_key, timestamp, nonce, request, request_token=None, access_token=None):
        now = time.time()
        key = (client_key, access_token, timestamp, nonce)
        with self.lock:  # gunicorn has many threads
            if now > self.swept + 60:
                self.swept = now
                self.nonces = {k: t for k, t in self.nonces.items() if t > now - window}
            if key in self.nonces:
                return False
            self.nonces[key] = int(timestamp)
            return True

    def validate_client_key(self, client_key, request):
        return client_key in consumers

    def validate_access_token(self, client_key, token, request):
        return token in tokens and tokens[token][0] == client_key

    def validate_realms(self, client_key, token, request, uri=None, realms=None):
        return True

    def get_client_secret(self, client_key, request):
        return consumers.get(client_key, "")

    def get_access_token_secret(self, client_key, token, request):
        return tokens[token][1] if token in tokens else ""


endpoint = ResourceEndpoint(Validator())


def application(environ, start_response):
    uri = "http://" + environ["HTTP_X_FORWARDED_HOST"] + environ["HTTP_X_FORWARDED_URI"]
    headers = {"Authorization": environ.get("HTTP_AUTHORIZATION", "")}
    valid, request = endpoint.validate_protected_resource_request(
        uri, http_method=environ["HTTP_X_FORWARDED_METHOD"], headers=headers
    )
    if not valid:
        start_response("401 Unauthorized", [("Content-Length", "0")])
        return [b""]
    user = tokens[request.resource_owner_key][2]
    start_response("200 OK", [("Content-Length", "0"), ("X-OAuth-User", user)])
    return [b""]
