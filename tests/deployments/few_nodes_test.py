"""A handful of nodes (docs/deployments.md), from their own example files: three, each with a server
and a daemon. What one server is answered holds back all three, whichever of the six is killed or
cut off meanwhile; and no mail is lost."""
import threading
import time

import nodes
from harness import BlackBox, wait_until
from smtp_client import Client
from smtp_sink import Sink

ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
SLOW_SITES = {"first.test": "10.0.0.252", "second.test": "10.0.0.253"}
CONTENT = b"Subject: test\r\n\r\nhello\r\n"
TSS04 = "421 4.7.0 [TSS04] Messages temporarily deferred"
RULES = """
[[shaping."default".automation]]
regex = '\\[TSS04\\]'
action = "Suspend"
duration = "1h"
"""
QUEUES = """
[queues.queue.default]
protocol = {{ smtp = {{ mx_list = ["[{all}]:2525"] }} }}
retry_interval = "1s"
[queues.queue."first.test"]
protocol = {{ smtp = {{ mx_list = ["[{first}]:2525"] }} }}
[queues.queue."second.test"]
protocol = {{ smtp = {{ mx_list = ["[{second}]:2525"] }} }}
""".format(all=nodes.TEST_ADDRESS, first=SLOW_SITES["first.test"], second=SLOW_SITES["second.test"])


class Load:
    """Mail to a node until it is told to end; what was promised is remembered."""

    def __init__(self, test, host):
        self.host, self.promised, self.ended = host, set(), False
        self.thread = threading.Thread(target=self.run)
        test.addCleanup(self.end)
        self.thread.start()

    def run(self):
        number = 0
        client = None
        while not self.ended:
            number += 1
            to = f"{number}@d{number % 7}.{self.host.address}.test"
            try:
                client = client or Client((self.host.address, 25), timeout=2)
                if client.submit(CONTENT, [to]).code == 250:
                    self.promised.add(to)
            except (OSError, EOFError, AssertionError):
                client = None
            time.sleep(0.01)

    def end(self):
        self.ended = True
        self.thread.join()


class FewNodes(BlackBox):
    def sink_at(self, address, reply=None):
        sink = Sink(address=address, port=2525, on_rcpt=lambda *_: reply)
        self.addCleanup(sink.close)
        return sink

    def start(self):
        nodes.network(self, *SLOW_SITES.values())
        self.taken = self.sink_at(nodes.TEST_ADDRESS)
        for address in SLOW_SITES.values():
            self.sink_at(address, TSS04)
        self.hosts = [nodes.DistantHost(self, "few-nodes", address) for address in ADDRESSES]
        self.daemons = [host.daemon("ringpost-tsad", "tsad.toml", RULES)
                        for host in self.hosts]
        self.servers = [host.daemon("ringpostd", "ringpost.toml", RULES + QUEUES)
                        for host in self.hosts]
        for daemon in self.daemons + self.servers:
            daemon.start()
        self.loads = [Load(self, host) for host in self.hosts]

    def wait_load(self, host_index):
        """Until the node takes mail (again)."""
        load = self.loads[host_index]
        before = len(load.promised)
        wait_until(lambda: len(load.promised) > before + 5, f"mail to {load.host.address}")

    def hold_back(self, domain, number):
        """One server is told by the site to go slower; all are held back."""
        client = Client((self.hosts[number].address, 25))
        self.addCleanup(client.close)
        self.assertEqual(client.submit(CONTENT, [f"a@{domain}"]).code, 250)
        for host in self.hosts:  # there has to be something that can be held back
            other = Client((host.address, 25))
            self.addCleanup(other.close)
            self.assertEqual(other.submit(CONTENT, [f"b@{domain}"]).code, 250)
        for host in self.hosts:
            host.wait_reason(domain, "suspended_rule")

    def test_whichever_is_killed_or_cut_off_all_are_held_back_and_no_mail_is_lost(self):
        self.start()
        for at in range(3):
            self.wait_load(at)
        self.hold_back("first.test", 0)
        time.sleep(1.5)  # what has been done in its last second a kill may lose
        for at, host in enumerate(self.hosts):
            self.daemons[at].kill()
            for one in range(3):
                self.wait_load(one)
            self.daemons[at].start()
            self.servers[at].kill()
            self.servers[at].start()
            self.wait_load(at)
            host.cut()
            for one in range(3):
                if one != at:
                    self.wait_load(one)
            host.join()
            self.wait_load(at)
        for host in self.hosts:
            host.wait_reason("first.test", "suspended_rule")
        self.hold_back("second.test", 2)
        for load in self.loads:
            load.end()
        promised = set().union(*(load.promised for load in self.loads))

        def missing():
            return promised - {to for mail in self.taken.mails for to in mail.recipients}
        wait_until(lambda: not missing(), "all mail at the sink")
        for daemon in self.servers + self.daemons:
            daemon.stop()
