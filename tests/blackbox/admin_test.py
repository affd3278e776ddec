"""What operators order and ask over HTTP: mail stands still, ends, goes on, and says why."""
import http.client
import json
import urllib.parse

from harness import BlackBox, Config, address_of

CONTENT = b"Subject: test\r\n\r\nhello\r\n"
SECONDS = 20


class Admin(BlackBox):
    def ask(self, server, method, path, **members):
        """The status, and the answer's JSON, or its line."""
        connection = http.client.HTTPConnection(*address_of(server.ready["http"]),
                                                timeout=SECONDS)
        url = f"/api/admin/{path}/v1"
        if method == "GET":
            connection.request(method, f"{url}?{urllib.parse.urlencode(members)}")
        else:
            connection.request(method, url, json.dumps(members),
                               {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        kind = answer.getheader("Content-Type") or ""
        return answer.status, json.loads(said) if "json" in kind else said.decode()

    def order(self, server, path, **members):
        status, said = self.ask(server, "POST", path, reason="testing", **members)
        self.assertEqual(status, 200, said)
        return said

    def explain(self, server, **what):
        status, said = self.ask(server, "GET", "explain", **what)
        self.assertEqual(status, 200, said)
        return said

    def test_a_suspension_outlives_a_kill_and_ends_when_it_is_taken_back(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        entry = self.order(server, "suspend", domain="x.test", duration="1h")
        first, _ = self.client(server).submit(CONTENT, ["a@x.test"]).ids
        self.client(server).submit(CONTENT, ["a@y.test"])
        server.wait_events("Delivery", 1)
        said = self.explain(server, queue="x.test")
        self.assertEqual((said["state"], said["reason"], said["detail"], said["count"]),
                         ("suspended", "suspended_admin", "testing", 1))
        server.kill()
        server.start()
        self.assertEqual(self.explain(server, id=first)["reason"], "suspended_admin")
        status, said = self.ask(server, "GET", "inspect-message", id=first, want_body="true")
        self.assertEqual(status, 200, said)
        self.assertEqual(said["message"]["recipient"], "a@x.test")
        self.assertTrue(said["message"]["data"].endswith(CONTENT.decode()), said)
        self.assertEqual(len(sink.wait(1)), 1)
        status, entries = self.ask(server, "GET", "suspend")
        self.assertEqual([found["id"] for found in entries], [entry["id"]])
        self.assertEqual(self.ask(server, "DELETE", "suspend", id=entry["id"])[0], 200)
        server.wait_events("Delivery", 2)
        self.assertIn("action=cancel", server.errors())
        server.stop()

    def test_a_bounce_ends_all_mail_of_a_domain_once(self):
        sink = self.sink(on_rcpt=lambda *_: "451 4.0.0 Later")
        server = self.server(Config(sink.port, queue={"retry_interval": "1h"}))
        client = self.client(server)
        for _ in range(50):
            client.submit(CONTENT, ["a@x.test", "b@x.test", "a@y.test"])
        server.wait_events("TransientFailure", 150)
        tried = self.order(server, "bounce", domain="x.test", dry_run=True)
        self.assertEqual((tried["recipients"], tried["samples"]), (100, ["x.test"]))
        self.order(server, "bounce", domain="x.test")
        client.submit(CONTENT, ["late@x.test"])
        records = server.wait_events("AdminBounce", 101)
        self.assertEqual(len({record["id"] for record in records}), 101)
        for record in records:
            self.assertEqual(record["response"]["code"], 551)
            self.assertIn("testing", record["response"]["content"])
        _, entries = self.ask(server, "GET", "bounce")
        self.assertEqual(entries[0]["total_bounced"], 101)
        self.assertEqual(self.explain(server, domain="y.test")["count"], 50)
        self.assertEqual(server.stop()["admin_bounces"], 101)

    def test_a_flush_tries_deferred_mail_at_once(self):
        busy = [True]
        sink = self.sink(on_rcpt=lambda *_: "451 4.0.0 Later" if busy[0] else None)
        server = self.server(Config(sink.port, queue={"retry_interval": "1h"}))
        self.client(server).submit(CONTENT, ["a@x.test"])
        server.wait_events("TransientFailure", 1)
        self.assertEqual(self.explain(server, queue="x.test")["last_response"],
                         "451 4.0.0 Later")
        busy[0] = False
        self.assertEqual(self.order(server, "flush", everything=True)["recipients"], 1)
        server.wait_events("Delivery", 1)
        server.stop()

    def test_mail_gets_another_queue_and_a_kill_does_not_take_it_back(self):
        busy = [True]
        sink = self.sink(on_rcpt=lambda *_: "451 4.0.0 Later" if busy[0] else None)
        server = self.server(Config(sink.port, queue={"retry_interval": "1h"}))
        client = self.client(server)
        for _ in range(20):
            client.submit(CONTENT, ["a@x.test", "b@y.test"])
        server.wait_events("TransientFailure", 40)
        said = self.order(server, "rebind", domain="x.test", data={"campaign": "spring"})
        self.assertEqual((said["rebound"], said["left"]), (20, 0))
        server.kill()
        server.start()
        self.assertEqual(self.explain(server, queue="spring:@x.test")["count"], 20)
        self.assertEqual(self.explain(server, queue="y.test")["count"], 20)
        self.assertEqual(self.explain(server, queue="x.test")["count"], 0)
        busy[0] = False
        self.order(server, "flush", everything=True)
        records = server.wait_events("Delivery", 40)
        self.assertEqual({record["queue"] for record in records}, {"spring:@x.test", "y.test"})
        self.assertEqual(len({record["id"] for record in records}), 40)
        self.assertEqual(len(sink.wait(40)), 40)
        server.stop()

    def test_what_makes_no_sense_is_refused_in_a_line(self):
        server = self.server(Config())
        for members in ({}, {"domain": "x.test", "everything": True}, {"domain": 1},
                        {"everything": True, "suppress_logging": True}):
            status, said = self.ask(server, "POST", "suspend", reason="r", **members)
            self.assertEqual(status, 400, said)
        self.assertEqual(self.ask(server, "POST", "suspend", domain="x.test")[0], 400)
        self.assertEqual(self.ask(server, "GET", "explain", queue="none.test")[0], 404)
        self.assertEqual(self.ask(server, "GET", "suspend"), (200, []))
        server.stop()
