"""What the black-box tests share: a folder, a running ringpostd, its events.

A test knows the contract (configuration, lines on standard error, SMTP, event files, exit codes)
and nothing of the code. Nothing here sleeps for a fixed time: everything is awaited.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("RINGPOST_BIN", os.path.join(ROOT, "build", "release", "bin"))
PEERS = os.environ.get("RINGPOST_PEERS", os.path.join(ROOT, "build", "peers", "bin"))
RINGPOSTD = os.path.join(BIN, "ringpostd")
TSAD = os.path.join(BIN, "ringpost-tsad")
RINGPOST = os.path.join(BIN, "ringpost")
BENCH = os.path.join(BIN, "ringpost-bench")
FAULTS = os.path.join(os.path.dirname(BIN), "tests", "ringpostd-faults")
FOLDERS = os.path.join(ROOT, "build", "blackbox")
SECONDS = 30  # for anything that is awaited; far more than it takes


def wait_until(condition, what, seconds=SECONDS):
    """The first true value of condition()."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.01)


def free_port():
    """A port nobody listens on; for things that cannot take port 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def drop_mounts(folder):
    """What a test that was killed has left mounted below its folder."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        left = [line.split()[1] for line in mounts if line.split()[1].startswith(folder + "/")]
    for path in reversed(left):
        subprocess.run(["umount", "-l", path], check=False)


def pairs(line):
    """The key=value pairs of a log line."""
    found = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', line)
    return {key: value.strip('"') for key, value in found}


