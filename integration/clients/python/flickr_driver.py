"""Drives flickrapi, a client of Flickr's API, against another server: its URLs are attributes of its
classes.

Argument: the matrix; see driver.py.
"""

import io

import flickrapi
from flickrapi.auth import FlickrAccessToken, OAuthFlickrInterface

from driver import Unable, arguments, ask, finish, send, verifier


def matrix(args):
    OAuthFlickrInterface.REQUEST_TOKEN_URL = args["endpoints"]["request_token"]
    OAuthFlickrInterface.AUTHORIZE_URL = args["endpoints"]["authorize"]
    OAuthFlickrInterface.ACCESS_TOKEN_URL = args["endpoints"]["access_token"]
    token = FlickrAccessToken(args["token"], args["secret"], "write") if args["token"] else None
    key, secret = args["consumer"], args["consumer_secret"]
    flickr = flickrapi.FlickrAPI(key, secret, token=token, store_token=False, format="rest")
    if args["legs"]:
        flickr.get_request_token(oauth_callback=args["callback"])
        request_token = flickr.flickr_oauth.resource_owner_key
        answer = ask("authorize", request_token=request_token, url=flickr.auth_url(perms="write"))
        flickr.flickr_oauth.verifier = verifier(answer)
        flickr.flickr_oauth.requested_permissions = "write"
        flickr.get_access_token()
    token = flickr.token_cache.token

    def one(r):
        flickr.REST_URL = flickr.UPLOAD_URL = r["url"].split("?")[0]
        if r["kind"] == "query":
            parameters = {}
            for name, value in r["query"]:
                parameters.setdefault(name, []).append(value)
            return 200, flickr.photos.search(**parameters).decode()
        if r["kind"] == "multipart":
            _, name, _, text = r["files"][0]
            photo = io.BytesIO(text.encode())
            return 200, flickr.upload(name, photo, format="rest", **dict(r["form"])).decode()
        raise Unable("its calls have their parameters in the query, and no body but a photo's")

    return {"token": token.token, "secret": token.token_secret, "sent": send(args["requests"], one)}


if __name__ == "__main__":
    finish(matrix(arguments()))
