#!/usr/bin/env python3
"""Rehearses on a cluster: `k8s/rehearse.py` against the one of kubectl's context, which has to have the images.

It applies overlays/dev, waits until everything is ready, has people chat through the door, and does to chat-node what an
orchestrator does: a deploy, one node more and one less, the loss of a pod. Of each it says how long it took, how long people
were interrupted, and what the checker of loadtest finds in what they saw; it fails when anything was lost, doubled or out of
order, and when what was planned ended a session. What it applied stays; `kubectl delete -k k8s/overlays/dev` takes it away.

People come by port-forward, which leads to one pod as long as that is there. With --url, an address of the Service chat-lb
that this machine reaches, the door is deployed too.
"""

import argparse
import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
OVERLAY = HERE / "overlays/dev"
# How long the cluster may take to have everything ready, or to end a deploy.
PATIENCE = "900s"
NODES = "statefulset/chat-node"
# How long people talk before something is done, and after it, in seconds.
AROUND = 10
# What lasts longest for each node that is replaced: its drain, the start of the next, a margin.
A_NODE = 75
# The same of the balancer, which keeps its people until its drain is over.
A_DOOR = 90


def kubectl(*arguments):
    done = subprocess.run(["kubectl", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"kubectl {' '.join(map(str, arguments))}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def here(*arguments):
    return kubectl("--namespace=fireside", *arguments)


def settled():
    """Waits until every workload has the pods it wants, as they are wanted."""
    for workload in here("get", "deployments,statefulsets", "--output=name").split():
        here("rollout", "status", workload, f"--timeout={PATIENCE}")
    here("wait", "--for=condition=complete", "job/store-migrate", f"--timeout={PATIENCE}")


def apply():
    began = time.monotonic()
    kubectl("apply", "--server-side", "--kustomize", OVERLAY)
    settled()
    print(f"everything is ready after {time.monotonic() - began:.0f} s", flush=True)


@contextlib.contextmanager
def door():
    """The door's Service at a port of this machine. A port-forward ends with the first connection that breaks: there is
    another one then."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = ["kubectl", "--namespace=fireside", "port-forward", "service/chat-lb", f"{port}:80"]
    over, forwards = threading.Event(), []

    def forward():
        while not over.is_set():
            forwards.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            forwards[-1].wait()
            over.wait(0.1)

    thread = threading.Thread(target=forward)
    thread.start()
    try:
        until_answered(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        over.set()
        forwards[-1].terminate()
        thread.join()


def until_answered(url):
    for _ in range(100):
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(url, timeout=2)
            return
        time.sleep(0.1)
    sys.exit(f"the door does not answer at {url}")


def deploy(workload):
    here("rollout", "restart", workload)
    here("rollout", "status", workload, f"--timeout={PATIENCE}")


def scale(replicas):
    here("scale", NODES, f"--replicas={replicas}")
    here("rollout", "status", NODES, f"--timeout={PATIENCE}")
    gone = f"pod/chat-node-{replicas}"
    here("wait", "--for=delete", gone, f"--timeout={PATIENCE}")


def lose():
    here("delete", "pod", "chat-node-0", "--force", "--grace-period=0")
    here("rollout", "status", NODES, f"--timeout={PATIENCE}")


def interruptions(record, since):
    """How long people had no session, shortest first, and what became of their sessions, after a time in ms."""
    took, ends, without = [], {"resumed": 0, "started": 0, "lost": 0}, {}
    with record.open() as lines:
        for line in map(json.loads, lines):
            if line["at"] < since:
                continue
            what, who = line["t"], line.get("c")
            if what == "closed":
                without.setdefault(who, line["at"])
            elif what in ends:
                ends[what] += 1
                if what != "lost" and who in without:
                    took.append(line["at"] - without.pop(who))
    return sorted(took), ends


def rehearse(name, act, seconds, options, url, scratch):
    """Does something while people talk for so long; answers whether it went as it should."""
    record = scratch / f"{name.replace(' ', '-')}.jsonl"
    command = [options.loadtest, "record", "--url", url, "--out", record, "--drop-every", "0"]
    command += ["--senders", options.people, "--pace-ms", options.pace_ms]
    command += ["--messages", (seconds + 2 * AROUND) * 1000 // options.pace_ms]
    talk = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    time.sleep(AROUND)
    since, began = time.time_ns() // 1_000_000, time.monotonic()
    act()
    took = time.monotonic() - began
    silent = talk.poll() is not None
    verdict, _ = talk.communicate()
    felt, ends = interruptions(record, since)
    print(f"\n{name}: {took:.1f} s; {len(felt)} interruptions", end="")
    if felt:
        print(f", p50 {felt[len(felt) // 2]} ms, longest {felt[-1]} ms", end="")
    print(f"; {ends['resumed']} sessions resumed, {ends['started']} begun, {ends['lost']} lost")
    print(verdict.strip(), flush=True)
    if silent:
        print(f"{name}: people fell silent before it was over")
    return talk.returncode == 0 and not silent, ends


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--loadtest", default=HERE / "../target/release/loadtest", type=pathlib.Path)
    options.add_argument("--url", help="where the Service chat-lb is reached, http://HOST:PORT; by port-forward without it")
    options.add_argument("--people", default=10, type=int)
    options.add_argument("--pace-ms", default=250, type=int, help="the pause between two messages of one")
    options = options.parse_args()
    if not options.loadtest.is_file():
        sys.exit(f"{options.loadtest} is not there: cargo build --release --bin loadtest")

    apply()
    replicas = int(here("get", NODES, "--output=jsonpath={.spec.replicas}"))
    planned = [
        ("a deploy of all nodes", lambda: deploy(NODES), replicas * A_NODE),
        ("one node more", lambda: scale(replicas + 1), A_NODE),
        ("one node less", lambda: scale(replicas), A_NODE),
    ]
    if options.url:
        planned.append(("a deploy of the door", lambda: deploy("deployment/chat-lb"), A_DOOR))
    good = True
    with contextlib.ExitStack() as stack:
        scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = options.url or stack.enter_context(door())
        for name, act, seconds in planned:
            held, ends = rehearse(name, act, seconds, options, url, scratch)
            if ends["started"] or ends["lost"]:
                print(f"{name}: sessions ended that were to go on")
            good = good and held and not ends["started"] and not ends["lost"]
        held, _ = rehearse("a pod lost", lose, A_NODE, options, url, scratch)
        good = good and held
    print("\n" + ("all good" if good else "FAILED"))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
