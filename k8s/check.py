#!/usr/bin/env python3
"""Checks everything in k8s/: `./test k8s` installs what it needs and runs it.

- every overlay renders, and is valid by the schemas of the Kubernetes versions we support;
- what refers to something finds it: Services their pods, probes their ports, pods their settings;
- a setting that a pod is given is one that its program knows, and all of them together are taken by it;
- a metric that an alert, the dashboard or an autoscaler reads is one that docs/operations.md lists;
- policies (checkov), the Dockerfile (hadolint, checkov), the alerts (promtool, with tests of each).
"""

import argparse
import base64
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).resolve().parent
VERSIONS = ["1.31", "1.33", "1.36"]
OVERLAYS = ["dev", "prod", "blue-green"]
PROGRAMS = ["chat-lb", "chat-node", "store-api"]
WORKLOADS = ("Deployment", "StatefulSet", "Job")
# Objects of operators, which are in no schema of Kubernetes itself.
OPERATORS = {"PodMonitor", "PrometheusRule"}
# What a Secret that is not in the repository might say. Nobody listens there.
SECRETS = {
    "service-token": "only-for-this-check-and-long-enough",
    "redis-url": "redis://127.0.0.1:1",
    "mongodb-uri": "mongodb://127.0.0.1:1",
    "database-url": "postgres://fireside:none@127.0.0.1:1/fireside",
}
# What a program ends with whose settings are refused, and how many seconds it has to say so.
REFUSED, REFUSES_WITHIN = 2, 5
# Policies we do not follow, and why.
NOT_FOLLOWED = {
    "CKV_K8S_11": "a CPU limit stops a node that has work to do in the middle of it",
    "CKV_K8S_15": "tags are versions and never move",
    "CKV_K8S_35": "settings are variables, and the programs show them nowhere",
    "CKV_K8S_43": "the images are built by whoever deploys them",
}

failures = []


def fail(what):
    failures.append(what)
    print(f"FAILED {what}", file=sys.stderr)


def run(what, *command, **more):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    except FileNotFoundError as missing:
        sys.exit(f"{what}: {missing.filename} is not there; `./test k8s` builds and installs everything")
    if done.returncode != 0:
        fail(f"{what}:\n{done.stdout}{done.stderr}")
    return done.stdout


def containers(thing):
    return thing["spec"]["template"]["spec"]["containers"]


def validate(overlay, things):
    for version in VERSIONS:
        for thing in things:
            if thing["kind"] in OPERATORS:
                continue
            try:
                kubernetes_validate.validate(thing, version, strict=True)
            except Exception as error:  # noqa: BLE001: every kind of its errors means the same
                fail(f"{overlay}: {name(thing)} is not valid in {version}: {error}")


def name(thing):
    return f"{thing['kind']}/{thing['metadata']['name']}"


def refer(overlay, things):
    """Names within an overlay lead somewhere."""
    named = {(thing["kind"], thing["metadata"]["name"]): thing for thing in things}
    workloads = [t for t in things if t["kind"] in WORKLOADS]
    pods = {name(t): t["spec"]["template"]["metadata"]["labels"] for t in workloads}

    def selected(labels):
        return [n for n, own in pods.items() if labels.items() <= own.items()]

    for thing in things:
        spec = thing.get("spec", {})
        if thing["kind"] == "Service":
            of = selected(spec["selector"])
            if not of:
                fail(f"{overlay}: {name(thing)} selects no pods")
            for port in spec["ports"]:
                for workload in (t for t in workloads if name(t) in of):
                    ports = [p["name"] for c in containers(workload) for p in c.get("ports", [])]
                    if port["targetPort"] not in ports:
                        fail(f"{overlay}: {name(thing)} wants {port['targetPort']} of {name(workload)}")
        elif thing["kind"] == "PodDisruptionBudget":
            if not selected(spec["selector"]["matchLabels"]):
                fail(f"{overlay}: {name(thing)} selects no pods")
        elif thing["kind"] == "HorizontalPodAutoscaler":
            of = spec["scaleTargetRef"]
            if (of["kind"], of["name"]) not in named:
                fail(f"{overlay}: {name(thing)} scales what is not there")
            elif "replicas" in named[of["kind"], of["name"]]["spec"]:
                fail(f"{overlay}: {name(thing)} scales what every deploy sets back to a number")
        elif thing["kind"] == "NetworkPolicy":
            labels = spec["podSelector"].get("matchLabels", {})
            if not selected(labels):
                fail(f"{overlay}: {name(thing)} selects no pods")
    services = [t["metadata"]["name"] for t in things if t["kind"] == "Service"]
    for thing in workloads:
        template = thing["spec"]["template"]["spec"]
        account = template.get("serviceAccountName")
        if account and ("ServiceAccount", account) not in named:
            fail(f"{overlay}: {name(thing)} has no account {account}")
        if thing["kind"] == "StatefulSet" and thing["spec"]["serviceName"] not in services:
            fail(f"{overlay}: {name(thing)} has no service {thing['spec']['serviceName']}")
        for container in template["containers"]:
            ports = [port["name"] for port in container.get("ports", [])]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                ways = container.get(probe, {})
                for way in ("httpGet", "tcpSocket"):
                    if way in ways and ways[way]["port"] not in ports:
                        fail(f"{overlay}: {probe} of {name(thing)} asks a port it does not have")
            for source in container.get("envFrom", []):
                config = source["configMapRef"]["name"]
                if ("ConfigMap", config) not in named:
                    fail(f"{overlay}: {name(thing)} has no settings {config}")
            for variable in container.get("env", []):
                hosts = re.findall(r"(?:http|redis|postgres)://(?:[^/@]*@)?([a-z-]+):", variable.get("value", ""))
                for host in hosts:
                    if host not in services:
                        fail(f"{overlay}: {variable['name']} of {name(thing)} names {host}, which is no Service")


