"""Load from our own bench: sources and sinks in C that keep ledgers (bench/ledger.h), and what
those say. They run on whatever becomes of the server between them."""
import json
import os
import signal
import subprocess
from typing import NamedTuple

from harness import BENCH, SECONDS, address_of, pairs, wait_until


class Entry(NamedTuple):
    """A line of a ledger; times are seconds of the monotonic clock, `ended` 0 is never."""
    number: int
    hash: str
    begun: float
    ended: float
    recipients: tuple
    reply: str


def entry_of(line):
    number, digest, begun, ended, recipients, *reply = line.rstrip("\n").split(" ", 5)
    return Entry(int(number), digest, int(begun) / 1e9, int(ended) / 1e9,
                 tuple(recipients.split(",")) if recipients != "-" else (),
                 reply[0] if reply else "")


class Process:
    """One verb of ringpost-bench with a ledger in the folder of the test."""

    def __init__(self, test, name, verb, *words):
        self.path = os.path.join(test.folder, f"{name}.ledger")
        self.errors_path = os.path.join(test.folder, f"{name}.errors")
        with open(self.errors_path, "wb") as errors:
            self.process = subprocess.Popen(
                [BENCH, verb, "--ledger", self.path, "--json", *words], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=errors)
        self.read_to = 0
        test.addCleanup(self.end)

    def end(self):
        """SIGTERM; the exit code, and what it says of itself."""
        if self.process.stdout.closed:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            said, _ = self.process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode, json.loads(said)

    def new_entries(self):
        """The whole lines that were written since the last call."""
        with open(self.path, encoding="ascii") as ledger:
            ledger.seek(self.read_to)
            text = ledger.read()
        text = text[:text.rfind("\n") + 1]
        self.read_to += len(text)
        return [entry_of(line) for line in text.splitlines()]


class BenchSink(Process):
    def __init__(self, test, name, *words, listen="127.0.0.1:0"):
        super().__init__(test, name, "sink", "--listen", listen, *words)
        self.port = wait_until(self.listens, f"the sink to listen: {self.errors_path}")

    def listens(self):
        with open(self.errors_path, encoding="utf-8") as errors:
            told = pairs(errors.read())
        return address_of(told["sink"])[1] if "sink" in told else None


class BenchSource(Process):
    def __init__(self, test, name, address, *words):
        super().__init__(test, name, "source", "--connect", address, *words)
