#!/usr/bin/env python3
"""Measures a store on PostgreSQL and Redis by wrk, and checks what came of it in the database.

    loadtest/store/measure.py                       everything, some five minutes
    loadtest/store/measure.py catalogue purchase    only these parts
    loadtest/store/measure.py --server other/store-api --runs 5 purchase

Needs wrk, PostgreSQL and Redis (apt-get install wrk postgresql redis-server) and a release build of store-api. What is
measured and how is said in docs/performance.md.
"""

import argparse
import contextlib
import json
import pathlib
import secrets
import statistics
import subprocess
import sys
import tempfile
import time

from people import Client, accounts, befriend, fill_wallets
from servers import Postgres, Redis, Store, pinned

HERE = pathlib.Path(__file__).parent
# The page of the browser client.
PAGE = 24
BUYERS = 2000
# What each of them wishes for, where they have friends.
WISHES = 15
COMERS = 100_000
COUPONS = 1000


class Bench:
    """The servers of a part, the options, and what was measured so far."""

    def __init__(self, options, readings, directory, cpu):
        self.options, self.readings, self.directory = options, readings, pathlib.Path(directory)
        self.postgres, self.redis = Postgres(cpu), Redis(cpu)

    def stop(self):
        self.redis.stop()
        self.postgres.stop()

    @contextlib.contextmanager
    def store(self, cpu=None):
        store = Store(self.options.server, self.postgres, self.redis, cpu, self.options.set)
        try:
            yield store
        finally:
            store.stop()

    def wrk(self, store, name, requests, connections, once=False, load_cpu=None, rate=None):
        """Sends requests, for some seconds or until each was sent once, and keeps what came of it under a name.

        As many as are answered, or so many a second, less what the answers take.
        """
        lines = self.directory / "requests"
        with open(lines, "w") as file:
            for request in requests:
                file.write("\t".join(part or "-" for part in request) + "\n")
        # Far longer than those take that are sent once: they end by themselves.
        seconds = 60 if once else self.options.seconds
        command = [
            "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(HERE / "load.lua"),
            store.address, "--", str(lines), "once" if once else "again",
        ]
        if rate:
            command.append(str(1000 * connections / rate))
        servers = (store, self.postgres, self.redis)
        before = [server.cpu_seconds() for server in servers]
        answer = subprocess.run(pinned(command, load_cpu), capture_output=True, text=True)
        spent = [server.cpu_seconds() - cpu for server, cpu in zip(servers, before)]
        if answer.returncode != 0:
            raise SystemExit(f"wrk: {answer.stdout}{answer.stderr}")
        reading = json.loads(answer.stdout.strip().splitlines()[-1])
        reading["rate"] = reading["requests"] / reading["seconds"]
        for server, cpu in zip(("store", "postgres", "redis"), spent):
            reading[f"{server}_cpu"] = cpu / reading["requests"] * 1000
        print(f"{name}: {spell(reading)}", flush=True)
        if reading["broken"] or (reading["refused"] and not once):
            raise SystemExit(f"{name}: not everything was answered well: {reading}")
        self.readings.setdefault(name, []).append(reading)
        return reading


def spell(reading):
    statuses = "".join(f", {times} × {status}" for status, times in sorted(reading["statuses"].items()))
    return (
        f"{reading['rate']:.0f} a second, p50 {reading['p50_ms']:.1f} ms, p99 {reading['p99_ms']:.1f} ms, greatest "
        f"{reading['max_ms']:.0f} ms; CPU-s per 1,000: store {reading['store_cpu']:.2f}, PostgreSQL "
        f"{reading['postgres_cpu']:.2f}, Redis {reading['redis_cpu']:.2f}{statuses}"
    )


def get(path, token=None):
    return ("GET", path, token, None, None)


def agree(what, one, other):
    if one != other:
        raise SystemExit(f"{what}: {one}, and not {other}")


