"""Reports that come as mail: logged, then relayed or dropped, as the domain that they come to says.

The reports are made by Python's email package.
"""
import email.message
import email.mime.message
import email.mime.multipart
import email.mime.nonmultipart
import email.mime.text
import email.policy

from harness import BlackBox, Config

STRANGERS = {"relay_hosts": []}
DOMAINS = """
[domains."relay.test"]
log_oob = true
log_arf = "LogThenRelay"
[domains."drop.test"]
log_oob = "LogThenDrop"
log_arf = "LogThenDrop"
[domains."in.test"]
relay_to = true
[domains."both.test"]
relay_to = true
log_oob = "LogThenDrop"
[domains."ignore.test"]
relay_to = true
log_oob = "Ignore"
log_arf = false
"""
PLAIN = b"Subject: hello\r\n\r\nThis is no report.\r\n"
ORIGINAL = {"From": "news@sender.test", "To": "user@far.test", "Subject": "The news",
            "Message-ID": "<1@sender.test>"}


def status(*groups):
    """A part message/delivery-status of these groups of fields."""
    part = email.mime.message.MIMEMessage.__new__(email.mime.message.MIMEMessage)
    email.mime.nonmultipart.MIMENonMultipart.__init__(part, "message", "delivery-status")
    parts = []
    for fields in groups:
        group = email.message.Message()
        for name, value in fields.items():
            group[name] = value
        parts.append(group)
    part.set_payload(parts)
    return part


def original(body="Hello\n"):
    message = email.mime.text.MIMEText(body)
    for name, value in ORIGINAL.items():
        message[name] = value
    return email.mime.message.MIMEMessage(message)


def report(kind, part, *more):
    message = email.mime.multipart.MIMEMultipart("report", report_type=kind)
    message["From"] = "MAILER-DAEMON@far.test"
    message["Subject"] = "Undelivered mail"
    message.attach(email.mime.text.MIMEText("This is for people.\n"))
    message.attach(part)
    for other in more:
        message.attach(other)
    return message.as_bytes(policy=email.policy.SMTP)


def failure(*recipients, more=()):
    groups = [{"Reporting-MTA": "dns; mx.far.test",
               "Arrival-Date": "Tue, 1 Dec 2026 10:00:00 +0000"}]
    for recipient in recipients or ("user@far.test",):
        groups.append({"Original-Recipient": f"rfc822; {recipient}",
                       "Final-Recipient": f"rfc822; inner-{recipient}", "Action": "failed",
                       "Status": "5.1.1", "Remote-MTA": "dns; inner.far.test",
                       "Diagnostic-Code": "smtp; 550 5.1.1 No such user here"})
    return report("delivery-status", status(*groups), original(), *more)


def complaint():
    fields = email.message.Message()
    for name, value in (("Feedback-Type", "abuse"), ("User-Agent", "SomeGenerator/1.0"),
                        ("Version", "1"), ("Original-Mail-From", "<news@sender.test>"),
                        ("Original-Rcpt-To", "<user@far.test>"), ("Source-IP", "192.0.2.1"),
                        ("Arrival-Date", "Tue, 1 Dec 2026 10:00:00 +0000"), ("X-Own", "mine")):
        fields[name] = value
    part = email.mime.nonmultipart.MIMENonMultipart("message", "feedback-report")
    part.set_payload([fields])
    return report("feedback-report", part, original())


