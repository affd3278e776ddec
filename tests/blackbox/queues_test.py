"""Queues by tenant and campaign: named by header fields, which stay away from the receiver."""
import datetime
import http.client
import json

from harness import BlackBox, Config, address_of
from smtp_sink import EVERYTHING, PLAIN

QUEUES = """
[queues]
tenant_header = "X-Tenant"
remove_tenant_header = true
campaign_header = "X-Campaign"
[queues.tenant.acme]
[queues.tenant.zeta]
weight = 300
[queues.queue."example.com".acme.sale]
retry_interval = "3s"
"""


class Queues(BlackBox):
    def test_q02_fields_that_name_the_queue_are_removed_to_the_octet(self):
        sink = self.sink()
        server = self.server(Config(sink.port, extra=QUEUES))
        client = self.client(server)
        before = b"Subject: x\r\nX-Tenants: stay\r\n"
        after = b"X-Campaign: sale\r\nTo: y\r\n\r\nX-Tenant: body\r\n..dots\r\n" + b"z" * 900
        field = b"X-TENANT :\r\n acme\r\n"
        long = b"X-Long: " + b"y" * 900 + b"\r\n"
        contents = [field + before + after, before + field + after,
                    before + field + field + after,
                    long * 400 + field + after + b"\r\n" + (b"." * 70 + b"\r\n") * 9000]
        for number, content in enumerate(contents):
            for mode in ("data", "bdat"):
                to = f"{mode}{number}@example.com"
                chunk = {"chunk": 5000} if mode == "bdat" else {}
                self.assertEqual(client.submit(content, [to], mode=mode, **chunk).code, 250)
        for mail in sink.wait(2 * len(contents)):
            number = int(mail.recipients[0].split("@")[0].lstrip("databdt"))
            wanted = contents[number].replace(field, b"")
            self.assertTrue(mail.body.rstrip(b"\r\n") == wanted.rstrip(b"\r\n"), number)
        for record in server.wait_events("Delivery", 2 * len(contents)):
            self.assertEqual(record["queue"], "sale:acme@example.com")
            self.assertEqual(record["class"], "bulk")
        client.quit()
        server.stop()

    def test_q02_the_size_in_events_is_that_of_what_is_sent(self):
        sink = self.sink(extensions=PLAIN)
        server = self.server(Config(sink.port, extra=QUEUES))
        self.client(server).submit(b"X-Ringpost-Class: urgent\r\nA: b\r\n\r\nx\r\n")
        mail, = sink.wait(1)
        record, = server.wait_events("Delivery", 1)
        self.assertEqual(mail.body, b"A: b\r\n\r\nx\r\n")
        self.assertEqual(record["size"], len(mail.trace) + len(mail.body))
        self.assertEqual(record["queue"], "example.com")
        self.assertEqual(record["class"], "urgent")
        server.stop()

    def ask(self, server, method, path, body=None):
        connection = http.client.HTTPConnection(*address_of(server.ready["http"]), timeout=30)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = json.loads(answer.read())
        connection.close()
        return said

    def test_l15_injected_mail_has_schedules_of_its_own_in_zones_of_the_world(self):
        sink = self.sink()
        server = self.server(Config(sink.port, node={"shards": 1},
                                    extra='[queues]\nscheduling_header = "X-When"\n'))
        days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        today = datetime.datetime.now(datetime.timezone.utc).isoweekday()
        whole = {"tz": "America/Phoenix", "start": "00:00:00", "end": "24:00:00"}
        later = {"dow": days[(today + 3) % 7], **whole}
        schedules = {"now": {"dow": ",".join(days), **whole}, "later": later,
                     "over": {"expires": "2020-01-01T00:00:00Z"}, "wrong": {"tz": "Mars/Noon"}}
        answers = {}
        for name, schedule in schedules.items():
            content = f"X-When: {json.dumps(schedule)}\r\nSubject: {name}\r\n\r\nx\r\n"
            answers[name] = self.ask(server, "POST", "/api/inject/v1", json.dumps({
                "envelope_sender": "a@example.com", "content": content,
                "recipients": [{"email": f"b@{name}.test"}]}))
        self.assertEqual([answer["success_count"] for answer in answers.values()], [1, 1, 1, 0])
        self.assertIn("550 5.6.0 Schedule: tz is no time zone", str(answers["wrong"]["errors"]))
        mail, = sink.wait(1)
        self.assertIn(b"Subject: now\r\n", mail.content)
        self.assertNotIn(b"X-When", mail.content)
        record, = server.wait_events("Expiration", 1)
        self.assertEqual((record["recipient"], record["num_attempts"]), ("b@over.test", 0))
        said = self.ask(server, "GET", "/api/admin/explain/v1?queue=later.test")
        self.assertEqual(said["reason"], "not_due")
        self.assertEqual(said["detail"], "scheduled until " + said["next_attempt"])
        due = datetime.datetime.fromisoformat(said["next_attempt"].replace("Z", "+00:00"))
        self.assertEqual((due.hour, due.minute), (7, 0))  # midnight there, without summer time
        found, = self.ask(server, "GET", "/api/admin/inspect-sched-q/v1?queue_name=later.test"
                          )["messages"]
        self.assertEqual(found["message"]["scheduling"], later)
        server.stop()

    def test_q03_tenant_campaign_and_class_survive_a_kill(self):
        sink = self.sink(on_rcpt=lambda *_: "450 4.2.0 not now", extensions=EVERYTHING)
        config = Config(sink.port, extra=QUEUES)
        server = self.server(config)
        client = self.client(server)
        for tenant, campaign, kind in (("acme", "sale", "urgent"), ("zeta", "", "bulk")):
            content = (f"X-Tenant: {tenant}\r\nX-Campaign: {campaign}\r\n"
                       f"X-Ringpost-Class: {kind}\r\nA: {tenant}\r\n\r\nx\r\n")
            self.assertEqual(client.submit(content.encode()).code, 250)
        server.wait_events("TransientFailure", 2)
        server.kill()
        sink.on_rcpt = lambda *_: None
        config.extra = QUEUES.replace("[queues.tenant.acme]", "")
        config.extra = config.extra.replace('[queues.queue."example.com".acme.sale]\n'
                                            'retry_interval = "3s"', "")
        server.configure(config)
        server.start()
        records = server.wait_events("Delivery", 2)
        self.assertEqual({(record["queue"], record["class"]) for record in records},
                         {("sale:acme@example.com", "urgent"), ("zeta@example.com", "bulk")})
        bodies = sorted(mail.body for mail in sink.wait(2))
        self.assertEqual(bodies, [b"X-Campaign: \r\nA: zeta\r\n\r\nx\r\n",
                                  b"X-Campaign: sale\r\nA: acme\r\n\r\nx\r\n"])
        server.stop()

    def test_mail_to_postmaster_alone_has_a_queue_of_its_own(self):
        sink = self.sink(on_rcpt=lambda *_: "450 4.2.0 not now")
        server = self.server(Config(sink.port))
        self.client(server).submit(b"A: b\r\n\r\nx\r\n", ["postmaster"])
        server.wait_events("TransientFailure", 1)
        server.stop()  # which writes a checkpoint
        sink.on_rcpt = lambda *_: None
        server.start()
        record, = server.wait_events("Delivery", 1)
        self.assertEqual((record["recipient"], record["queue"]), ("postmaster", "@"))
        server.stop()
