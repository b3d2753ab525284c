"""People of a store, and what they need: accounts, access tokens, money in their wallets."""

import base64
import concurrent.futures
import hashlib
import hmac
import http.client
import json
import secrets
import threading
import time
import urllib.parse

from servers import JWT_SECRET, SERVICE_TOKEN


def spelled(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(person):
    """An access token as the store itself would sign it, good for two hours."""
    now = int(time.time())
    claims = {
        "sub": person, "name": person, "jti": secrets.token_hex(13), "iat": now, "exp": now + 7200,
        "iss": "fireside", "aud": "fireside",
    }
    text = f'{spelled(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())}.{spelled(json.dumps(claims).encode())}'
    return f"{text}.{spelled(hmac.digest(JWT_SECRET.encode(), text.encode(), hashlib.sha256))}"


def accounts(postgres, kind, how_many):
    """Accounts that nobody registered, since passwords are hashed slowly and that is not measured here; their tokens."""
    postgres.ask(
        f"INSERT INTO users (id, name, name_key, created_at) SELECT '{kind}-' || i, '{kind} ' || i, '{kind} ' || i, 0 "
        f"FROM generate_series(1, {how_many}) i"
    )
    postgres.ask("ANALYZE users")
    return [token(f"{kind}-{number}") for number in range(1, how_many + 1)]


def befriend(postgres, kind, how_many, friends, wishes):
    """Makes those accounts the friends of that many of each other, in a ring, and has each wish for that many games."""
    postgres.ask(
        f"INSERT INTO relations (owner, other, state, since) SELECT '{kind}-' || i, '{kind}-' || (i + d + {how_many} - 1) % {how_many} + 1, "
        f"'friend', 0 FROM generate_series(1, {how_many}) i, generate_series(-{friends // 2}, {friends // 2}) d WHERE d <> 0"
    )
    postgres.ask(
        f"INSERT INTO marks (user_id, list, game, since) SELECT '{kind}-' || i, 'wishlist', g.id, 0 FROM generate_series(1, {how_many}) i, "
        f"LATERAL (SELECT id FROM games ORDER BY md5(id || i) LIMIT {wishes}) g"
    )
    postgres.ask("ANALYZE relations, marks")


class Client:
    """JSON over connections that are used again, one a thread."""

    def __init__(self, address):
        self.host = urllib.parse.urlsplit(address).netloc
        self.local = threading.local()

    def send(self, method, path, body=None, bearer=SERVICE_TOKEN, key=None, expect=200):
        # A server closes connections that nobody uses.
        if time.monotonic() - getattr(self.local, "used", 0) > 1:
            self.local.connection = http.client.HTTPConnection(self.host, timeout=30)
        headers = {"Content-Type": "application/json"}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        if key:
            headers["Idempotency-Key"] = key
        self.local.connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self.local.connection.getresponse()
        said = answer.read()
        self.local.used = time.monotonic()
        if answer.status != expect:
            raise SystemExit(f"{method} {path}: HTTP {answer.status}: {said.decode()}")
        return json.loads(said) if said else None


def fill_wallets(client, tokens, minor):
    """Gives each of them a gift card of so many cents, which they redeem."""
    codes = []
    while len(codes) < len(tokens):
        body = {"amount": minor, "currency": "USD", "cards": min(100, len(tokens) - len(codes))}
        codes += client.send("POST", "/v1/gift-cards", body, key=secrets.token_hex(8), expect=201)["codes"]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        redeem = lambda pair: client.send("POST", "/v1/gift-cards/redeem", {"code": pair[1]}, bearer=pair[0])
        list(pool.map(redeem, zip(tokens, codes)))
