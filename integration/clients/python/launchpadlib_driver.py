"""Drives launchpadlib as its documentation says, against a server that is not Launchpad.

Arguments: {"service_root", "dir", "consumer", "do": NAME, ...}; see the functions below for the
rest.
"""

import json
import os
from urllib.parse import urlencode

os.environ["no_proxy"] = "127.0.0.1"

from lazr.restfulclient.errors import HTTPError  # noqa: E402
from launchpadlib.credentials import (  # noqa: E402
    AccessToken,
    Credentials,
    EndUserDeclinedAuthorization,
    RequestTokenAuthorizationEngine,
    UnencryptedFileCredentialStore,
)
from launchpadlib.launchpad import Launchpad  # noqa: E402
from launchpadlib.uris import web_root_for_service_root  # noqa: E402

from driver import arguments, ask, content, finish, multipart, send  # noqa: E402


class Engine(RequestTokenAuthorizationEngine):
    """Sends the user to the authorization URL, and polls as launchpadlib's own engines do.

    The Go test is the user.
    """

    asked = 0

    def make_end_user_authorize_token(self, credentials, request_token):
        Engine.asked += 1
        ask("authorize", request_token=request_token, url=self.authorization_url(request_token))
        try:
            credentials.exchange_request_token_for_access_token(self.web_root)
        except HTTPError as e:
            if e.response.status == 403:
                raise EndUserDeclinedAuthorization(e.content)
            raise


def login_with(args):
    """Launchpad.login_with: a system-wide integration, or the consumer's own if "consumer" is given."""
    root = args["service_root"]
    engine = Engine(
        root,
        application_name=args.get("application"),
        consumer_name=args.get("consumer"),
        allow_access_levels=args.get("levels"),
    )
    store = UnencryptedFileCredentialStore(os.path.join(args["dir"], "credentials"))
    return Launchpad.login_with(
        service_root=root,
        launchpadlib_dir=args["dir"],
        authorization_engine=engine,
        credential_store=store,
        version="1.0",
    )


def with_token(args, engine=None):
    """A Launchpad with an existing access token, and an optional engine to renew a refused one."""
    token = AccessToken(args["token"], args["secret"])
    credentials = Credentials(args["consumer"], args.get("consumer_secret", ""), access_token=token)
    store = UnencryptedFileCredentialStore(os.path.join(args["dir"], "credentials"))
    return Launchpad(
        credentials, engine, store, service_root=args["service_root"], cache=os.path.join(args["dir"], "cache"), version="1.0"
    )


def refusal(e):
    return {"status": e.response.status, "body": e.content.decode(), "www_authenticate": e.response.get("www-authenticate")}


def do_flow(args):
    """Logs in, reads itself, changes itself, reads itself again."""
    lp = login_with(args)
    me = lp.me
    before = me.display_name
    me.display_name = args["display_name"]
    me.lp_save()
    me.lp_refresh()
    again = lp.people["salgado"]
    return {
        "me": me.name,
        "before": before,
        "after": me.display_name,
        "looked_up": again.display_name,
        "consumer": lp.credentials.consumer.key,
        "token": lp.credentials.access_token.key,
        "secret": lp.credentials.access_token.secret,
        "context": lp.credentials.access_token.context,
        "engine_asked": Engine.asked,
    }


def do_declined(args):
    try:
        login_with(args)
    except EndUserDeclinedAuthorization as e:
        return {"declined": e.args[0].decode()}
    return {"declined": None}


def do_credentials(args):
    """The walk with only launchpadlib.credentials, and with a context."""
    web_root = web_root_for_service_root(args["service_root"])
    credentials = Credentials(args["consumer"])
    url = credentials.get_request_token(context=args["context"], web_root=web_root)
    early = None
    try:
        credentials.exchange_request_token_for_access_token(web_root)
    except HTTPError as e:
        early = refusal(e)
    ask("authorize", request_token=credentials._request_token.key, url=url)
    credentials.exchange_request_token_for_access_token(web_root)
    token = credentials.access_token
    second = None
    try:
        credentials.exchange_request_token_for_access_token(web_root)
    except HTTPError as e:
        second = refusal(e)
    return {"early": early, "key": token.key, "secret": token.secret, "context": token.context, "second": second, "url": url}


def do_levels(args):
    """Gets the request token as JSON, as a desktop integration does."""
    web_root = web_root_for_service_root(args["service_root"])
    credentials = Credentials(args["consumer"])
    return credentials.get_request_token(web_root=web_root, token_format=Credentials.DICT_TOKEN_FORMAT)


