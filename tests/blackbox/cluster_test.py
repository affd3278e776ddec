"""ringpostd and ringpost-tsad beside each other: what one server is answered, the daemon knows at
once; a daemon that is killed and comes again under load costs no mail and no record."""
import contextlib
import json
import os
import re
import sys
import threading
import time
import urllib.request

from harness import TSAD, BlackBox, Config, Server, wait_until
from smtp_client import Client

AWAY = float(os.environ.get("AWAY", "0"))  # for so many seconds a daemon is dead, under load
CONTENT = b"Subject: test\r\n\r\nhello\r\n"
TSS04 = "421 4.7.0 [TSS04] Messages temporarily deferred"
RULES = """
[[default.automation]]
regex = '\\[TSS04\\]'
action = "Suspend"
duration = "1h"
"""
CONFIG = """node = {{ state_dir = "state" }}
shaping = {{ files = ["rules.toml"] }}
[[http_listener]]
listen = "{listen}"
"""


class Cluster(BlackBox):
    def folder_of(self, name):
        folder = os.path.join(self.folder, name)
        os.makedirs(folder)
        with open(os.path.join(folder, "rules.toml"), "w", encoding="utf-8") as file:
            file.write(RULES)
        return folder

    def daemon(self):
        """It has the same port whenever it starts."""
        server = self.watched(Server(self.folder_of("tsa"), CONFIG.format(listen="127.0.0.1:0")))
        server.program = TSAD
        server.start()
        server.configure(CONFIG.format(listen=server.ready["http"]))
        return server

    def mta(self, name, sink, extra):
        config = Config(sink.port, node={"shards": 2}, extra=extra)
        return self.watched(Server(self.folder_of(name), config)).start()

    def get(self, server, path):
        with urllib.request.urlopen(f"http://{server.ready['http']}{path}", timeout=60) as answer:
            return answer.read().decode()

    def metric(self, server, name):
        found = re.search(rf"(?m)^{name}(?:{{.*}})? (\S+)$", self.get(server, "/metrics"))
        return float(found.group(1))

    def effects(self, daemon):
        return json.loads(self.get(daemon, "/tsa/status"))["effects"]

    def publishing(self, daemon, rules=""):
        return f"{rules}[tsa]\nmode = \"off\"\npublish = [\"http://{daemon.ready['http']}\"]\n"

    def test_what_a_server_is_answered_the_daemon_knows_at_once(self):
        daemon = self.daemon()
        sink = self.sink(on_rcpt=lambda *_: TSS04)
        mta = self.mta("mta", sink, self.publishing(
            daemon, "[shaping]\nfiles = [\"rules.toml\"]\n"))
        self.client(mta).submit(CONTENT, ["a@x.test"])
        wait_until(lambda: self.effects(daemon) == 1, "the effect")
        (row,) = json.loads(self.get(daemon, "/get_suspension_v1/suspended.json"))["ready_q"]
        self.assertEqual(row["reason"], TSS04)
        self.assertRegex(row["site_name"], r"^unspecified->.*@smtp_client$")
        mta.stop()
        daemon.stop()

    @contextlib.contextmanager
    def load(self, *servers):
        """Mail to load.test through all of these, until the end; how many in all."""
        ended = threading.Event()
        sent = {server: 0 for server in servers}

        def send(server):
            while not ended.is_set():
                with contextlib.closing(Client(server.address)) as client:
                    for _ in range(500):  # fewer than a connection may carry
                        if not ended.is_set():
                            client.submit(CONTENT, ["a@load.test"])
                            sent[server] += 1

        threads = [threading.Thread(target=send, args=(server,)) for server in servers]
        for thread in threads:
            thread.start()
        try:
            yield sent
        finally:
            ended.set()
            for thread in threads:
                thread.join()

    def remote(self, server, figure):
        found = re.search(rf'(?m)^ringpost_rule_reaction_seconds_{figure}'
                          r'{scope="remote"} (\S+)$', self.get(server, "/metrics"))
        return float(found.group(1))

    def wait_for(self, server, name, count):
        wait_until(lambda: self.metric(server, name) >= count, f"{name} of {count}")

    def test_a_server_that_only_subscribes_holds_back_too_whatever_becomes_of_the_daemon(self):
        daemon = self.daemon()
        sink = self.sink(on_rcpt=lambda *_: TSS04)
        busy = self.sink()
        queue = (f'[queues.queue."load.test"]\n'
                 f'protocol = {{smtp = {{mx_list = ["[127.0.0.1]:{busy.port}"]}}}}\n'
                 '[queues.queue."other.test"]\n'
                 f'protocol = {{smtp = {{mx_list = ["127.0.0.1:{sink.port}"]}}}}\n')
        first = self.mta("first", sink, queue + self.publishing(daemon))
        second = self.mta("second", sink,
                          f"{queue}[tsa]\nsubscribe = [\"http://{daemon.ready['http']}\"]\n")
        self.wait_for(second, "ringpost_subscribe_snapshots_total", 1)
        with self.load(first, second) as sent:
            self.client(first).submit(CONTENT, ["a@x.test"])
            self.wait_for(second, "ringpost_automation_effects", 1)
            wait_until(lambda: self.remote(second, "count") == 1, "all threads")
            took = self.remote(second, "sum")
            print(f"the other server obeys after {took * 1000:.1f} ms", file=sys.stderr)
            self.assertLess(took, 1)
            for _ in range(5):
                self.client(second).submit(CONTENT, ["a@x.test"])
            time.sleep(1.5)  # what has been done in its last second a kill may lose
            daemon.kill()
            time.sleep(AWAY)
            before = dict(sent)
            wait_until(lambda: all(sent[server] > before[server] + 100 for server in sent),
                       "mail without a daemon")
            daemon.start()
            self.wait_for(second, "ringpost_subscribe_snapshots_total", 2)
            self.client(first).submit(CONTENT, ["a@other.test"])
            self.wait_for(second, "ringpost_automation_effects", 2)
        for server in (first, second):
            wait_until(lambda server=server: len(server.events("Delivery")) == sent[server],
                       "all mail of the load")
        self.assertEqual(self.metric(second, "ringpost_subscribe_gaps_total"), 0)
        self.assertEqual(second.events("TransientFailure"), [])
        found = json.loads(self.get(second, "/api/admin/explain/v1?domain=x.test"))
        self.assertEqual((found["reason"], found["count"]), ("suspended_rule", 5))
        self.assertRegex(second.errors(), r"event=automation change=begun .*from=subscription")
        for server in (first, second, daemon):
            server.stop()

    def test_a_daemon_that_is_killed_under_load_costs_no_mail_and_no_record(self):
        daemon = self.daemon()
        sink = self.sink()
        mta = self.mta("mta", sink, self.publishing(daemon))
        ended = threading.Event()
        sent = []

        def send():
            with contextlib.closing(self.client(mta)) as client:
                while not ended.is_set():
                    client.submit(CONTENT, [f"a{len(sent)}@x.test"])
                    sent.append(time.monotonic())

        thread = threading.Thread(target=send)
        thread.start()
        try:
            wait_until(lambda: self.metric(mta, "ringpost_publish_records_total") > 50, "records")
            daemon.kill()
            mta.wait_line("publish")
            before = len(sent)
            wait_until(lambda: len(sent) > before + 100, "mail without a daemon")
            daemon.start()
            wait_until(lambda: self.metric(mta, "ringpost_publish_lag_seconds") == 0, "no lag")
        finally:
            ended.set()
            thread.join()
        mta.wait_events("Delivery", len(sent))
        wait_until(lambda: self.metric(mta, "ringpost_publish_records_total") == len(sent),
                   "every record")
        states = re.findall(r"event=publish .*\bstate=(\w+)", mta.errors())
        self.assertEqual(states, ["failing", "well"])
        mta.stop()
        daemon.stop()
