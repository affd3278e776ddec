"""What [log] lists of a message stands in its event records: metadata and header fields."""
import http.client
import json
import re
import signal

from harness import SECONDS, BlackBox, Config, address_of, wait_until, zstdcat

HEADER = (b"Subject: hello\r\n"
          b"X-Order: 1\r\n"
          b"To: somebody\r\n"
          b"x-order:\r\n  2\r\n"
          b"X-Nasty: \x1b[31m\"}}\x7f\xff\r\n")
CONTENT = HEADER + b"\r\nX-Order: no field\r\n"
FIELDS = {"Subject": "hello", "X-Order": ["1", "2"], "X-Nasty": "\x1b[31m\"}}\x7f\ufffd"}
LISTS = {"meta": ["received_*", "ehlo_domain", "campaign", "extra", "x_*", "tenant"],
         "headers": ["subject", "X-*"]}
EXTRA = {"x_order": 4711, "list": [1.5, None, {"a": "\u2028\r\n"}], "x_none": None}


class Details(BlackBox):
    def inject(self, server, recipients):
        connection = http.client.HTTPConnection(*address_of(server.ready["http"]),
                                                timeout=SECONDS)
        request = {"envelope_sender": "a@from.test", "recipients": recipients,
                   "content": "Subject: from HTTP\n\nhello\n", "template_dialect": "Static"}
        connection.request("POST", "/api/inject/v1", json.dumps(request),
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = json.loads(answer.read())
        connection.close()
        self.assertEqual((answer.status, said["fail_count"]), (200, 0), said)
        return said

    def wait_counted(self, server, name, count):
        """Counted is what is durable."""
        def enough():
            connection = http.client.HTTPConnection(*address_of(server.ready["http"]),
                                                    timeout=SECONDS)
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            connection.close()
            found = re.findall(rf"^{name}\{{[^}}]*smtp_client[^}}]*\}} (\d+)", text, re.M)
            return sum(map(int, found)) >= count
        wait_until(enough, name)

    def check_smtp(self, record):
        self.assertEqual(record["headers"], FIELDS)
        meta = record["meta"]
        self.assertEqual(set(meta), {"received_from", "received_via", "ehlo_domain"}, record)
        self.assertRegex(meta["received_from"], r"^127\.0\.0\.1:\d+$")

    def test_receptions_deliveries_and_bounces_tell_what_is_listed(self):
        sink = self.sink(on_rcpt=lambda mail, to: "550 5.1.1 No" if "bad" in to else None)
        server = self.server(Config(sink.port, log=LISTS))
        self.client(server).submit(CONTENT, ["good@example.com", "bad@example.com"])
        for kind, count in (("Reception", 2), ("Delivery", 1), ("Bounce", 1)):
            records = server.wait_events(kind, count)
            self.assertEqual(len(records), count)
            for record in records:
                self.check_smtp(record)
        self.assertEqual(sink.wait(1)[0].content.split(b"\r\n", 4)[-1], CONTENT)
        lines, _ = zstdcat(server.log_files())
        self.assertFalse(re.search(rb"[\x00-\x1f\x7f]", b"".join(lines)))
        server.stop()

    def test_nothing_is_told_that_is_not_listed(self):
        server = self.server(Config(self.sink().port))
        self.client(server).submit(CONTENT)
        self.inject(server, [{"email": "a@example.com", "metadata": EXTRA}])
        for record in server.wait_events("Delivery", 2):
            self.assertEqual((record["meta"], record["headers"]), ({}, {}))
        server.stop()

    def test_metadata_of_an_injections_recipients_are_told_of_each(self):
        server = self.server(Config(self.sink().port, log=LISTS))
        said = self.inject(server, [
            {"email": "a@example.com", "metadata": EXTRA},
            {"email": "b@example.com", "metadata": EXTRA},
            {"email": "c@example.com", "metadata": {"x_order": "other"}},
            {"email": "d@example.com"}, {"email": "e@example.com", "metadata": {}}])
        # Those with the same metadata share a message.
        self.assertEqual([entry["count"] for entry in said["ids"]], [2, 1, 2])
        one = {"extra": EXTRA, "x_order": 4711, "received_from": "127.0.0.1"}
        wanted = {"a": one, "b": one, "d": {"received_from": "127.0.0.1"},
                  "c": {"extra": {"x_order": "other"}, "x_order": "other",
                        "received_from": "127.0.0.1"},
                  "e": {"received_from": "127.0.0.1"}}
        for kind in ("Reception", "Delivery"):
            records = server.wait_events(kind, 5)
            self.assertEqual({record["recipient"][0]: record["meta"] for record in records},
                             wanted)
            self.assertEqual({record["headers"]["Subject"] for record in records}, {"from HTTP"})
        server.stop()

    def test_what_is_read_from_the_spool_after_a_kill_says_the_same(self):
        sink = self.sink(on_rcpt=lambda mail, to: "450 4.2.1 Later" if "slow" in to else None)
        # Nothing reaches the event log before the kill.
        config = Config(sink.port, log={**LISTS, "flush_interval": "60s"})
        config.queue["retry_interval"] = "1h"
        server = self.server(config)
        self.client(server).submit(CONTENT, ["slow@example.com", "quick@example.com"])
        self.inject(server, [{"email": "h@example.com", "metadata": EXTRA}])
        self.wait_counted(server, "total_messages_delivered", 2)
        self.wait_counted(server, "total_messages_transfail", 1)
        server.kill()
        config.log["flush_interval"] = "100ms"
        server.configure(config)
        server.start()
        for kind, count in (("Reception", 3), ("Delivery", 2), ("TransientFailure", 1)):
            for record in server.wait_events(kind, count):
                if record["recipient"] == "h@example.com":
                    self.assertEqual(record["meta"]["extra"], EXTRA)
                    self.assertEqual(record["headers"], {"Subject": "from HTTP"})
                else:
                    self.check_smtp(record)
        server.stop()

    def test_rejections_tell_who_was_refused_and_muted_types_are_not_written(self):
        config = Config(self.sink().port, log={
            **LISTS, "per_record": {"Reception": {"enable": False}}})
        server = self.server(config)
        client = self.client(server)
        client.command("MAIL FROM:<a@b@c>")
        client.submit(CONTENT)
        server.wait_events("Delivery", 1)
        record, = server.wait_events("Rejection", 1)
        self.assertEqual(set(record["meta"]), {"received_from", "received_via", "ehlo_domain"})
        self.assertEqual(server.events("Reception"), [])
        server.stop()

    def test_lists_follow_a_reload(self):
        config = Config(self.sink().port)
        server = self.server(config)
        self.client(server).submit(CONTENT)
        server.wait_events("Delivery", 1)
        config.log.update(LISTS)
        server.configure(config)
        server.signal(signal.SIGHUP)
        server.wait_line("reload")
        self.client(server).submit(CONTENT)
        records = server.wait_events("Delivery", 2)
        self.assertEqual(records[0]["headers"], {})
        self.check_smtp(records[1])
        server.stop()
