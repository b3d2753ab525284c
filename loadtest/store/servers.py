"""What a store stands on: a PostgreSQL, a Redis and a store-api of our own, on free ports."""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

SERVICE_TOKEN = "a service token of more than 32 characters"
JWT_SECRET = "a secret that signs the tokens of a measurement"
# So high that nobody meets them: everybody comes from one address here.
NO_LIMIT = "1000000/s burst 1000000"
TICKS = os.sysconf("SC_CLK_TCK")


def pinned(command, cpu):
    """The command, kept to one CPU, or to none when `cpu` is None."""
    return command if cpu is None else ["taskset", "-c", str(cpu), *command]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(pid, and_children=False):
    """User and system time of a process; of its children too, living and dead."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    if and_children:
        ticks += int(fields[13]) + int(fields[14])
    total = ticks / TICKS
    if and_children:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(FileNotFoundError):
                total += cpu_seconds(child)
    return total


def end(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Postgres:
    """A server on a socket in a directory of its own. It is durable: fsync is on, as in production."""

    def __init__(self, cpu=None):
        self.programs = self._programs()
        self.directory = tempfile.mkdtemp(prefix="fireside-measure-")
        # PostgreSQL does not run as root.
        self.user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        shutil.chown(self.directory, self.user)
        data = f"{self.directory}/data"
        self._run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        server = [f"{self.programs}/postgres", "-D", data, "-k", self.directory, "-c", "listen_addresses="]
        with open(f"{self.directory}/log", "wb") as log:
            self.process = subprocess.Popen(self._as_user(pinned(server, cpu)), stdout=log, stderr=log, cwd="/")
        self.url = f"postgres://postgres@localhost/postgres?host={self.directory}"
        until = time.monotonic() + 30
        while self._asks("SELECT 1").returncode != 0:
            if time.monotonic() > until or self.process.poll() is not None:
                raise SystemExit(f"PostgreSQL did not start: {self.directory}/log")
            time.sleep(0.1)

    @staticmethod
    def _programs():
        for place in [*sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), pathlib.Path("/usr/bin")]:
            if (place / "initdb").exists():
                return place
        raise SystemExit("no PostgreSQL: apt-get install postgresql")

    def _as_user(self, command):
        return ["setpriv", "--reuid", self.user, "--regid", self.user, "--init-groups", *command] if os.geteuid() == 0 else command

    def _run(self, program, *arguments):
        subprocess.run(self._as_user([f"{self.programs}/{program}", *arguments]), check=True, cwd="/", stdout=subprocess.DEVNULL)

    def _asks(self, statement):
        command = [f"{self.programs}/psql", "-X", "-q", "-A", "-t", "-h", self.directory, "-U", "postgres", "-c", statement]
        return subprocess.run(command, capture_output=True, text=True)

    def ask(self, statement):
        """What a statement answers, as text."""
        answer = self._asks(statement)
        if answer.returncode != 0:
            raise SystemExit(f"{statement}: {answer.stderr}")
        return answer.stdout.strip()

    def cpu_seconds(self):
        return cpu_seconds(self.process.pid, and_children=True)

    def stop(self):
        # Whoever is connected still is disconnected.
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        shutil.rmtree(self.directory, ignore_errors=True)


class Redis:
    """A server that keeps nothing on disk."""

    def __init__(self, cpu=None):
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}"
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(pinned(command, cpu), stdout=subprocess.DEVNULL, cwd="/")
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            time.sleep(0.05)
        raise SystemExit("Redis did not start")

    def cpu_seconds(self):
        return cpu_seconds(self.process.pid)

    def stop(self):
        end(self.process)


class Store:
    """A store-api, with every limit by person and address out of the way."""

    def __init__(self, program, postgres, redis, cpu=None, settings=()):
        self.directory = tempfile.mkdtemp(prefix="fireside-measure-")
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.program = str(program)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FIRESIDE_")},
            "FIRESIDE_LISTEN": f"127.0.0.1:{port}",
            "FIRESIDE_DATA_DIR": self.directory,
            "FIRESIDE_DATABASE_URL": postgres.url,
            "FIRESIDE_REDIS_URL": redis.url,
            "FIRESIDE_JWT_SECRET": JWT_SECRET,
            "FIRESIDE_SERVICE_TOKEN": SERVICE_TOKEN,
            "FIRESIDE_SEED_GAMES": "300",
            "FIRESIDE_VISITOR_RATE": NO_LIMIT,
            "FIRESIDE_STORE_USER_RATE": NO_LIMIT,
            # Nobody asks for minutes while others are measured.
            "FIRESIDE_QUEUE_TIMEOUT": "1h",
            **dict(settings),
        }
        with open(f"{self.directory}/log", "wb") as log:
            self.process = subprocess.Popen(
                pinned([self.program], cpu), env=self.environment, stdout=log, stderr=log
            )
        for _ in range(300):
            if self.process.poll() is not None:
                break
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{self.address}/readyz", timeout=5).close()
                return
            time.sleep(0.1)
        raise SystemExit(pathlib.Path(f"{self.directory}/log").read_text())

    def cpu_seconds(self):
        return cpu_seconds(self.process.pid)

    def check_ledger(self):
        """What `ledger check` says of the books; the measurement is void if it finds a fault."""
        answer = subprocess.run(
            [self.program, "ledger", "check"], env=self.environment, capture_output=True, text=True
        )
        if answer.returncode != 0:
            raise SystemExit(f"the books are wrong: {answer.stdout}{answer.stderr}")
        return answer.stdout.strip().splitlines()[-1]

    def stop(self):
        end(self.process)
        shutil.rmtree(self.directory, ignore_errors=True)
