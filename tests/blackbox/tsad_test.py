"""ringpost-tsad: records in, effects out to subscribers, over kills and restarts."""
import asyncio
import contextlib
import gzip
import http.client
import json
import os
import re
import signal
import subprocess
import time
import tomllib

import websockets

from harness import TSAD, BlackBox, address_of, wait_until

SECONDS = 30

CONFIG = """node = { state_dir = "state" }
shaping = { files = ["shaping.toml"] }
[sources.source."ip1"]
[[http_listener]]
listen = "127.0.0.1:0"
"""

SHAPING = """
[["default".automation]]
regex = "hold back"
action = "Suspend"
duration = "1 hour"

[["a.test".automation]]
regex = "slow down"
action = [{SetConfig = {name = "connection_limit", value = 1}}, "BounceTenant"]
duration = "1 hour"

[provider."p"]
match = [{MXSuffix = ".p.test"}]

[[provider."p".automation]]
regex = "provider"
action = "Suspend"
trigger = {Threshold = "2/hr"}
duration = "1 hour"
"""


def record(content, domain="a.test", mx=None, **more):
    return {"type": "TransientFailure", "id": "0", "sender": "a@s.test",
            "recipient": f"u@{domain}", "queue": f"c:t@{domain}",
            "site": f"ip1->{mx or 'mx.' + domain}@smtp_client", "egress_source": "ip1",
            "timestamp": int(time.time()), "meta": {}, "headers": {},
            "response": {"code": 451, "enhanced_code": {"class": 4, "subject": 7, "detail": 650},
                         "content": content, "command": "."}, **more}