class LogReports(BlackBox):
    def start(self, **more):
        self.mails = self.sink()
        self.mta = self.server(Config(self.mails.port, listener=STRANGERS, extra=DOMAINS, **more))
        return self.client(self.mta)

    def arrived(self):
        return sorted(recipient for mail in self.mails.mails for recipient in mail.recipients)

    def settle(self, relayed):
        """So many recipients have got their mail, and all records are on disk."""
        self.mails.wait_for(lambda: len(self.arrived()) >= relayed, "what is relayed")
        self.mta.stop()
        self.assertEqual(len(self.arrived()), relayed, self.arrived())

    def test_each_domain_has_its_way_with_reports(self):
        client = self.start()
        taken = (("relay.test", failure()), ("drop.test", failure()), ("both.test", failure()),
                 ("ignore.test", failure()), ("relay.test", complaint()),
                 ("drop.test", complaint()), ("in.test", complaint()), ("both.test", complaint()),
                 ("in.test", PLAIN), ("both.test", PLAIN))
        for domain, content in taken:
            reply = client.submit(content, [f"b@{domain}"], sender="")
            self.assertEqual(reply.ids[1], 1, reply)
        refused = [client.submit(PLAIN, [f"b@{domain}"], sender="a@c.test")
                   for domain in ("relay.test", "drop.test")]
        for reply in refused:
            self.assertEqual((reply.code, reply.text[:6]), (550, "5.7.1 "))
        self.settle(7)
        self.assertEqual(self.arrived(), sorted(
            ["b@relay.test"] * 2 + ["b@ignore.test"] + ["b@in.test"] * 2 + ["b@both.test"] * 2))
        failures = self.mta.events("OOB")
        self.assertEqual(sorted(record["sender"] for record in failures),
                         ["b@both.test", "b@drop.test", "b@relay.test"])
        self.assertEqual(sorted(record["recipient"] for record in self.mta.events("Feedback")),
                         ["b@drop.test", "b@relay.test"])
        rejections = self.mta.events("Rejection")
        self.assertEqual([record["response"]["code"] for record in rejections], [550, 550])
        self.assertEqual(len(self.mta.events("Reception")), 7)
        ids = {record["event_id"] for record in self.mta.events() if record["type"] != "Rejection"}
        self.assertEqual(len(ids), len(self.mta.events()) - 2)

    def test_a_failure_is_told_as_kumomta_tells_it(self):
        client = self.start()
        name, count = client.submit(failure("a@far.test", "b@far.test"), ["bounce-7@drop.test"],
                                    sender="").ids
        self.assertEqual(count, 1)
        self.settle(0)
        records = self.mta.events()
        self.assertEqual([record["recipient"] for record in records], ["a@far.test", "b@far.test"])
        for record in records:
            self.assertEqual(record["type"], "OOB")
            self.assertEqual(record["id"], name)
            self.assertEqual(record["sender"], "bounce-7@drop.test")
            self.assertEqual(record["queue"], "drop.test")
            self.assertEqual(record["response"], {
                "code": 550, "enhanced_code": {"class": 5, "subject": 1, "detail": 1},
                "content": "No such user here", "command": None})
            self.assertEqual(record["peer_address"], {"name": "mx.far.test", "addr": "127.0.0.1"})
            self.assertEqual(record["bounce_classification"], "Uncategorized")
            self.assertEqual((record["site"], record["size"], record["num_attempts"]), ("", 0, 0))
            self.assertEqual(record["reception_protocol"], "ESMTP")
            self.assertIsNone(record["feedback_report"])

    def test_a_complaint_is_told_as_kumomta_tells_it(self):
        client = self.start()
        content = complaint()
        name, _ = client.submit(content, ["fbl@drop.test"], sender="fbl@far.test").ids
        self.settle(0)
        record, = self.mta.events()
        self.assertEqual((record["type"], record["id"], record["sender"], record["recipient"]),
                         ("Feedback", name, "fbl@far.test", "fbl@drop.test"))
        self.assertEqual(record["size"], len(content))
        told = record["feedback_report"]
        self.assertEqual(told["feedback_type"], "abuse")
        self.assertEqual(told["original_mail_from"], "news@sender.test")
        self.assertEqual(told["original_rcpto_to"], ["user@far.test"])
        self.assertEqual(told["source_ip"], "192.0.2.1")
        self.assertEqual(told["arrival_date"], "2026-12-01T10:00:00.000Z")
        self.assertEqual(told["extensions"], {"x-own": ["mine"]})
        self.assertIn("Subject: The news\r\n", told["original_message"])
        self.assertIsNone(told["supplemental_trace"])

    def test_recipients_of_one_message_differ(self):
        client = self.start()
        rcpts = ["b@drop.test", "b@in.test", "b@relay.test", "b@both.test", "c@in.test"]
        name, count = client.submit(failure(), rcpts, sender="").ids
        self.assertEqual(count, 5)
        # Of mail that is no report nothing is taken when one of them takes only reports.
        self.assertEqual(client.submit(PLAIN, ["b@in.test", "b@drop.test"]).code, 550)
        self.settle(3)
        self.assertEqual(self.arrived(), ["b@in.test", "b@relay.test", "c@in.test"])
        receptions = {record["recipient"]: record["id"] for record in self.mta.events("Reception")}
        self.assertEqual(receptions["b@in.test"], name)
        told = {record["sender"]: record["id"] for record in self.mta.events("OOB")}
        self.assertEqual(told["b@relay.test"], receptions["b@relay.test"])
        self.assertEqual(sorted(told), ["b@both.test", "b@drop.test", "b@relay.test"])
        self.assertEqual(len({*told.values(), *receptions.values()}), 5)

    def test_what_is_large_is_read_as_far_as_it_is_looked_at(self):
        client = self.start()
        large = email.mime.text.MIMEText("x" * 70 + "\n", _charset="us-ascii")
        large.set_payload(("x" * 70 + "\n") * 10000)
        content = failure(more=(large,))
        self.assertGreater(len(content), 600000)
        self.assertEqual(client.submit(content, ["b@drop.test", "b@in.test"], sender="").code, 250)
        late = report("delivery-status", large, status({"Reporting-MTA": "dns; x"}))
        self.assertEqual(client.submit(late, ["b@drop.test"], sender="").code, 550)
        self.settle(1)
        self.assertTrue(self.mails.mails[0].body.endswith(content))
        self.assertEqual(len(self.mta.events("OOB")), 1)

    def test_f01_what_was_answered_is_told_after_a_kill(self):
        client = self.start(log={"flush_interval": "60s"})
        for number in range(50):
            reply = client.submit(failure(f"u{number}@far.test"), ["b@drop.test"], sender="")
            self.assertEqual(reply.code, 250)
        self.mta.kill()
        self.mta.start()
        self.mta.stop()
        told = {record["event_id"]: record["recipient"] for record in self.mta.events("OOB")}
        self.assertEqual(sorted(told.values()), sorted(f"u{number}@far.test"
                                                       for number in range(50)))

    def test_the_log_leaves_out_what_it_is_told_to(self):
        client = self.start(log={"per_record": {"OOB": {"enable": False}},
                                 "headers": ["Subject"]})
        self.assertEqual(client.submit(failure(), ["b@drop.test"], sender="").code, 250)
        self.assertEqual(client.submit(complaint(), ["b@drop.test"], sender="").code, 250)
        self.settle(0)
        record, = self.mta.events()
        self.assertEqual((record["type"], record["headers"]),
                         ("Feedback", {"Subject": "Undelivered mail"}))
