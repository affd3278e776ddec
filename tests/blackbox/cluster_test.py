"""ringpostd and ringpost-tsad beside each other: what one server is answered, the daemon knows at
once; a daemon that is killed and comes again under load costs no mail and no record."""
import contextlib
import json
import os
import re
import threading
import time
import urllib.request

from harness import BIN, BlackBox, Config, Server, wait_until

CONTENT = b"Subject: test\r\n\r\nhello\r\n"
TSS04 = "421 4.7.0 [TSS04] Messages temporarily deferred"
RULES = """
[[default.automation]]
regex = '\\[TSS04\\]'
action = "Suspend"
duration = "1h"
"""
TSAD = """node = {{ state_dir = "state" }}
shaping = {{ files = ["rules.toml"] }}
[[http_listener]]
listen = "{listen}"
"""


class Daemon(Server):
    def wait_ready(self):
        self.ready = self.wait_line("ready")
        return self

    def clean(self):
        if self.process is not None:
            self.kill()


class Cluster(BlackBox):
    def folder_of(self, name):
        folder = os.path.join(self.folder, name)
        os.makedirs(folder)
        with open(os.path.join(folder, "rules.toml"), "w", encoding="utf-8") as file:
            file.write(RULES)
        return folder

    def daemon(self):
        """It has the same port whenever it starts."""
        server = Daemon(self.folder_of("tsa"), TSAD.format(listen="127.0.0.1:0"))
        server.program = os.path.join(BIN, "ringpost-tsad")
        self.addCleanup(self.show, server)
        self.addCleanup(server.clean)
        server.start()
        server.configure(TSAD.format(listen=server.ready["http"]))
        return server

    def mta(self, name, sink, extra):
        server = Server(self.folder_of(name), Config(sink.port, node={"shards": 2}, extra=extra))
        self.addCleanup(self.show, server)
        self.addCleanup(lambda: server.process is not None and server.kill())
        return server.start()

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
