"""What the Python drivers share: how they talk with the Go test that runs them.

A driver is started with one argument, a JSON object. It writes JSON objects to standard output, a line each:
{"ask": WHAT, ...} waits for one line on standard input, the answer, also JSON; {"result": ...} is the last.
"""

import json
import sys


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
