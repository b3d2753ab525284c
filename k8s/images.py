#!/usr/bin/env python3
"""Builds the images with Docker and tries them: `k8s/images.py` on a Linux machine with Docker and PyYAML.

- every target of the Dockerfile is built, as fireside/TARGET:TAG;
- each program runs as its manifest has it run: its user, nothing to write to but its volumes, no capability, no
  new privileges, its memory; and one whose manifest would not hold it to that is a failure;
- all of them together say that they live and are ready, and each ends with 0 when it is told to.

Options of `docker build` go behind `--`: `k8s/images.py -- --pull --network=host`.
"""

import argparse
import contextlib
import pathlib
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import yaml

HERE = pathlib.Path(__file__).resolve().parent
MANIFESTS = {
    "store-api": "base/store/store-api.yaml",
    "chat-node": "base/nodes/chat-node.yaml",
    "chat-lb": "base/door/chat-lb.yaml",
}
# One process with everything has no manifest: it is held to what a node is.
TARGETS = [*MANIFESTS, "fireside"]
# How long a program may take until it is ready, and until it ended, in seconds.
READY_WITHIN = 30
ENDS_WITHIN = 60


def docker(*arguments):
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"docker {' '.join(map(str, arguments))}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def build(target, tag, more):
    began = time.monotonic()
    # As by hand, from the root: Dockerfile.dockerignore is looked for beside the name that is given.
    command = ["docker", "build", "-f", "k8s/Dockerfile", "--target", target]
    command += ["-t", f"fireside/{target}:{tag}", *more, "."]
    if subprocess.run(command, cwd=HERE.parent, check=False).returncode != 0:
        sys.exit(f"{target} was not built")
    return time.monotonic() - began


def manifest(target):
    """The pod of a program."""
    documents = yaml.safe_load_all((HERE / MANIFESTS.get(target, MANIFESTS["chat-node"])).read_text())
    workload = next(d for d in documents if d["kind"] in ("Deployment", "StatefulSet"))
    return workload["spec"]["template"]["spec"]


def restrictions(target):
    """What Docker holds a container to as Kubernetes would by the manifest."""
    pod = manifest(target)
    container = pod["containers"][0]
    own = container["securityContext"]
    if not (own["readOnlyRootFilesystem"] and own["capabilities"]["drop"] == ["ALL"]):
        sys.exit(f"the manifest of {target} lets it write, or leaves it capabilities")
    if own["allowPrivilegeEscalation"] or not pod["securityContext"]["runAsNonRoot"]:
        sys.exit(f"the manifest of {target} lets it become root")
    user, group = pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]
    memory = container["resources"]["limits"]["memory"]
    held = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", f"--user={user}:{group}"]
    held.append("--memory=" + re.sub("i$", "", memory).lower())
    empty = {v["name"]: v["emptyDir"]["sizeLimit"] for v in pod["volumes"] if "emptyDir" in v}
    for mount in (m for m in container["volumeMounts"] if m["name"] in empty):
        size = re.sub("i$", "", empty[mount["name"]]).lower()
        held.append(f"--tmpfs={mount['mountPath']}:uid={user},gid={group},mode=700,size={size}")
    return held


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(port, path):
    with contextlib.suppress(OSError, urllib.error.URLError):
        return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2).status == 200
    return False


class Program:
    """A container of one image."""

    def __init__(self, target, tag, settings):
        self.target, self.port, self.admin = target, free_port(), free_port()
        self.name = f"fireside-{target}-{secrets.token_hex(4)}"
        settings = {
            "FIRESIDE_LISTEN": f"127.0.0.1:{self.port}",
            "FIRESIDE_ADMIN_LISTEN": f"127.0.0.1:{self.admin}",
            **settings,
        }
        given = [f"--env={key}={value}" for key, value in settings.items()]
        run = ["run", "--detach", "--network=host", f"--name={self.name}", *restrictions(target), *given]
        self.began = time.monotonic()
        docker(*run, f"fireside/{target}:{tag}")

    def until_ready(self):
        """Waits for both probes, and answers how long that took."""
        while not all(answers(self.admin, path) for path in ("/healthz", "/readyz")):
            if time.monotonic() - self.began > READY_WITHIN:
                logs = subprocess.run(["docker", "logs", self.name], capture_output=True, text=True, check=False)
                sys.exit(f"{self.target} is not ready after {READY_WITHIN} s:\n{logs.stdout}{logs.stderr}")
            time.sleep(0.02)
        return time.monotonic() - self.began

    def end(self):
        """SIGTERM, as Kubernetes sends it; answers how long it took."""
        began = time.monotonic()
        docker("stop", "-t", str(ENDS_WITHIN), self.name)
        took = time.monotonic() - began
        code = docker("inspect", "--format={{.State.ExitCode}}", self.name)
        if code != "0":
            sys.exit(f"{self.target} ended with {code}:\n{docker('logs', self.name)}")
        return took

    def remove(self):
        subprocess.run(["docker", "rm", "--force", self.name], capture_output=True, check=False)


def together(tag):
    """Starts all programs, each with those it needs, and ends them: seconds to be ready and to end, of each."""
    service = {"FIRESIDE_SERVICE_TOKEN": secrets.token_hex(32), "FIRESIDE_JWT_SECRET": secrets.token_hex(32)}
    took = {}
    with contextlib.ExitStack() as stack:

        def start(target, **settings):
            program = Program(target, tag, settings)
            stack.callback(program.remove)
            took[target] = [program.until_ready()]
            return program

        store = start("store-api", **service)
        node = start("chat-node", **service, FIRESIDE_STORE_URL=f"http://127.0.0.1:{store.port}")
        places = {"FIRESIDE_NODES": f"127.0.0.1:{node.port}", "FIRESIDE_STORES": f"127.0.0.1:{store.port}"}
        door = start("chat-lb", **service, **places)
        alone = start("fireside")
        for program in (door, alone):
            if not answers(program.port, "/"):
                sys.exit(f"{program.target} does not serve the browser client")
        for program in (alone, door, node, store):
            took[program.target].append(program.end())
    return took


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--tag", default="0.1.0")
    options.add_argument("build", nargs="*", help="options of docker build, behind --")
    options = options.parse_args()
    built = {target: build(target, options.tag, options.build) for target in TARGETS}
    took = together(options.tag)
    for target in TARGETS:
        size = int(docker("inspect", "--format={{.Size}}", f"fireside/{target}:{options.tag}"))
        ready, ended = took[target]
        print(
            f"fireside/{target}:{options.tag}: {size / 1e6:.1f} MB, built in {built[target]:.0f} s, "
            f"ready after {ready:.2f} s, ended after {ended:.2f} s"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
