"""Holds the REST of a running fireside to its OpenAPI documents.

Starts the program on a directory of its own, puts something of everything there is into it, and has
schemathesis send what the documents allow and what they do not: as nobody, as a player, as an operator
and as a service. No answer may be a 5xx or one that the document does not name, every answer has to be as
the document says, and what asks for a token has to refuse those who have none. Before that, a document with a
fault in it has to be found out.

  python check.py [PROGRAM]        FIRESIDE_API_EXAMPLES=n   more of each (4)
                                   FIRESIDE_API_SEED=n       others (1)
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SERVICE_TOKEN = "a service token of more than 32 characters"
PASSWORD = "correct horse battery"
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
    "unsupported_method",
    "use_after_free",
]
STORE, CHAT = "/v1/store/openapi.json", "/v1/openapi.json"
# By rule, each bound of each parameter; and by chance.
ALL, SOME = "examples,coverage,fuzzing", "examples,fuzzing"
# Who asks what, and how. An operator may do in the store what a player may, and more; a service little.
RUNS = [
    ("operator", STORE, ALL),
    ("player", STORE, SOME),
    ("service", STORE, SOME),
    ("player", CHAT, ALL),
    ("service", CHAT, ALL),
]


class Program:
    """A running fireside."""

    def __init__(self, binary, directory):
        rates = ["VISITOR", "LOGIN_ACCOUNT", "LOGIN_ADDRESS", "REGISTRATION", "REFRESH", "AVAILABILITY", "STORE_USER"]
        environment = {f"FIRESIDE_{rate}_RATE": "100000/s burst 100000" for rate in rates}
        environment |= {
            "FIRESIDE_LISTEN": "127.0.0.1:0",
            "FIRESIDE_DATA_DIR": str(directory),
            "FIRESIDE_SERVICE_TOKEN": SERVICE_TOKEN,
            "FIRESIDE_PASSWORD_HASH_MEMORY_KIB": "8",
            "FIRESIDE_MAIL_URL": f"file:{directory}/mails",
            "FIRESIDE_MAIL_FROM": "no-reply@oak.example",
            "FIRESIDE_WEBHOOK_NETWORKS": "127.0.0.0/8",
            "FIRESIDE_SEED_GAMES": "20",
            "FIRESIDE_LOG": "warn",
        }
        self.environment = os.environ | environment
        self.binary = binary
        self.process = subprocess.Popen([binary], env=self.environment, stdout=subprocess.PIPE, text=True)
        self.url = None
        for line in self.process.stdout:
            if found := re.search(r"http://\S+?(?=/? )", line):
                self.url = found.group(0).rstrip("/")
                break
        if self.url is None:
            sys.exit("fireside did not start")

    def command(self, *words):
        subprocess.run([self.binary, *words], env=self.environment, check=True, stdout=subprocess.DEVNULL)

    def send(self, method, path, body=None, token=None, key=None):
        """Sends a request that has to succeed; gives the answer's document."""
        headers = {"content-type": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        if key:
            headers["idempotency-key"] = key
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            sys.exit(f"{method} {path}: {error.code} {error.read().decode()}")
        return json.loads(text) if text else None

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)


