"""Hosts of a test's own, on which the files of packaging/examples run as they are, but for folders.

One host is the network namespace that the test itself stands in. Several have one each, reach each
other over that of the test, which stands at 10.0.0.254, and may be cut off. Needs root and
iproute2, else the test is skipped. All of it is gone when the test ends.
"""
import json
import os
import shutil
import subprocess

import netns
from harness import BIN, RINGPOST, ROOT, SECONDS, Server, wait_until

EXAMPLES = os.path.join(ROOT, "packaging", "examples")
FILES_OF_ALL = ("shaping.toml", "iana.toml")  # of packaging/etc, beside those of an example
GATEWAY = "169.254.1.1"
TEST_ADDRESS = "10.0.0.254"
FOLDERS = {"/var/lib": "lib", "/var/log": "log"}
SMALL = 'segment_size = "4MiB"\nmin_free_space = "64MiB"'  # of a spool; see harness.Config


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, check=False, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Daemon(Server):
    """One of the programs on a host."""

    def __init__(self, host, name, config):
        self.host, self.name = host, name
        super().__init__(host.folder, config)
        self.program = os.path.join(BIN, name)
        self.before = host.before

    def configure(self, config):
        self.config_path = os.path.join(self.folder, f"{self.name}.toml")
        super().configure(config)


class Host:
    """The one that the test stands on."""

    address = "127.0.0.1"
    before = ()  # words in front of a program that is to run there

    def __init__(self, test, example):
        self.test = test
        self.examples = os.path.join(EXAMPLES, example)
        self.folder = os.path.join(test.folder, self.address)
        for name in FOLDERS.values():
            os.makedirs(os.path.join(self.folder, name))
        for name in FILES_OF_ALL:
            shutil.copy(os.path.join(ROOT, "packaging", "etc", name), self.folder)

    def daemon(self, name, file, more):
        """With a file of the example, and what the test has to say behind it."""
        with open(os.path.join(self.examples, file), encoding="utf-8") as example:
            text = example.read()
        for there, here in FOLDERS.items():
            text = text.replace(there, os.path.join(self.folder, here))
        text = text.replace("[spool]\n", f"[spool]\n{SMALL}\n")
        return self.test.watched(Daemon(self, name, text + more))

    def ask(self, *words):
        """The JSON of the operator's command, given on the host; None when it says no."""
        done = subprocess.run([*self.before, RINGPOST, *words, "--json"], capture_output=True,
                              check=False, text=True, timeout=SECONDS)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def wait_reason(self, domain, reason):
        """Until it says that this is why mail for the domain does not move."""
        def holds():
            found = self.ask("explain", "--domain", domain)
            return found is not None and found["reason"] == reason
        wait_until(holds, f"{reason} for {domain} at {self.address}")


class DistantHost(Host):
    """One in a namespace of its own. `address` is of 10.0.0.0/24."""

    def __init__(self, test, example, address):
        self.address = address
        super().__init__(test, example)
        self.namespace = f"ringpost-{os.getpid()}-{address}"
        self.link = "to-" + address.rpartition(".")[2]
        self.before = ("ip", "netns", "exec", self.namespace)
        ip("netns", "add", self.namespace)
        test.addCleanup(ip, "netns", "del", self.namespace)
        ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns",
           self.namespace)
        ip("addr", "add", f"{GATEWAY}/32", "dev", self.link)
        self.join()
        inside = ("-n", self.namespace)
        ip(*inside, "link", "set", "lo", "up")
        ip(*inside, "link", "set", "eth0", "up")
        ip(*inside, "addr", "add", f"{address}/32", "dev", "eth0")
        ip(*inside, "route", "add", GATEWAY, "dev", "eth0")
        ip(*inside, "route", "add", "default", "via", GATEWAY, "dev", "eth0")

    def join(self):
        ip("link", "set", self.link, "up")
        ip("route", "replace", self.address, "dev", self.link, "src", TEST_ADDRESS)

    def cut(self):
        """Nothing reaches it, and nothing of it reaches anybody."""
        ip("link", "set", self.link, "down")


def network(test, *addresses):
    """A namespace of the test's own with these addresses beside TEST_ADDRESS, for all that it does
    from here on."""
    if os.geteuid() != 0 or shutil.which("ip") is None or not netns.enter():
        test.skipTest("needs root, network namespaces and iproute2")
    for address in (TEST_ADDRESS, *addresses):
        ip("addr", "add", f"{address}/32", "dev", "lo")
    with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as file:
        file.write("1")