def secrets(overlay, things, known):
    """What pods take from Secrets is in those that k8s/README.md, or the overlay, lists."""
    for thing in things:
        if thing["kind"] not in WORKLOADS:
            continue
        for container in containers(thing):
            for variable in container.get("env", []):
                key = variable.get("valueFrom", {}).get("secretKeyRef", {}).get("key")
                if key and key not in known:
                    fail(f"{overlay}: {name(thing)} wants {key} of a Secret, which nobody lists")


def settings(overlay, things, programs):
    """Variables are settings of the program that gets them."""
    shared = {
        t["metadata"]["name"]: t["data"] for t in things if t["kind"] == "ConfigMap" and "data" in t
    }
    for thing in things:
        if thing["kind"] not in WORKLOADS:
            continue
        for container in containers(thing):
            if container["name"] not in programs:
                continue
            given = {v["name"] for v in container.get("env", [])}
            for source in container.get("envFrom", []):
                given |= shared.get(source["configMapRef"]["name"], {}).keys()
            known = programs[container["name"]]
            for variable in sorted(v for v in given if v.startswith("FIRESIDE_")):
                if variable not in known:
                    fail(f"{overlay}: {container['name']} knows no {variable}")


def given(container, things):
    """The variables of a container, as its pod would have them; what is elsewhere is at addresses where nobody is."""
    values = {}
    for source in container.get("envFrom", []):
        config = source["configMapRef"]["name"]
        values |= next(t["data"] for t in things if t["kind"] == "ConfigMap" and t["metadata"]["name"] == config)
    own = {key: value for t in things if t["kind"] == "Secret" for key, value in t.get("data", {}).items()}
    for variable in container.get("env", []):
        source = variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            key = source["secretKeyRef"]["key"]
            value = SECRETS.get(key) or base64.b64decode(own.get(key, "")).decode()
        elif "fieldRef" in source:
            value = "10.0.0.1"
        else:
            value = re.sub(r"\$\((\w+)\)", lambda name: values[name[1]], variable["value"])
        values[variable["name"]] = value
    return values


def refusal(container, things, programs, scratch):
    """What a program says that refuses the settings of its pod, or nothing."""
    here = {"/keys": scratch, "/tls": scratch, "/data": scratch / "data"}
    values = given(container, things)
    for variable, value in values.items():
        for path, instead in here.items():
            if value.startswith(path):
                values[variable] = value.replace(path, str(instead), 1)
    values |= {"FIRESIDE_LISTEN": "127.0.0.1:0", "FIRESIDE_ADMIN_LISTEN": "127.0.0.1:0"}
    command = [programs / container["name"], *container.get("args", [])]
    options = {"capture_output": True, "text": True, "check": False, "timeout": REFUSES_WITHIN}
    try:
        done = subprocess.run(command, env={"PATH": os.environ["PATH"], **values}, **options)
    except subprocess.TimeoutExpired:
        return None
    return done.stderr if done.returncode == REFUSED else None