def furnish(program):
    """Puts something of everything into the store, for each who asks; gives the names that requests may use."""
    people = {}
    for name in ["player", "operator", "friend"]:
        account = {"email": f"{name}@example.org", "name": name, "password": PASSWORD}
        answer = program.send("POST", "/v1/auth/register", account)
        people[name] = (answer["user"]["id"], answer["access_token"])
    program.command("role", "operator@example.org", "operator")
    friend, friends = people.pop("friend")
    operator = people["operator"][1]
    house = program.send("POST", "/v1/publishers", {"name": "Oak", "owner": people["player"][0]}, operator)["id"]
    games = []
    for slug in ["star", "moon", "sun", "comet"]:
        game = {
            "title": slug.title(), "summary": "A game.", "state": "published", "released_at": 1000,
            "categories": ["action"], "prices": {"US": 0 if slug != "comet" else 500},
        }
        games.append(program.send("PUT", f"/v1/publishers/{house}/games/{slug}", game, operator)["id"])
    terms = {"kind": "percent", "percent": 10, "ends_at": 4_000_000_000_000, "quantity": 100}
    coded = program.send("POST", "/v1/campaigns", terms | {"name": "Autumn", "code": "AUTUMN10"}, operator)["id"]
    drop = program.send("POST", "/v1/campaigns", terms | {"name": "Winter", "drop": True}, operator)["id"]
    orders, gifts, entries = [], [], []
    for name, (me, token) in people.items():
        program.send("PUT", f"/v1/friends/{friend}", token=token)
        program.send("PUT", f"/v1/friends/{me}", token=friends)
        cards = {"amount": 10000, "currency": "USD", "cards": 1}
        codes = program.send("POST", "/v1/gift-cards", cards, operator, f"cards-{name}")["codes"]
        program.send("POST", "/v1/gift-cards/redeem", {"code": codes[0]}, token)
        orders.append(program.send("POST", "/v1/orders", {"games": games[:2]}, token, f"order-{name}")["id"])
        program.send("POST", "/v1/coupons/redeem", {"code": "AUTUMN10"}, token)
        program.send("POST", f"/v1/drops/{drop}/claim", token=token)
        gift = {"recipient": me, "games": [games[2]]}
        gifts.append(program.send("POST", "/v1/gifts", gift, friends, f"gift-{name}")["id"])
        book = f"/v1/users/{me}/guest-book"
        entries.append(program.send("POST", book, {"text": "Hello"}, friends, f"entry-{name}")["id"])
        program.send("PUT", f"/v1/games/{games[0]}/review", {"stars": 4, "text": "Fine."}, token)
    webhooks = []
    for publisher in [None, house]:
        hook = {"url": "http://127.0.0.1:9/", "kinds": ["order.paid"], "publisher": publisher}
        webhooks.append(program.send("POST", "/v1/webhooks", hook, operator)["id"])
    delivery = program.send("POST", f"/v1/webhooks/{webhooks[0]}/ping", token=operator)["id"]
    users = [friend, *(me for me, _ in people.values())]
    return {
        "/v1/users/": users,
        "/v1/internal/users/": users,
        "/v1/friends/": users,
        "/v1/blocks/": users,
        "/v1/games/": games,
        "/v1/lists/": games,
        "/v1/library/": games,
        "/v1/publishers/": [house],
        "/v1/follows/": [house],
        "/v1/orders/": orders,
        "/v1/gifts/": gifts,
        "/v1/campaigns/": [coded, drop],
        "/v1/drops/": [drop],
        "/v1/webhooks/": webhooks,
        "{user_id}": users,
        "{entry}": entries,
        "{delivery}": [delivery],
        "{list}": ["wishlist", "cart", "likes"],
        "{slug}": ["star"],
    }


def ask(program, things, who, document, phases, **how):
    """Has schemathesis send what follows from a document; gives whether everything was answered as it says."""
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "hooks",
        "PYTHONPATH": str(HERE),
        "PYTHONDONTWRITEBYTECODE": "1",
        "FIRESIDE_API_URL": program.url,
        "FIRESIDE_API_CALLER": who,
        "FIRESIDE_API_PASSWORD": PASSWORD,
        "FIRESIDE_API_SERVICE_TOKEN": SERVICE_TOKEN,
        "FIRESIDE_API_THINGS": json.dumps(things),
    }
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", document,
        "--url", program.url, "--phases", phases, "--checks", ",".join(CHECKS),
        "--max-examples", os.environ.get("FIRESIDE_API_EXAMPLES", "4"),
        "--seed", os.environ.get("FIRESIDE_API_SEED", "1"),
        "--generation-database", "none", "--no-shrink", "--continue-on-failure",
        "--request-timeout", "60", "--warnings", "off", "--no-color",
    ]
    return subprocess.run(command, env=environment, **how).returncode == 0


def finds_faults(program, things, directory):
    """Whether an answer is noticed that a document does not name."""
    with urllib.request.urlopen(program.url + STORE) as answer:
        document = json.load(answer)
    path = "/v1/wallet"
    document["paths"] = {path: document["paths"][path]}
    faulty = pathlib.Path(directory, "faulty.json")
    for names in (True, False):
        if not names:
            del document["paths"][path]["get"]["responses"]["200"]
        faulty.write_text(json.dumps(document))
        outcome = ask(program, things, "player", str(faulty), SOME, cwd=directory, capture_output=True)
        if outcome != names:
            return False
    return True


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "target/debug/fireside")
    failed = []
    with tempfile.TemporaryDirectory() as directory:
        program = Program(binary, directory)
        try:
            things = furnish(program)
            if not finds_faults(program, things, directory):
                sys.exit("a fault that was planted in a document was not found")
            for number, (who, document, phases) in enumerate(RUNS, 1):
                began = time.monotonic()
                print(f"\n-- {number} of {len(RUNS)}: {document} as {who}", flush=True)
                if not ask(program, things, who, program.url + document, phases, cwd=directory):
                    failed.append(f"{document} as {who}")
                print(f"-- {time.monotonic() - began:.0f} s", flush=True)
                if program.process.poll() is not None:
                    sys.exit("fireside ended")
        finally:
            program.stop()
    if failed:
        sys.exit("not as documented: " + ", ".join(failed))


main()