def catalogue(bench):
    """What the browser client asks for when somebody looks around."""
    cpus = bench.options.store_cpu, bench.options.load_cpu
    with bench.store(cpus[0]) as store:
        client = Client(store.address)
        ask = lambda path: client.send("GET", path, bearer=None)
        categories = [one["category"] for one in ask("/v1/games/categories")["items"] if one["games"]]
        games = ask("/v1/games?sort=title&limit=500")["items"]
        queries = ["sort=popular", "sort=newest", "sort=rating", "sort=price", "on_sale=true&sort=popular"]
        queries += [f"category={category}&sort=popular" for category in categories]
        lists = [f"/v1/games?limit={PAGE}&{query}" for query in queries]
        # And the second page of each that has one.
        pages = [(path, ask(path).get("next")) for path in lists]
        lists += [f"{path}&cursor={cursor}" for path, cursor in pages if cursor]
        details = [f"/v1/games/{game['slug']}" for game in games]
        words = sorted({word.lower() for game in games for word in game["title"].split() if word.isalpha() and len(word) > 3})
        searches = [f"/v1/games?limit={PAGE}&q={word}" for word in words[:60]]
        print(f"{len(lists)} lists, {len(details)} games, {len(searches)} searches")
        looking = accounts(bench.postgres, "looker", 200)
        by_somebody = lambda paths: [get(path, looking[number % len(looking)]) for number, path in enumerate(paths)]
        kinds = {
            "list, by visitors": [get(path) for path in lists],
            "game, by visitors": [get(path) for path in details],
            "search, by visitors": [get(path) for path in searches],
            "list, logged in": by_somebody(lists * 20),
            "game, logged in": by_somebody(details * 3),
        }
        for _ in range(bench.options.runs):
            for name, requests in kinds.items():
                for name, rate in [(name, None), (f"{name}, paced", bench.options.rate)]:
                    bench.wrk(store, name, requests, bench.options.connections, load_cpu=cpus[1], rate=rate)


def purchase(bench):
    """Each order is a game bought from a wallet, by one of many people, who never bought it before."""
    with bench.store() as store:
        client = Client(store.address)
        now = time.time() * 1000
        games = [game for game in client.send("GET", "/v1/games?sort=title&limit=500", bearer=None)["items"] if game["released_at"] < now]
        buyers = accounts(bench.postgres, "buyer", BUYERS)
        fill_wallets(client, buyers, 10_000_000)
        if bench.options.friends:
            befriend(bench.postgres, "buyer", BUYERS, bench.options.friends, WISHES)
        bought, most = 0, bench.options.orders
        if most * bench.options.runs > BUYERS * len(games):
            raise SystemExit("there are not so many games to buy")
        for _ in range(bench.options.runs):
            orders = []
            for number in range(bought, bought + most):
                buyer, turn = number % BUYERS, number // BUYERS
                body = json.dumps({"games": [games[(turn + 7 * buyer) % len(games)]["id"]]})
                orders.append(("POST", "/v1/orders", buyers[buyer], f"Idempotency-Key: {secrets.token_hex(8)}", body))
            bought += most
            reading = bench.wrk(store, "purchase", orders, 32, once=True)
            agree("answers", reading["statuses"], {"201": most})
            agree("orders", int(bench.postgres.ask("SELECT COUNT(*) FROM orders")), bought)
            waiting = bench.postgres.ask("SELECT COUNT(*) FROM announcements")
            notices = bench.postgres.ask("SELECT COUNT(*) FROM notices WHERE topic = 'friend_bought'")
            print(f"of {waiting} purchases the buyers' friends are still to be told; {notices} notices to friends so far")
        agree("a licence for each order", bench.postgres.ask("SELECT COUNT(*) FROM orders"), bench.postgres.ask("SELECT COUNT(*) FROM library"))
        print(store.check_ledger())


def campaign(client, **more):
    body = {"name": "Twenty off", "kind": "percent", "percent": 20, "drop": True, "ends_at": int((time.time() + 86400) * 1000), **more}
    return client.send("POST", "/v1/campaigns", body, expect=201)["id"]


def drop(bench):
    """A hundred thousand people come once each, for a thousand coupons."""
    with bench.store() as store:
        client = Client(store.address)
        people = accounts(bench.postgres, "comer", COMERS)
        for _ in range(bench.options.runs):
            name = campaign(client, quantity=COUPONS)
            claims = [("POST", f"/v1/drops/{name}/claim", token, None, None) for token in people]
            reading = bench.wrk(store, "drop", claims, 256, once=True)
            agree("answers", reading["statuses"], {"200": COUPONS, "409": COMERS - COUPONS})
            issued = f"FROM coupons WHERE campaign = '{name}'"
            agree("coupons", bench.postgres.ask(f"SELECT COUNT(*) {issued}"), str(COUPONS))
            agree("people with one", bench.postgres.ask(f"SELECT COUNT(DISTINCT user_id) {issued}"), str(COUPONS))
        print(store.check_ledger())