def taken(overlay, things, programs, scratch):
    """No program refuses the settings of its pod. Those that take them wait for what is not there: all at once."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asked = [
            (name(thing), pool.submit(refusal, container, things, programs, scratch))
            for thing in things
            if thing["kind"] in WORKLOADS
            for container in containers(thing)
            if container["name"] in PROGRAMS
        ]
    for whose, answer in asked:
        if answer.result():
            fail(f"{overlay}: {whose} refuses its settings:\n{answer.result()}")


def keys(scratch):
    """A key to sign with, and a certificate, where pods have theirs."""
    key, certificate = scratch / "tls.key", scratch / "tls.crt"
    run("a key", "openssl", "genpkey", "-algorithm", "ed25519", "-out", scratch / "jwt.pem")
    request = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=fireside"]
    run("a certificate", *request, "-keyout", key, "-out", certificate)


def scaled_by(things):
    """The metrics of pods that autoscalers go by."""
    scalers = (t for t in things if t["kind"] == "HorizontalPodAutoscaler")
    metrics = (metric for scaler in scalers for metric in scaler["spec"]["metrics"])
    return {metric["pods"]["metric"]["name"] for metric in metrics if metric["type"] == "Pods"}


def metrics(scaled):
    """Alerts, the dashboard and the autoscalers read metrics that there are."""
    page = (HERE / "../docs/operations.md").read_text()
    listed = set(re.findall(r"^\| `((?:fireside|process)_\w+)` \|", page, re.MULTILINE))
    read = set()
    for file in ("alerts.yaml", "alerts.test.yaml", "dashboard.json"):
        text = (HERE / "components/monitoring" / file).read_text()
        read |= set(re.findall(r"\b(?:fireside|process)_\w+", text))
    adapter = yaml.safe_load((HERE / "components/monitoring/adapter.yaml").read_text())
    queries = [re.search(r'=~"([^"]+)"', rule["seriesQuery"])[1] for rule in adapter["rules"]["custom"]]
    for metric in scaled:
        if not any(re.search(query, metric) for query in queries):
            fail(f"an autoscaler goes by {metric}, which the adapter does not read")
    read |= scaled
    for metric in sorted(read - {"fireside_dashboard"}):
        if metric not in listed and re.sub(r"_(bucket|sum|count)$", "", metric) not in listed:
            fail(f"no program has the metric {metric}")
    json.loads((HERE / "components/monitoring/dashboard.json").read_text())


def alerts(scratch, promtool):
    rules = yaml.safe_load((HERE / "components/monitoring/alerts.yaml").read_text())["spec"]
    (scratch / "alerts.rules.yaml").write_text(yaml.safe_dump(rules))
    tests = (HERE / "components/monitoring/alerts.test.yaml").read_text()
    (scratch / "alerts.test.yaml").write_text(tests)
    fire = {
        test["alertname"]
        for group in yaml.safe_load(tests)["tests"]
        for test in group["alert_rule_test"]
        if test.get("exp_alerts")
    }
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        if rule["alert"] not in fire:
            fail(f"no test shows that {rule['alert']} fires")
    run("alerts", promtool, "check", "rules", "alerts.rules.yaml", cwd=scratch)
    run("tests of the alerts", promtool, "test", "rules", "alerts.test.yaml", cwd=scratch)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--kubectl", default="kubectl")
    options.add_argument("--promtool", default="promtool")
    options.add_argument("--programs", type=pathlib.Path, default=HERE / "../target/debug")
    options = options.parse_args()
    tools = pathlib.Path(sys.executable).parent

    programs = {}
    for program in PROGRAMS:
        text = run(f"{program} --help", options.programs / program, "--help")
        programs[program] = set(re.findall(r"\[(FIRESIDE_\w+)\]", text))
    listed = set(re.findall(r"^\| `([a-z.-]+)` \|", (HERE / "README.md").read_text(), re.MULTILINE))

    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        keys(scratch)
        files, scaled = [], set()
        for overlay in OVERLAYS:
            text = run(overlay, options.kubectl, "kustomize", HERE / "overlays" / overlay)
            things = [thing for thing in yaml.safe_load_all(text) if thing]
            own = {key for t in things if t["kind"] == "Secret" for key in t.get("data", {})}
            validate(overlay, things)
            refer(overlay, things)
            secrets(overlay, things, listed | own)
            settings(overlay, things, programs)
            taken(overlay, things, options.programs, scratch)
            scaled |= scaled_by(things)
            files.append(scratch / f"{overlay}.yaml")
            files[-1].write_text(text)
            print(f"{overlay}: {len(things)} objects", flush=True)
        metrics(scaled)
        alerts(scratch, options.promtool)
        checkov = [tools / "checkov", "--quiet", "--compact", "--skip-download"]
        skipped = ",".join(NOT_FOLLOWED)
        run("policies", *checkov, "--framework", "kubernetes", "--skip-check", skipped, "-f", *files)
        run("policies of the Dockerfile", *checkov, "--framework", "dockerfile", "-f", HERE / "Dockerfile")
        run("the Dockerfile", tools / "hadolint", HERE / "Dockerfile")
    print("k8s: " + (f"{len(failures)} failures" if failures else "all good"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