def do_use(args):
    """Uses an existing token, without a way to renew it."""
    try:
        me = with_token(args).me
        return {"me": me.name}
    except HTTPError as e:
        return refusal(e)


def do_save(args):
    """Changes a display name with an existing token."""
    try:
        me = with_token(args).me
        me.lp_refresh()  # an entry can't be written to before it was read
        me.display_name = args["display_name"]
        me.lp_save()
        return {"display_name": me.display_name}
    except HTTPError as e:
        return refusal(e)


def do_renew(args):
    """Uses a refused token: launchpadlib itself must get a new one and try again."""
    engine = Engine(args["service_root"], consumer_name=args["consumer"])
    lp = with_token(args, engine)
    return {"me": lp.me.name, "engine_asked": Engine.asked, "token": lp.credentials.access_token.key}


def do_end(args):
    """Uses a token before and after the test ends it: launchpadlib must get a new one."""
    engine = Engine(args["service_root"], consumer_name=args["consumer"])
    lp = with_token(args, engine)
    first = lp.me.name
    ask("end")
    return {"first": first, "me": lp.people["mark"].name, "engine_asked": Engine.asked, "token": lp.credentials.access_token.key}


def do_anonymous(args):
    lp = Launchpad.login_anonymously(
        args["consumer"], service_root=args["service_root"], launchpadlib_dir=args["dir"], version="1.0"
    )
    mark = lp.people["mark"].display_name
    try:
        lp.me.name
        me = None
    except HTTPError as e:
        me = refusal(e)
    return {"mark": mark, "me": me}


def do_operations(args):
    """Named operations: a GET with awkward text, a POST with a form."""
    lp = with_token(args)
    team = lp.people.newTeam(name="team", display_name=args["display_name"])
    found = lp.people.find(text=args["display_name"])
    return {"made": team.display_name, "found": [p["name"] for p in found._wadl_resource.representation["entries"]]}


def do_requests(args):
    """Sends each of "requests" with launchpadlib's own HTTP client, which all its calls use."""
    browser = with_token(args)._browser
    results = []
    for r in args["requests"]:
        headers = {"X-Case": r["name"]}
        body = None
        if r["form"]:
            body, r["content_type"] = urlencode([tuple(p) for p in r["form"]]), "application/x-www-form-urlencoded"
        elif r["body"]:
            body = r["body"].encode()
        if r["content_type"]:
            headers["Content-Type"] = r["content_type"]
        result = {"name": r["name"]}
        try:
            response, content = browser._request(r["url"], data=body, method=r["method"], media_type="*/*", extra_headers=headers)
            result.update(status=response.status, body=content.decode())
        except HTTPError as e:
            result.update(refusal(e))
        except Exception as e:  # the client's own fault: the test says whether it expects one
            result["error"] = "%s: %s" % (type(e).__name__, e)
        results.append(result)
    return results


def do_matrix(args):
    """Launchpad's own walk with one early poll, then requests like those of entries and operations."""
    web_root = web_root_for_service_root(args["root"])
    credentials = Credentials(args["consumer"], args["consumer_secret"])
    url = credentials.get_request_token(web_root=web_root)
    try:
        credentials.exchange_request_token_for_access_token(web_root)
    except HTTPError as e:
        if e.response.status != 401:
            raise
    ask("authorize", request_token=credentials._request_token.key, url=url)
    credentials.exchange_request_token_for_access_token(web_root)
    cache = os.path.join(args["dir"], "cache")
    browser = Launchpad(credentials, None, None, args["root"], cache, version="1.0")._browser

    def one(r):
        if r["kind"] == "query":
            response, body = browser.get(r["url"], return_response=True)
        elif r["kind"] == "form":
            response, body = browser.post(r["url"], "an operation", **dict(r["form"]))
        elif r["kind"] == "json":
            response, body = browser.patch(r["url"], json.loads(r["body"]))
        elif r["kind"] == "upload":
            response, body = browser.put(r["url"], content(r), r["content_type"])
        else:
            data, media_type = multipart(r)  # what wadllib writes of an operation with a file
            headers = {"Content-type": media_type}
            response, body = browser._request(r["url"], data, "POST", extra_headers=headers)
        return response.status, body.decode()

    token = credentials.access_token
    return {"token": token.key, "secret": token.secret, "sent": send(args["requests"], one)}


if __name__ == "__main__":
    arguments_ = arguments()
    finish(globals()["do_" + arguments_["do"]](arguments_))
