"""What schemathesis is told of us: who asks, and names of things that are there."""

import json
import os
import urllib.request
import zlib

import schemathesis

URL = os.environ["FIRESIDE_API_URL"]
CALLER = os.environ["FIRESIDE_API_CALLER"]
THINGS = json.loads(os.environ["FIRESIDE_API_THINGS"])
# What takes back the token it is asked with.
ENDS = {"/v1/auth/logout", "/v1/auth/logout-all", "/v1/me", "/v1/me/password"}

token = None


def log_in():
    if CALLER == "service":
        return os.environ["FIRESIDE_API_SERVICE_TOKEN"]
    account = {"email": f"{CALLER}@example.org", "password": os.environ["FIRESIDE_API_PASSWORD"]}
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(URL + "/v1/auth/login", json.dumps(account).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["access_token"]


@schemathesis.auth(refresh_interval=None)
class Caller:
    def get(self, case, context):
        global token
        if token is None:
            token = log_in()
        return token

    def set(self, case, data, context):
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def after_call(context, case, response):
    global token
    if case.path in ENDS:
        token = None


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Has most requests be about something that is there."""
    for name, value in (path_parameters or {}).items():
        # By the value, not by chance: what follows from a seed has to stay the same.
        roll = zlib.crc32(str(value).encode(errors="replace"))
        if roll % 4 == 0:
            continue
        path = context.operation.path
        known = THINGS.get("{%s}" % name) or next(
            (names for start, names in THINGS.items() if path.startswith(start + "{")), None
        )
        if known:
            path_parameters[name] = known[roll // 4 % len(known)]
    return path_parameters
