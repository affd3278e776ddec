"""One node (docs/deployments.md), from its own example files: with the automation in the server,
and beside it."""
import time

import nodes
from harness import BlackBox, wait_until
from smtp_client import Client
from smtp_sink import Sink

SLOW = "10.0.0.252"
CONTENT = b"Subject: test\r\n\r\nhello\r\n"
TSS04 = "421 4.7.0 [TSS04] Messages temporarily deferred"
RULES = """
[[shaping."default".automation]]
regex = '\\[TSS04\\]'
action = "Suspend"
duration = "1h"
"""
QUEUES = f"""
[queues.queue.default]
protocol = {{ smtp = {{ mx_list = ["[{nodes.TEST_ADDRESS}]:2525"] }} }}
retry_interval = "1s"
[queues.queue."slow.test"]
protocol = {{ smtp = {{ mx_list = ["[{SLOW}]:2525"] }} }}
"""


class SingleNode(BlackBox):
    def sink_at(self, address, reply=None):
        sink = Sink(address=address, port=2525, on_rcpt=lambda *_: reply)
        self.addCleanup(sink.close)
        return sink

    def submit(self, *recipients):
        client = Client(("127.0.0.1", 25))
        self.addCleanup(client.close)
        for recipient in recipients:
            self.assertEqual(client.submit(CONTENT, [recipient]).code, 250)

    def start(self, example, *programs):
        """The programs in their order: name and file."""
        nodes.network(self, SLOW)
        self.taken = self.sink_at(nodes.TEST_ADDRESS)
        self.slow = self.sink_at(SLOW, TSS04)
        self.host = nodes.Host(self, example)
        more = {"ringpostd": RULES + QUEUES, "ringpost-tsad": RULES}
        return [self.host.daemon(name, file, more[name]).start() for name, file in programs]

    def judge(self, *killed):
        """A site says to go slower, and is left alone, whatever is killed; other mail moves."""
        self.submit("a@slow.test", "b@slow.test", "a@x.test")
        self.host.wait_reason("slow.test", "suspended_rule")
        self.taken.wait(1)
        time.sleep(1.5)  # what has been done in its last second a kill may lose
        for daemon in killed:
            daemon.kill()
            daemon.start()
            self.host.wait_reason("slow.test", "suspended_rule")
            told = len(self.slow.sessions)
            before = len(self.taken.mails)
            self.submit("c@slow.test", "c@x.test")
            self.taken.wait(before + 1)
            self.assertEqual(len(self.slow.sessions), told)

    def test_ringpostd_alone(self):
        server, = self.start("single-node", ("ringpostd", "ringpost.toml"))
        self.judge(server)
        server.stop()

    def test_with_ringpost_tsad_beside_it(self):
        daemon, server = self.start("single-node-tsad", ("ringpost-tsad", "tsad.toml"),
                                    ("ringpostd", "ringpost.toml"))
        self.judge(daemon, server)
        daemon.kill()
        self.submit("d@x.test")
        wait_until(lambda: any("d@x.test" in mail.recipients for mail in self.taken.mails),
                   "mail without the daemon")
        daemon.start()
        for each in (server, daemon):
            each.stop()
