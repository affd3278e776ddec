"""What clients ask for about notifications (RFC 3461): checked, kept, and passed on as it was."""
import http.client
import json

from harness import BlackBox, Config, address_of
from smtp_sink import EVERYTHING

CONTENT = b"Subject: test\r\n\r\nhello\r\n"
DSN = EVERYTHING + ("DSN",)
# What the client says behind the path, and what the next server hears.
MAIL = " ENVID=QQ+2B314159 RET=HDRS"
MAIL_SENT = " RET=HDRS ENVID=QQ+2B314159"
RECIPIENTS = {
    "a@x.test": (" NOTIFY=NEVER", " NOTIFY=NEVER"),
    "b@x.test": (" ORCPT=rfc822;Orig+2Binal@x.test NOTIFY=DELAY,success",
                 " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Orig+2Binal@x.test"),
    "c@x.test": ("", ""),
    "d@x.test": (" ORCPT=X-400;/C+3DDE/", " ORCPT=X-400;/C+3DDE/"),
}


class Dsn(BlackBox):
    def submit(self, server, recipients=tuple(RECIPIENTS)):
        client = self.client(server)
        self.assertEqual(client.command("MAIL FROM:<from@sender.test>" + MAIL).code, 250)
        for to in recipients:
            self.assertEqual(client.command(f"RCPT TO:<{to}>{RECIPIENTS[to][0]}").code, 250)
        self.assertEqual(client.data(CONTENT).code, 250)

    def heard(self, mail):
        """By path, the parameters that came; without SIZE and BODY, which are of every mail."""
        lines = {}
        for line in mail.connection.commands:
            if line.upper().startswith(("MAIL", "RCPT")):
                path, _, parameters = line.partition(">")
                words = [word for word in parameters.split(" ")
                         if word and not word.startswith(("SIZE=", "BODY="))]
                lines[path.partition("<")[2]] = "".join(" " + word for word in words)
        return lines

    def check(self, mails, sent):
        """Every recipient once, each with what belongs to it."""
        heard = {}
        for mail in mails:
            lines = self.heard(mail)
            lines.pop("", None)  # what the sender is told: notify_test.py
            self.assertEqual(lines.pop("from@sender.test"), MAIL_SENT if sent else "")
            heard.update(lines)
        self.assertEqual(heard, {to: texts[1] if sent else "" for to, texts in RECIPIENTS.items()})

    def test_c23_requests_are_passed_on_to_who_offers_dsn(self):
        sink = self.sink(extensions=DSN)
        server = self.server(Config(sink.port))
        self.submit(server)
        server.wait_events("Delivery", len(RECIPIENTS))
        self.check(sink.wait(1), True)
        server.stop()

    def test_c23_nothing_of_them_goes_to_who_does_not(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        self.submit(server)
        server.wait_events("Delivery", len(RECIPIENTS))
        self.check(sink.wait(1), False)
        server.stop()

    def test_c23_requests_are_kept_through_retries_kills_and_stops(self):
        refuse = {"on": True}
        sink = self.sink(extensions=DSN,
                         on_mail=lambda mail: "450 4.2.0 Later" if refuse["on"] else None)
        server = self.server(Config(sink.port, queue={"retry_interval": "1s"}))
        self.submit(server)
        server.wait_events("TransientFailure", len(RECIPIENTS))
        server.kill()
        server.start()
        server.stop()
        refuse["on"] = False
        server.start()
        server.wait_events("Delivery", len(RECIPIENTS))
        self.check(sink.wait(1), True)
        server.stop()

    def order(self, server, path, **members):
        connection = http.client.HTTPConnection(*address_of(server.ready["http"]), timeout=20)
        connection.request("POST", f"/api/admin/{path}/v1", json.dumps({"reason": "x", **members}),
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200, answer.read())
        connection.close()

    def test_c23_requests_are_kept_where_mail_is_written_again(self):
        refuse = {"on": True}
        sink = self.sink(extensions=DSN,
                         on_mail=lambda mail: "450 4.2.0 Later" if refuse["on"] else None)
        server = self.server(Config(sink.port, queue={"retry_interval": "1h"}))
        self.submit(server)
        server.wait_events("TransientFailure", len(RECIPIENTS))
        self.order(server, "rebind", domain="x.test", data={"campaign": "spring"})
        server.kill()
        server.start()
        refuse["on"] = False
        self.order(server, "flush", everything=True)
        server.wait_events("Delivery", len(RECIPIENTS))
        self.check(sink.wait(1), True)
        server.stop()

    def test_s19_what_cannot_be_is_refused(self):
        server = self.server(Config(2626))
        client = self.client(server)
        for parameters in (" RET=X", " RET=FULL RET=FULL", " ENVID=" + "x" * 101, " ENVID=a+0D+0A",
                           " ENVID=a=b"):
            reply = client.command("MAIL FROM:<a@b.test>" + parameters)
            self.assertTrue(repr(reply).startswith("501 5.5.4"), (parameters, reply))
        self.assertEqual(client.command("MAIL FROM:<a@b.test> ENVID=" + "x" * 100).code, 250)
        for parameters in (" NOTIFY=NEVER,SUCCESS", " NOTIFY=X", " ORCPT=a@b", " ORCPT=rfc822;+00",
                           " ORCPT=rfc822;" + "x" * 494, " NOTIFY=DELAY NOTIFY=DELAY"):
            reply = client.command("RCPT TO:<c@d.test>" + parameters)
            self.assertTrue(repr(reply).startswith("501 5.5.4"), (parameters, reply))
        reply = client.command("RCPT TO:<c@d.test> ORCPT=utf-8;zö@d.test")
        self.assertTrue(repr(reply).startswith("553 5.6.7"), reply)
        self.assertEqual(
            client.command("RCPT TO:<c@d.test> ORCPT=rfc822;" + "x" * 493).code, 250)
        server.stop()
