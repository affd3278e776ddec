"""Notifications that Ringpost sends itself (RFC 3461, RFC 3464): to whom, of what, how often."""
import email
import http.client
import json
import time

from harness import BlackBox, Config, address_of, wait_until
from smtp_sink import EVERYTHING

SENDER = "from@sender.test"
CONTENT = b"Subject: the original\r\nX-Own: 1\r\n\r\nhello\r\n"
REFUSAL = "550 5.1.1 No such user here"


def refuse(mail, recipient):
    return REFUSAL if recipient.endswith("@bad.test") else None


class Notify(BlackBox):
    def submit(self, server, recipients, sender=SENDER, mail="", content=CONTENT):
        """`recipients`: by address, what is said behind the path."""
        client = self.client(server)
        self.assertEqual(client.command(f"MAIL FROM:<{sender}>{mail}").code, 250)
        for to, parameters in recipients.items():
            self.assertEqual(client.command(f"RCPT TO:<{to}>{parameters}").code, 250)
        self.assertEqual(client.data(content).code, 250)
        client.close()

    def reports(self, sink):
        return [mail for mail in sink.mails if mail.sender == ""]

    def wait_reports(self, sink, count):
        def enough():
            found = self.reports(sink)
            return found if len(found) >= count else None
        return wait_until(enough, f"{count} reports", 20)

    def parse(self, mail, sender=SENDER):
        """Of a report: itself, the fields of the message, those of its recipients."""
        self.assertEqual(mail.recipients, [sender])
        report = email.message_from_bytes(mail.content)
        parts = list(report.walk())
        self.assertEqual([part.defects for part in parts], [[]] * len(parts))
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertEqual(report["Auto-Submitted"], "auto-replied")
        groups = report.get_payload(1).get_payload()
        return report, groups[0], groups[1:]

    def counter(self, server, name):
        connection = http.client.HTTPConnection(*address_of(server.ready["http"]), timeout=20)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return sum(float(line.split()[-1]) for line in text.splitlines()
                   if line.startswith(f"ringpost_{name}_total"))

    def test_a_failure_is_told_with_all_that_the_sender_named(self):
        for ret in ("FULL", "HDRS"):
            sink = self.sink(on_rcpt=refuse)
            server = self.server(Config(sink.port))
            self.submit(server, {"a@bad.test": " NOTIFY=FAILURE ORCPT=rfc822;Orig+2Binal@x.test"},
                        mail=f" RET={ret} ENVID=QQ+2B1")
            report, message, groups = self.parse(self.wait_reports(sink, 1)[0])
            self.assertEqual(report["To"], f"<{SENDER}>")
            self.assertEqual(message["Original-Envelope-Id"], "QQ+1")
            self.assertEqual(message["Reporting-MTA"], "dns;mta.test")
            self.assertEqual(len(groups), 1)
            self.assertEqual(groups[0]["Final-Recipient"], "rfc822;a@bad.test")
            self.assertEqual(groups[0]["Original-Recipient"], "rfc822;Orig+inal@x.test")
            self.assertEqual((groups[0]["Action"], groups[0]["Status"]), ("failed", "5.1.1"))
            self.assertEqual(groups[0]["Diagnostic-Code"], "smtp; " + REFUSAL)
            returned = report.get_payload(2)
            if ret == "FULL":
                self.assertEqual(returned.get_content_type(), "message/rfc822")
                self.assertEqual(returned.get_payload(0).get_payload().strip(), "hello")
            else:
                self.assertEqual(returned.get_content_type(), "text/rfc822-headers")
                self.assertIn("Subject: the original", returned.get_payload())
                self.assertNotIn("hello", returned.get_payload())
            bounce = server.wait_events("Bounce", 1)[0]
            self.assertEqual(bounce["recipient"], "a@bad.test")
            received = {event["sender"]: event for event in server.wait_events("Reception", 2)}
            self.assertEqual(received[""]["recipient"], SENDER)
            self.assertEqual(received[""]["reception_protocol"], "DSN")
            self.assertIsNone(received[""]["peer_address"])
            server.stop()

    def test_c23_who_is_told_what_follows_from_notify(self):
        asked = {"none": "", "never": " NOTIFY=NEVER", "success": " NOTIFY=SUCCESS",
                 "failure": " NOTIFY=FAILURE", "delay": " NOTIFY=DELAY",
                 "both": " NOTIFY=FAILURE,SUCCESS"}
        for extensions, relayed in ((EVERYTHING, {"success", "both"}),
                                    (EVERYTHING + ("DSN",), set())):
            sink = self.sink(on_rcpt=refuse, extensions=extensions)
            server = self.server(Config(sink.port))
            self.submit(server, {f"{name}@{domain}.test": parameters
                                 for domain in ("good", "bad")
                                 for name, parameters in asked.items()})
            server.wait_events("Delivery", len(asked))
            server.wait_events("Bounce", len(asked))
            server.stop()  # what was asked for is stored before the outcome is
            server.start()
            expected = {f"{name}@good.test": "relayed" for name in relayed}
            expected.update({f"{name}@bad.test": "failed" for name in ("failure", "both")})
            told = {}

            def all_told():
                told.clear()
                for mail in self.reports(sink):
                    for group in self.parse(mail)[2]:
                        self.assertNotIn(group["Final-Recipient"], told)
                        told[group["Final-Recipient"]] = group["Action"]
                return len(told) >= len(expected)
            wait_until(all_told, "all reports", 20)
            time.sleep(0.5)
            all_told()
            self.assertEqual(told, {f"rfc822;{to}": action for to, action in expected.items()})
            server.stop()

    def test_d11_nobody_is_told_of_mail_without_a_sender_nor_of_a_report(self):
        sink = self.sink(on_rcpt=lambda mail, recipient: REFUSAL)
        server = self.server(Config(sink.port))
        self.submit(server, {"a@bad.test": " NOTIFY=FAILURE,SUCCESS,DELAY"}, sender="")
        self.submit(server, {"b@bad.test": " NOTIFY=FAILURE"})
        bounces = server.wait_events("Bounce", 3)
        self.assertEqual(sorted(event["recipient"] for event in bounces),
                         ["a@bad.test", "b@bad.test", SENDER])
        time.sleep(0.5)
        server.stop()
        self.assertEqual(len(server.events("Reception")), 3)
        self.assertEqual(len(server.events("Bounce")), 3)

    def test_what_expires_and_what_an_operator_ends_is_told(self):
        sink = self.sink(on_rcpt=lambda mail, to: None if to == SENDER else "450 4.2.0 Later")
        server = self.server(Config(sink.port, queue={"retry_interval": "1s", "max_age": "3s"}))
        self.submit(server, {"a@old.test": " NOTIFY=FAILURE"})
        _, _, groups = self.parse(self.wait_reports(sink, 1)[0])
        self.assertEqual((groups[0]["Final-Recipient"], groups[0]["Status"]),
                         ("rfc822;a@old.test", "5.4.7"))
        self.assertIsNone(groups[0]["Remote-MTA"])
        connection = http.client.HTTPConnection(*address_of(server.ready["http"]), timeout=20)
        connection.request("POST", "/api/admin/bounce/v1",
                           json.dumps({"domain": "end.test", "reason": "enough"}),
                           {"Content-Type": "application/json"})
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()
        self.submit(server, {"b@end.test": " NOTIFY=FAILURE"})
        _, _, groups = self.parse(self.wait_reports(sink, 2)[1])
        self.assertEqual(groups[0]["Final-Recipient"], "rfc822;b@end.test")
        self.assertIn("enough", groups[0]["Diagnostic-Code"])
        server.wait_events("AdminBounce", 1)
        server.stop()

    def test_d12_of_many_recipients_each_is_told_of_once_and_of_a_large_body_its_header(self):
        sink = self.sink(on_rcpt=refuse)
        server = self.server(Config(sink.port))
        recipients = {f"r{i}@bad.test": " NOTIFY=FAILURE" for i in range(90)}
        large = CONTENT + b"line of text\r\n" * 60000
        self.submit(server, recipients, mail=" RET=FULL", content=large)
        server.wait_events("Bounce", len(recipients))
        told = []

        def all_told():
            told[:] = [group["Final-Recipient"] for mail in self.reports(sink)
                       for group in self.parse(mail)[2]]
            return len(told) >= len(recipients)
        wait_until(all_told, "all reports", 20)
        self.assertEqual(sorted(told), sorted("rfc822;" + to for to in recipients))
        for mail in self.reports(sink):
            self.assertLess(len(mail.content), 256 * 1024)
            self.assertEqual(self.parse(mail)[0].get_payload(2).get_payload().split(),
                             ["Subject:", "the", "original", "X-Own:", "1"])
        server.stop()

    def test_a_sender_gets_no_more_than_its_rate_and_outcomes_do_not_wait(self):
        sink = self.sink(on_rcpt=refuse)
        server = self.server(Config(sink.port, node={"shards": 1}))
        begun = time.monotonic()
        client = self.client(server)
        for i in range(150):
            client.command(f"MAIL FROM:<{SENDER}>")
            client.command(f"RCPT TO:<r{i}@bad.test> NOTIFY=FAILURE")
            self.assertEqual(client.data(CONTENT).code, 250)
        self.submit(server, {"other@bad.test": " NOTIFY=FAILURE"}, sender="other@sender.test")
        server.wait_events("Bounce", 151)
        most = 100 + int(time.monotonic() - begun) + 1
        server.wait_events("Delivery", 101)
        mine = [mail for mail in self.reports(sink) if mail.recipients == [SENDER]]
        self.assertGreaterEqual(len(mine), 100)
        self.assertLessEqual(len(mine), most)
        self.assertEqual(len(self.reports(sink)) - len(mine), 1)
        self.assertEqual(self.counter(server, "reports_dropped"), 150 - len(mine))
        self.assertEqual(self.counter(server, "reports_stored"), len(mine) + 1)
        server.stop()


if __name__ == "__main__":
    import unittest
    unittest.main()