def toml(value):
    """A value as TOML; JSON's spelling of strings, numbers, booleans and lists is TOML's, too."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


class Config:
    """The configuration of the contract's black-box start, with a test's own values over it."""

    def __init__(self, sink_port=None, **more):
        self.node = {"hostname": "mta.test", "state_dir": "state", "shards": 2}
        # Small segments: what a start writes in advance is else most of what the tests wait for.
        self.spool = {"path": "spool", "min_free_space": "64MiB", "segment_size": "16MiB"}
        self.log = {"path": "log", "flush_interval": "100ms"}
        self.queue = {"retry_interval": "1s"}
        if sink_port is not None:
            self.mx_list(f"[127.0.0.1]:{sink_port}")
        self.shaping = {"enable_tls": "Disabled", "connection_limit": 50}
        self.listener = {"listen": "127.0.0.1:0"}
        self.extra = ""
        for section, values in more.items():
            if section == "extra":
                self.extra = values
            else:
                getattr(self, section).update(values)

    def mx_list(self, *hosts):
        self.queue["protocol"] = {"smtp": {"mx_list": list(hosts)}}

    def text(self):
        def table(values):
            return "".join(f"{key} = {toml(value)}\n" for key, value in values.items())

        return (f"node = {toml(self.node)}\nspool = {toml(self.spool)}\nlog = {toml(self.log)}\n"
                f"[queues.queue.default]\n{table(self.queue)}"
                f"[shaping.\"default\"]\n{table(self.shaping)}"
                f"[[smtp_listener]]\n{table(self.listener)}"
                f"[[http_listener]]\nlisten = \"127.0.0.1:0\"\n{self.extra}")


class Server:
    """One process of a daemon after the other on one folder: ringpostd, or what `program` says."""

    def __init__(self, folder, config):
        self.folder = folder
        self.config_path = os.path.join(folder, "t.toml")
        self.program = RINGPOSTD
        self.before = []  # words in front of it
        self.environment = None
        self.process = None
        self.lines = []
        self.changed = threading.Condition()
        self.reader = None
        self.ready = {}
        self.address = None
        self.configure(config)

    def configure(self, config):
        self.config = config
        with open(self.config_path, "w", encoding="utf-8") as file:
            file.write(config if isinstance(config, str) else config.text())

    # ---- standard error

    def read_lines(self, stream):
        for raw in stream:
            with self.changed:
                self.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.lines.append(None)
            self.changed.notify_all()

    def wait_line(self, event, seconds=SECONDS):
        """The pairs of the first line of this event; fails at once when the process ends first."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while True:
                for line in self.lines:
                    if line is not None and re.search(rf"\bevent={event}\b", line):
                        return pairs(line)
                left = deadline - time.monotonic()
                if left <= 0 or (self.lines and self.lines[-1] is None):
                    raise AssertionError(f"no event={event} in: {self.errors()}")
                self.changed.wait(left)

    def errors(self):
        return "\n".join(line for line in self.lines if line is not None)

    # ---- start and stop

    def launch(self, *arguments, **options):
        """Starts without waiting."""
        assert self.process is None, "it runs already"
        self.lines = []
        self.process = subprocess.Popen(
            [*self.before, self.program, "-c", self.config_path, *arguments], cwd=self.folder,
            env=self.environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
        self.reader = threading.Thread(target=self.read_lines, args=(self.process.stderr,))
        self.reader.start()
        return self

    def start(self, *arguments, **options):
        """Starts and waits until it is ready."""
        return self.launch(*arguments, **options).wait_ready()

    def wait_ready(self):
        self.ready = self.wait_line("ready")
        if "smtp" in self.ready:
            self.address = address_of(self.ready["smtp"].split(",")[0])
        return self

    def wait_exit(self, seconds=SECONDS):
        """The exit code, when it ends by itself or by a signal sent before."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not end within {seconds} s: {self.errors()}") from None
        finally:
            self.reader.join()
            self.process.stderr.close()
            self.process = None
        return code

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, seconds=SECONDS):
        """A clean stop: exit 0, the counters it tells, and none that must be zero is not."""
        self.signal(signal.SIGTERM)
        code = self.wait_exit(seconds)
        if code != 0:
            raise AssertionError(f"exit {code} at a clean stop: {self.errors()}")
        told = self.wait_line("stopped")
        counters = {key: int(value) for key, value in told.items() if value.isdigit()}
        for name in ("lost_wakeups", "cq_overflows"):
            if counters[name] != 0:
                raise AssertionError(f"{name}={counters[name]}")
        return counters

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.wait_exit()

    def end(self):
        """However the test went."""
        if self.process is not None:
            self.kill()

    # ---- events

    def events(self, *types):
        """All records so far, by the tool; of these types only when any is given."""
        records = [json.loads(line) for line in self.event_lines()]
        return [record for record in records if not types or record["type"] in types]

    def event_lines(self):
        """All records so far as lines, one after the other: there may be very many."""
        if not os.path.isdir(os.path.join(self.folder, "log")):
            return  # it is made with the first record
        with subprocess.Popen([RINGPOST, "events", "-c", self.config_path, "--json"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tool:
            yield from tool.stdout
            errors = tool.stderr.read().decode()
        if tool.returncode != 0:
            raise AssertionError(f"ringpost events: {tool.returncode}: {errors}")

    def wait_events(self, kind, count, seconds=SECONDS):
        """Once at least so many of this type are on disk: all of this type."""
        def enough():
            found = self.events(kind)
            return found if len(found) >= count else None
        return wait_until(enough, f"{count} {kind}", seconds)

    def log_files(self):
        folder = os.path.join(self.folder, "log")
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]


def address_of(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def zstdcat(paths):
    """The lines in event files, as a stranger to Ringpost reads them."""
    done = subprocess.run(["zstdcat", *paths], capture_output=True, check=False, timeout=SECONDS)
    return done.stdout.splitlines(), done.returncode


class BlackBox(unittest.TestCase):
    """A test with a folder of its own on a real disk, kept when the test fails; what is registered
    with addCleanup is stopped whatever happens."""

    maxDiff = 2000
    failed = False

    def setUp(self):
        self.folder = os.path.join(FOLDERS, type(self).__module__, self._testMethodName)
        drop_mounts(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.addCleanup(self.drop_folder)

    def _callTestMethod(self, method):
        with self.noticing_failure():
            super()._callTestMethod(method)

    @contextlib.contextmanager
    def subTest(self, *arguments, **named):
        with super().subTest(*arguments, **named), self.noticing_failure():
            yield

    @contextlib.contextmanager
    def noticing_failure(self):
        try:
            yield
        except unittest.SkipTest:
            raise
        except BaseException:
            self.failed = True
            raise

    def drop_folder(self):
        if not self.failed:
            shutil.rmtree(self.folder, ignore_errors=True)

    def show(self, server):
        if self.failed:
            print(f"--- {self.folder}: {server.errors()[-4000:]}", file=sys.stderr)

    def server(self, config, *arguments):
        """A started server that is killed at the end of the test, if it still runs."""
        server = self.unstarted(config)
        return server.start(*arguments)

    def unstarted(self, config):
        return self.watched(Server(self.folder, config))

    def watched(self, server):
        """It is ended with the test, and what it said is shown when that failed."""
        self.addCleanup(self.show, server)
        self.addCleanup(server.end)
        return server

    def faulty(self, config, *rules):
        """An unstarted server whose ring obeys these rules (shard/ring_faults.h)."""
        if not os.access(FAULTS, os.X_OK):
            self.skipTest("ringpostd-faults is not built")
        server = self.unstarted(config)
        server.program = FAULTS
        server.environment = {**os.environ, "RINGPOST_FAULTS": ";".join(rules)}
        return server

    def run_daemon(self, *arguments, seconds=SECONDS, **options):
        """A ringpostd that is expected to end by itself: exit code and standard error."""
        done = subprocess.run([RINGPOSTD, *arguments], cwd=options.pop("cwd", self.folder),
                              stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=seconds, **options)
        return done.returncode, done.stdout.decode() + done.stderr.decode()

    def sink(self, **behaviour):
        from smtp_sink import Sink
        sink = Sink(**behaviour)
        self.addCleanup(sink.close)
        return sink

    def client(self, server, **options):
        from smtp_client import Client
        client = Client(server.address, **options)
        self.addCleanup(client.close)
        return client

    def peer(self, name):
        """The path of a program of another mail server, or a skip."""
        path = os.path.join(PEERS, name)
        if not os.access(path, os.X_OK):
            self.skipTest(f"{name} is not unpacked: tools/setup test")
        return path
