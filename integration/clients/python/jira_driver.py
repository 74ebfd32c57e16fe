"""Drives jira, a client of Jira's API, through the session that all its methods use. Its users get
the token elsewhere, for example with its jirashell.

Argument: the matrix; see driver.py.
"""

import io
import json

from jira import JIRA

from driver import Unable, arguments, content, finish, send


def matrix(args):
    oauth = {
        "access_token": args["token"],
        "access_token_secret": args["secret"],
        "consumer_key": args["consumer"],
        "key_cert": args["rsa_key"],
    }
    jira = JIRA(args["root"], oauth=oauth, get_server_info=False, max_retries=0)

    def one(r):
        if r["kind"] == "query":
            response = jira._session.get(r["url"])
        elif r["kind"] == "json":
            response = jira._session.post(r["url"], data=json.dumps(json.loads(r["body"])))
        elif r["kind"] == "multipart":
            _, name, _, text = r["files"][0]
            try:
                jira.add_attachment("1", io.BytesIO(text.encode()), name)
            except (AttributeError, KeyError, TypeError):
                pass  # the answer is not Jira's
            return 0, ""
        elif r["kind"] == "upload":
            response = jira._session.post(r["url"], data=content(r), headers={"Content-Type": r["content_type"]})
        else:
            raise Unable("Jira's API has no forms")
        return response.status_code, response.text

    sent = send(args["requests"], one)
    for result in sent:
        if result["name"] == "multipart":
            result["path"] = "/rest/api/2/issue/1/attachments"
    return {"sent": sent}


if __name__ == "__main__":
    finish(matrix(arguments()))
