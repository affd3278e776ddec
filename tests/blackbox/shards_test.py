"""Another number of threads at each start (F-27), on a real disk, with kills in between."""
import json
import os
import random
import subprocess
import time
from collections import Counter, defaultdict

from harness import RINGPOST, SECONDS, BlackBox, Config, wait_until

LATER = "450 4.2.0 Later"
BODY = b"Subject: test\r\n\r\n" + b"0123456789abcdef\r\n" * 200
LARGE = b"Subject: large\r\n\r\n" + b"fedcba9876543210\r\n" * 30000  # in pieces


class Shards(BlackBox):
    def setUp(self):
        super().setUp()
        self.later = True
        self.sent = 0
        self.promised = set()  # recipients
        self.sink_ = self.sink(on_rcpt=self.on_rcpt)
        self.config = Config(self.sink_.port, node={"shards": 2},
                             spool={"segment_size": "1MiB"}, queue={"retry_interval": "2s",
                                                                     "max_retry_interval": "2s"})

    def on_rcpt(self, _, recipient):
        return LATER if self.later and recipient.startswith("later") else None

    def submit(self, server, messages):
        """A connection each, so that all threads get some."""
        for _ in range(messages):
            number, self.sent = self.sent, self.sent + 1
            to = [f"later{number}@x.test", f"ok{number}@y.test"]
            client = self.client(server)
            self.assertEqual(client.submit(LARGE if number % 10 == 0 else BODY, to).code, 250)
            client.close()
            self.promised |= set(to)

    def restart(self, server, shards, kills=0):
        """`kills` starts are ended before they are over."""
        self.config.node["shards"] = shards
        server.configure(self.config)
        for _ in range(kills):
            server.launch()
            time.sleep(random.uniform(0, 0.3))
            server.kill()
        queued = self.check_tools()
        server.start()
        self.assertEqual(int(server.ready["queued"]), queued)

    def taken(self):
        return Counter(to for mail in list(self.sink_.mails) for to in mail.recipients)

    def tool(self, part):
        """What it says of the stopped spool."""
        done = subprocess.run([RINGPOST, "spool", part, "--spool", "spool", "--json"],
                              cwd=self.folder, check=False, capture_output=True, timeout=SECONDS)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual((done.returncode, done.stderr), (0, b""),
                         [line for line in lines if line["type"] == "damage"])
        return lines

    def check_tools(self):
        """Every deferred recipient is queued, once, wherever it stands; how many are queued."""
        listed = Counter(one["address"] for message in self.tool("list")
                         for one in message["recipients"])
        self.assertEqual({to for to in self.promised if to.startswith("later")} - set(listed),
                         set())
        self.assertEqual(set(listed.values()), {1})
        queued = sum(line["queued_recipients"] for line in self.tool("check")
                     if line["type"] == "lane")
        self.assertEqual(queued, sum(listed.values()))
        return queued

    def check_events(self, server):
        """One story for each recipient; what was told twice is the same."""
        told = {}
        for record in server.events():
            before = told.setdefault(record["event_id"], record)
            self.assertEqual(before, record)
        stories = defaultdict(list)
        for record in told.values():
            stories[record["recipient"]].append(record)
        self.assertEqual(set(stories), self.promised)
        for to, records in stories.items():
            kinds = Counter(record["type"] for record in records)
            attempts = [record["num_attempts"] for record in records
                        if record["type"] == "Delivery"]
            self.assertEqual(attempts, [1 + kinds["TransientFailure"]], to)
            self.assertEqual(kinds["Reception"], 1, to)

    def test_f27_two_eight_two_threads_with_kills_in_between(self):
        server = self.server(self.config)
        self.submit(server, 30)
        server.kill()
        self.restart(server, 8, kills=3)
        self.submit(server, 40)
        time.sleep(random.uniform(0, 1))
        server.kill()
        self.assertEqual(len([name for name in os.listdir(os.path.join(self.folder, "spool"))
                              if name.startswith("lane-")]), 8)
        self.restart(server, 2, kills=5)
        self.submit(server, 10)
        server.kill()
        self.restart(server, 2)
        self.later = False
        wait_until(lambda: set(self.taken()) == self.promised, "all is delivered", 60)
        server.wait_events("Delivery", len(self.promised))
        server.stop()
        # A delivery whose outcome was not durable at a kill comes again; deferred mail does not.
        twice = {to for to, times in self.taken().items() if times > 1}
        self.assertEqual({to for to in twice if to.startswith("later")}, set())
        self.check_events(server)
        for _ in range(2):
            server.start()
            self.assertEqual(server.ready["queued"], "0")
            server.stop()
        self.assertEqual(sorted(name for name in os.listdir(os.path.join(self.folder, "spool"))
                                if name.startswith("lane-")), ["lane-000", "lane-001"])