class Tsad(BlackBox):
    def begin(self):
        server = self.unstarted(CONFIG)
        server.program = TSAD
        self.shaping(SHAPING)
        return server.start()

    def shaping(self, text):
        with open(os.path.join(self.folder, "shaping.toml"), "w", encoding="utf-8") as file:
            file.write(text)

    def ask(self, server, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(*address_of(server.ready["http"]),
                                                timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, body,
                               {key.replace("_", "-"): value for key, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def get(self, server, path):
        status, text = self.ask(server, "GET", path)
        self.assertEqual(status, 200, text)
        return text

    def publish(self, server, *records):
        for row in records:
            status, text = self.ask(server, "POST", "/publish_log_v1", json.dumps(row),
                                    Content_Type="application/json")
            self.assertEqual((status, json.loads(text)["accepted"]), (200, 1), text)

    def url(self, server, path):
        return f"ws://{server.ready['http']}{path}"

    def hear(self, server, path, count):
        """The next `count` messages of a new subscriber."""
        async def run():
            async with websockets.connect(self.url(server, path)) as socket:
                return [json.loads(await asyncio.wait_for(socket.recv(), SECONDS))
                        for _ in range(count)]
        return asyncio.run(run())

    def status(self, server):
        return json.loads(self.get(server, "/tsa/status"))

    def test_what_is_published_is_told_and_shown(self):
        server = self.begin()
        self.publish(server, record("hold back"), record("slow down"), record("nothing"),
                     record("provider", "b.test", "(mx1|mx2).p.test"),
                     record("provider", "c.test", "mx.q.test"))
        self.assertEqual(self.status(server)["effects"], 3)
        lines = [json.dumps(record("provider", "b.test", "(mx1|mx2).p.test")), "{", "",
                 json.dumps(record("provider", "c.test", "mx.q.test"))]
        status, text = self.ask(server, "POST", "/publish_log_v1",
                                gzip.compress("\n".join(lines).encode()),
                                Content_Type="application/x-ndjson", Content_Encoding="gzip")
        self.assertEqual((status, json.loads(text)), (200, {
            "accepted": 2, "rejected": [{"line": 2, "error": "not one JSON document"}]}))

        suspended = json.loads(self.get(server, "/get_suspension_v1/suspended.json"))
        self.assertEqual([row["site_name"] for row in suspended["ready_q"]],
                         ["ip1->mx.a.test@smtp_client", "ip1->(mx1|mx2).p.test@smtp_client"])
        self.assertEqual(suspended["ready_q"][0]["reason"], "451 4.7.650 hold back")
        bounced = json.loads(self.get(server, "/get_bounce_v1/bounced.json"))
        self.assertEqual([(row["domain"], row["tenant"]) for row in bounced], [("a.test", "t")])
        config = tomllib.loads(self.get(server, "/get_config_v1/shaping.toml"))
        self.assertEqual(config, {"a.test": {"mx_rollup": True, "sources": {
            "ip1": {"connection_limit": 1}}}})

        events = self.hear(server, "/subscribe_event_v1", 3)
        self.assertEqual([list(event) for event in events],
                         [["ReadyQSuspension"], ["SchedQBounce"], ["ReadyQSuspension"]])
        self.assertEqual(list(events[0]["ReadyQSuspension"]),
                         ["rule_hash", "site_name", "reason", "source", "expires"])
        changes = self.hear(server, "/subscribe_event_v2", 5)
        self.assertEqual(changes[1]["config"]["value"], "1")
        self.assertTrue(changes[4]["complete"])
        self.assertIn("ringpost_tsa_effects 4\n", self.get(server, "/metrics"))
        server.stop()

    def test_d10_reports_count_when_they_are_signed_and_it_is_wanted(self):
        server = self.begin()
        self.shaping(SHAPING.replace('regex = "hold back"\naction = "Suspend"',
                                     'regex = "hold back"\naction = "Bounce"'))

        def bounced(name, state="valid", domain="a.test"):
            return record("hold back", domain, type="OOB", site="", egress_source=None,
                          reference={"state": state, "id": name, "domain": domain})

        def name():
            return f"{int(time.time() * 1000):012x}70008000000000000000"

        server.signal(signal.SIGHUP)
        server.wait_line("reload")
        self.publish(server, bounced(name()))
        self.assertEqual(self.status(server)["effects"], 0)
        server.stop()
        server.start("--set", "tsa.judge_reports=true")
        early = f"{int(time.time() * 1000) - 3600000:012x}70008000000000000000"
        once = name()
        self.publish(server, bounced(once, "forged"), bounced(early),
                     record("hold back", "a.test", type="OOB"), *[bounced(once)] * 5)
        told = self.status(server)
        self.assertEqual((told["effects"], told["matches"]), (1, 1))
        self.assertEqual((told["reports"], told["reports_passed"]), (1, 5))
        server.stop()

    def test_a_kill_keeps_effects_and_begins_another_epoch(self):
        server = self.begin()
        self.publish(server, record("hold back"))
        before = self.hear(server, "/subscribe_event_v2", 2)
        time.sleep(1)  # what is promised
        server.kill()
        server.start()
        after = self.hear(server, f"/subscribe_event_v2?after={before[1]['seq']}", 2)
        self.assertNotEqual(before[0]["epoch"], after[0]["epoch"])
        self.assertTrue(after[0]["snapshot"] and after[1]["complete"])
        self.assertEqual(before[0]["event"], after[0]["event"])
        self.assertGreater(after[1]["seq"], before[1]["seq"])
        self.publish(server, record("hold back", "b.test"))
        self.assertEqual(self.hear(server, f"/subscribe_event_v2?after={after[1]['seq']}", 1)[0]
                         ["event"]["ReadyQSuspension"]["site_name"], "ip1->mx.b.test@smtp_client")
        server.stop()

    def test_one_of_a_hundred_subscribers_stands_still(self):
        server = self.begin()
        host, port = address_of(server.ready["http"])

        async def run():
            still = await asyncio.open_connection(host, port, limit=1)
            still[1].write(b"GET /subscribe_event_v1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                           b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
                           b"Sec-WebSocket-Version: 13\r\n"
                           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            await still[1].drain()
            async with contextlib.AsyncExitStack() as stack:
                sockets = [await stack.enter_async_context(
                    websockets.connect(self.url(server, "/subscribe_event_v1")))
                    for _ in range(99)]
                lines = "\n".join(json.dumps(record("hold back", f"d{number}.test"))
                                  for number in range(500))
                loop = asyncio.get_running_loop()
                status, _ = await loop.run_in_executor(
                    None, lambda: self.ask(server, "POST", "/publish_log_v2", lines,
                                           Content_Type="application/x-ndjson"))
                self.assertEqual(status, 200)
                for socket in sockets:
                    names = [json.loads(await asyncio.wait_for(socket.recv(), SECONDS))
                             ["ReadyQSuspension"]["site_name"] for _ in range(500)]
                    self.assertEqual(names, [f"ip1->mx.d{number}.test@smtp_client"
                                             for number in range(500)])
            still[1].close()

        asyncio.run(run())
        server.stop()

    def test_rules_are_loaded_again_or_stay(self):
        server = self.begin()
        self.shaping(SHAPING.replace("hold back", "go away"))
        server.signal(signal.SIGHUP)
        self.assertEqual(server.wait_line("reload")["applied"], "yes")
        self.publish(server, record("hold back"), record("go away", "b.test"))
        self.assertEqual(self.status(server)["effects"], 1)
        self.shaping(SHAPING.replace('"hold back"', '"("'))
        server.signal(signal.SIGHUP)
        wait_until(lambda: any(line and line.startswith("event=reload applied=no")
                               for line in server.lines), "the reload")
        self.publish(server, record("go away", "c.test"))
        self.assertEqual(self.status(server)["effects"], 2)
        server.stop()

    def test_the_command_line(self):
        def run(*arguments):
            done = subprocess.run([TSAD, *arguments], capture_output=True, text=True,
                                  timeout=SECONDS, cwd=self.folder, check=False)
            return done.returncode, done.stdout + done.stderr

        code, text = run("--version")
        self.assertEqual(code, 0)
        self.assertTrue(re.fullmatch(r"ringpost-tsad \S+\n", text), text)
        self.assertEqual(run("--nonsense")[0], 2)
        self.assertEqual(run("--check")[0], 0)
        code, text = run("--check", "--set", "spool.path=x")
        self.assertEqual(code, 3)
        self.assertIn("[spool] is not for ringpost-tsad", text)
        code, text = run("--check", "--set", "http_listener.0.tokens=x")
        self.assertEqual(code, 3)
        self.assertIn("tokens", text)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "var")))