def queue(bench):
    """The same people come to a queue, and then ask where they stand."""
    with bench.store() as store:
        client = Client(store.address)
        people = accounts(bench.postgres, "comer", COMERS)
        for _ in range(bench.options.runs):
            opens = int((time.time() + 3600) * 1000)
            path = f"/v1/drops/{campaign(client, quantity=COUPONS, queue_rate=600, opens_at=opens)}/queue"
            joins = [("PUT", path, token, None, None) for token in people[: bench.options.joins]]
            reading = bench.wrk(store, "join", joins, 256, once=True)
            agree("answers", reading["statuses"], {"200": len(joins)})
            tickets = f"FROM drop_tickets WHERE campaign = '{path.split('/')[3]}'"
            agree("tickets and the number of the last", bench.postgres.ask(f"SELECT COUNT(*), MAX(number) {tickets}"), f"{len(joins)}|{len(joins)}")
            here = [get(path, token) for token in people[: len(joins)]]
            bench.wrk(store, "place", here, 256)


PARTS = {"catalogue": catalogue, "purchase": purchase, "drop": drop, "queue": queue}


def table(readings):
    """Medians, with the least and the greatest in brackets."""
    print("\n| | a second | p50 | p99 | CPU-s per 1,000: store, PostgreSQL, Redis |\n|---|---|---|---|---|")
    for name, runs in readings.items():
        values = lambda key: [run[key] for run in runs]
        median = lambda key: statistics.median(values(key))
        rate, p99 = values("rate"), values("p99_ms")
        cpu = ", ".join(f"{median(f'{server}_cpu'):.2f}" for server in ("store", "postgres", "redis"))
        print(
            f"| {name} | **{median('rate'):,.0f}** ({min(rate):,.0f} – {max(rate):,.0f}) | {median('p50_ms'):.1f} ms | "
            f"{median('p99_ms'):.1f} ms ({min(p99):.1f} – {max(p99):.1f}) | {cpu} |"
        )


def setting(text):
    name, _, value = text.partition("=")
    return f"FIRESIDE_{name.upper()}", value


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="*", metavar="PART", help=f"what to measure: {', '.join(PARTS)} (all)")
    parser.add_argument("--server", default="target/release/store-api", help="the program (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of each, in turns (%(default)s)")
    parser.add_argument("--seconds", type=int, default=5, help="of a run that reads (%(default)s)")
    parser.add_argument("--orders", type=int, default=5000, help="bought in a run (%(default)s)")
    parser.add_argument("--friends", type=int, default=0, help="of each buyer, who each wish for 15 games (%(default)s)")
    parser.add_argument("--joins", type=int, default=30_000, help="people who come to a queue (%(default)s)")
    parser.add_argument("--connections", type=int, default=32, help="at once in the part catalogue (%(default)s)")
    parser.add_argument("--rate", type=int, default=3800, help="a second, where the part catalogue is paced (%(default)s)")
    parser.add_argument("--store-cpu", default="0", help="the CPU that the store keeps to in the part catalogue (%(default)s)")
    parser.add_argument("--load-cpu", default="1", help="the CPU that wrk keeps to then (%(default)s)")
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="NAME=VALUE", help="a setting of the store")
    parser.add_argument("--out", type=pathlib.Path, help="keeps every reading as JSON")
    options = parser.parse_args()
    unknown = [part for part in options.part if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}")
    readings = {}
    for part in options.part or PARTS:
        print(f"\n== {part}: {PARTS[part].__doc__}", flush=True)
        # In the part catalogue all others share the other CPU, so that the store has one alone.
        cpu = options.load_cpu if part == "catalogue" else None
        with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
            bench = Bench(options, readings, directory, cpu)
            stack.callback(bench.stop)
            PARTS[part](bench)
    table(readings)
    if options.out:
        options.out.write_text(json.dumps(readings, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
