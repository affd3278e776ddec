"""Rules of automation in a real server: replies hold mail back, over a kill, until an operator says
otherwise; the time from a reply until all threads obey."""
import json
import os
import re
import subprocess
import urllib.request

from harness import RINGPOST, BlackBox, Config, wait_until

CONTENT = b"Subject: test\r\n\r\nhello\r\n"
TSS04 = "421 4.7.0 [TSS04] Messages temporarily deferred"
RULES = """
[[default.automation]]
regex = '\\[TSS04\\]'
action = "Suspend"
duration = "1h"

["slow.test"]
mx_rollup = false

[["slow.test".automation]]
regex = 'slow down'
action = {SetConfig = {name = "max_message_rate", value = "7/minute"}}
duration = "1h"
"""


class Automation(BlackBox):
    def ask(self, server, *arguments, code=0):
        environment = {**os.environ, "RINGPOST_ENDPOINT": f"http://{server.ready['http']}"}
        done = subprocess.run([RINGPOST, *arguments], env=environment, cwd=self.folder, check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        self.assertEqual(done.returncode, code, done.stderr)
        return (done.stdout if code == 0 else done.stderr).decode()

    def effects(self, server):
        return json.loads(self.ask(server, "tsa", "status", "--json"))["effects"]

    def metric(self, server, name):
        with urllib.request.urlopen(f"http://{server.ready['http']}/metrics", timeout=60) as answer:
            found = re.search(rf"(?m)^{name}(?:{{.*}})? (\S+)$", answer.read().decode())
        return float(found.group(1))

    def ruled(self, reply):
        with open(os.path.join(self.folder, "rules.toml"), "w", encoding="utf-8") as file:
            file.write(RULES)
        sink = self.sink(on_rcpt=lambda *_: reply)
        return self.server(Config(sink.port, node={"shards": 3},
                                  extra="[shaping]\nfiles = [\"rules.toml\"]\n"))

    def test_a_reply_holds_all_threads_back_over_a_kill_until_it_is_cancelled(self):
        server = self.ruled(TSS04)
        self.assertEqual(self.ask(server, "tsa", "status"), "nothing is in force; 2 rules\n")
        self.client(server).submit(CONTENT, ["a@x.test"])
        server.wait_events("TransientFailure", 1)
        wait_until(lambda: self.effects(server), "an effect")
        (effect,) = self.effects(server)
        self.assertEqual((effect["action"], effect["reason"]), ("Suspend", TSS04))
        self.assertRegex(effect["rule"], r"rules\.toml:[23]$")
        wait_until(lambda: self.metric(server, "ringpost_rule_reaction_seconds_count") == 1, "all")
        self.assertLess(self.metric(server, "ringpost_rule_reaction_seconds_sum"), 1)
        for _ in range(12):
            self.client(server).submit(CONTENT, ["a@x.test"])
        wait_until(lambda: json.loads(self.ask(server, "explain", "--json", "x.test"))["reason"]
                   == "suspended_rule", "the reason")
        self.assertIn("suspended_rule: a rule", self.ask(server, "explain", "x.test"))
        self.assertIn(f"automation: {TSS04}", self.ask(server, "suspend", "--list"))
        table = self.ask(server, "tsa", "status")
        self.assertRegex(table, r"(?m)^ *1  Suspend +59m .*unspecified->\S+@smtp_client")
        wait_until(lambda: self.metric(server, "ringpost_automation_rows_total") > 0, "the disk")
        server.kill()
        server.start()
        self.assertEqual([e["id"] for e in self.effects(server)], [1])
        self.assertEqual(len(server.events("TransientFailure")), 1)
        self.assertIn("no effect", self.ask(server, "tsa", "cancel", "7", code=1))
        self.assertIn("wanted", self.ask(server, "tsa", "cancel", "x", code=2))
        self.assertEqual(self.ask(server, "tsa", "cancel", "1"), "cancelled: effect 1\n")
        server.wait_events("TransientFailure", 2)
        wait_until(lambda: [e["id"] for e in self.effects(server)] == [2], "the next effect")
        server.stop()

    def test_an_option_is_set_and_explained(self):
        server = self.ruled("451 4.7.0 slow down, please")
        self.client(server).submit(CONTENT, ["a@slow.test"])
        server.wait_events("TransientFailure", 1)
        wait_until(lambda: self.effects(server), "an effect")
        (effect,) = self.effects(server)
        self.assertEqual((effect["action"], effect["name"], effect["value"]),
                         ("SetConfig", "max_message_rate", '"7/minute"'))

        def rate():
            options = json.loads(self.ask(server, "explain", "--json", "slow.test"))["options"]
            return options.get("shaping.max_message_rate")  # a queue has one, too
        found = wait_until(rate, "the option")
        self.assertIn("automation", found["origin"])
        self.assertIn("rules.toml:", found["origin"])
        self.ask(server, "tsa", "cancel", str(effect["id"]))
        server.stop()
