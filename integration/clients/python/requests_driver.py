"""Drives requests-oauthlib as its documentation says.

Arguments: {"do": NAME, "consumer", "consumer_secret" or "rsa_key", "method", ...}; see the functions
below for the rest.
"""

import requests
from requests_oauthlib import OAuth1, OAuth1Session
from requests_oauthlib.oauth1_session import TokenRequestDenied

from driver import arguments, ask, by_requests, finish, send


def client_arguments(args, placement="AUTH_HEADER"):
    """The arguments of OAuth1 and OAuth1Session that control the signature."""
    keywords = {"signature_method": args["method"], "signature_type": placement}
    if args.get("rsa_key"):
        keywords["rsa_key"] = args["rsa_key"]
    else:
        keywords["client_secret"] = args["consumer_secret"]
    return keywords


def do_requests(args):
    """Sends each of "requests", signed in each of "placements", with the token."""
    results = []
    session = requests.Session()
    session.trust_env = False
    for placement in args["placements"]:
        auth = OAuth1(
            args["consumer"],
            resource_owner_key=args["token"],
            resource_owner_secret=args["secret"],
            force_include_body=args.get("force_include_body", False),
            **client_arguments(args, placement),
        )
        for r in args["requests"]:
            headers = {"X-Case": placement + ": " + r["name"]}
            if r["content_type"]:
                headers["Content-Type"] = r["content_type"]
            data = [tuple(p) for p in r["form"]] if r["form"] else (r["body"].encode() if r["body"] else None)
            result = {"placement": placement, "name": r["name"]}
            try:
                response = session.request(r["method"], r["url"], data=data, headers=headers, auth=auth, allow_redirects=False)
                result.update(status=response.status_code, body=response.text)
            except Exception as e:  # the client's own fault: the test says whether it expects one
                result["error"] = "%s: %s" % (type(e).__name__, e)
            results.append(result)
    return results


def do_request_token(args):
    """Requests a request token, and returns the result."""
    oauth = OAuth1Session(args["consumer"], callback_uri=args["callback"], **client_arguments(args, args["placement"]))
    oauth.trust_env = False
    try:
        oauth.fetch_request_token(args["root"] + "+request-token")
        return {"error": ""}
    except TokenRequestDenied as e:
        return {"error": str(e)}


def do_flow(args):
    """The three-legged flow of the documentation's workflow page."""
    oauth = OAuth1Session(args["consumer"], callback_uri=args["callback"], **client_arguments(args, args["placement"]))
    oauth.trust_env = False
    request_token = oauth.fetch_request_token(args["root"] + "+request-token")
    answer = ask(
        "authorize",
        request_token=request_token["oauth_token"],
        url=oauth.authorization_url(args["root"] + "+authorize-token"),
    )
    result = {"confirmed": request_token.get("oauth_callback_confirmed")}

    oauth = OAuth1Session(
        args["consumer"],
        resource_owner_key=request_token["oauth_token"],
        resource_owner_secret=request_token["oauth_token_secret"],
        verifier="wrong",
        **client_arguments(args, args["placement"]),
    )
    oauth.trust_env = False
    try:
        oauth.fetch_access_token(args["root"] + "+access-token")
        result["wrong_verifier"] = None
    except TokenRequestDenied as e:
        result["wrong_verifier"] = {"status": e.status_code, "body": e.response.text}

    if "redirect" in answer:
        verified = oauth.parse_authorization_response(answer["redirect"])
        result["redirect_token"] = verified["oauth_token"]
        access = oauth.fetch_access_token(args["root"] + "+access-token")
    else:
        access = oauth.fetch_access_token(args["root"] + "+access-token", verifier=answer["verifier"])

    oauth = OAuth1Session(
        args["consumer"],
        resource_owner_key=access["oauth_token"],
        resource_owner_secret=access["oauth_token_secret"],
        **client_arguments(args),
    )
    oauth.trust_env = False
    response = oauth.get(args["root"] + "api/me?n=1")
    result.update(access_token=access["oauth_token"], status=response.status_code, body=response.text)
    return result


def do_matrix(args):
    """The workflow of the documentation, then the requests, all with OAuth1Session."""
    placement = {"header": "AUTH_HEADER", "query": "QUERY", "body": "BODY"}[args["placement"]]
    keywords = client_arguments(args, placement)
    result = {"token": args["token"], "secret": args["secret"]}
    if args["legs"]:
        oauth = OAuth1Session(args["consumer"], callback_uri=args["callback"], **keywords)
        request_token = oauth.fetch_request_token(args["endpoints"]["request_token"])
        url = oauth.authorization_url(args["endpoints"]["authorize"])
        answer = ask("authorize", request_token=request_token["oauth_token"], url=url)
        if "redirect" in answer:
            oauth.parse_authorization_response(answer["redirect"])
            access = oauth.fetch_access_token(args["endpoints"]["access_token"])
        else:
            access = oauth.fetch_access_token(args["endpoints"]["access_token"], verifier=answer["verifier"])
        result["confirmed"] = request_token["oauth_callback_confirmed"]
        result["token"], result["secret"] = access["oauth_token"], access["oauth_token_secret"]
    oauth = OAuth1Session(
        args["consumer"], resource_owner_key=result["token"], resource_owner_secret=result["secret"], **keywords
    )
    result["sent"] = send(args["requests"], by_requests(oauth))
    return result


if __name__ == "__main__":
    arguments_ = arguments()
    finish(globals()["do_" + arguments_["do"]](arguments_))
