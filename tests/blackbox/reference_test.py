"""References in what is sent, and what reports that return one are worth (D-10)."""
import base64
import email
import http.client
import json
import os
import re

from harness import BlackBox, Config
from log_reports_test import failure, report, status

DOMAINS = """
[domains."drop.test"]
log_oob = "LogThenDrop"
log_arf = "LogThenDrop"
"""
TRACE = {"supplemental_header": True, "include_meta_names": ["ehlo_domain", "campaign", "x_*"]}
MESSAGE = b"Subject: news\r\nFrom: news@sender.test\r\n\r\nHello\r\n"


def header_of(content):
    return content.split(b"\r\n\r\n")[0] + b"\r\n"


def trace_of(content, name="X-KumoRef"):
    """What KumoMTA's readers make of the field."""
    field, = email.message_from_bytes(content).get_all(name)
    told = json.loads(base64.b64decode(re.sub(r"\s", "", field)))
    assert told.pop("_@_") == "\\_/", told
    return told


def part(kind, body):
    message = email.message.Message()
    message["Content-Type"] = kind
    message.set_payload(body.decode())
    return message


def bounce(header, *recipients):
    groups = [{"Reporting-MTA": "dns; mx.far.test"}] + [
        {"Final-Recipient": f"rfc822; {recipient}", "Action": "failed", "Status": "5.1.1",
         "Diagnostic-Code": "smtp; 550 5.1.1 no such user"} for recipient in recipients]
    return report("delivery-status", status(*groups), part("text/rfc822-headers", header))


def complaint(header):
    fields = b"Feedback-Type: abuse\r\nUser-Agent: x/1\r\nVersion: 1\r\n"
    return report("feedback-report", part("message/feedback-report", fields),
                  part("message/rfc822", header + b"\r\nHello\r\n"))


class Reference(BlackBox):
    def start(self, **more):
        self.mails = self.sink()
        self.mta = self.server(Config(self.mails.port, extra=DOMAINS,
                                      listener={"trace_headers": dict(TRACE, **more)}))
        return self.client(self.mta)

    def sent(self, client, *recipients):
        """The content that a server gets of a message to these."""
        before = len(self.mails.mails)
        reply = client.submit(MESSAGE, list(recipients))
        self.assertEqual(reply.code, 250, reply)
        self.mails.wait(before + 1)
        return self.mails.mails[before].content, reply.ids[0]

    def worth(self, *reports):
        """Of each record that these lead to."""
        client = self.client(self.mta)
        for content in reports:
            reply = client.submit(content, ["b@drop.test"], sender="")
            self.assertEqual(reply.code, 250, reply)
        self.mta.stop()
        return [record["reference"] for record in self.mta.events("OOB", "Feedback")]

    def test_d10_what_was_sent_is_known_in_what_is_returned(self):
        client = self.start()
        content, name = self.sent(client, "user@far.test")
        told = trace_of(content)
        self.assertEqual(told["recipient"], "user@far.test")
        self.assertEqual(told["ringpost"], {"id": name, "domain": "far.test"})
        self.assertEqual(list(told)[-1], "signature")
        self.assertIn("ehlo_domain", told)
        del told["signature"]
        folded = re.sub(rb"\r\n\t", b"\r\n        ", header_of(content))
        lines = b"".join(header_of(content).partition(b"X-KumoRef: ")[2].split(b"\r\n\t"))
        self.assertGreater(len(lines), 100)
        worth = self.worth(bounce(header_of(content), "user@far.test", "other@far.test"),
                           bounce(folded, "user@elsewhere.test"), complaint(header_of(content)))
        self.assertEqual([entry["state"] for entry in worth],
                         ["valid", "repeated", "elsewhere", "valid"])
        for entry in worth:
            self.assertEqual((entry["id"], entry["domain"]), (name, "far.test"))
        self.assertEqual(worth[0]["supplemental_trace"], told)
        self.assertNotIn("supplemental_trace", worth[3])
        record, = self.mta.events("Feedback")
        self.assertEqual(record["feedback_report"]["supplemental_trace"], told)

    def test_d10_forged_ones_are_logged_and_say_so(self):
        client = self.start()
        header = header_of(self.sent(client, "user@far.test")[0])
        told = trace_of(header)
        told["ringpost"]["domain"] = "victim.test"
        forged = base64.b64encode(json.dumps({"_@_": "\\_/", **told}).encode())
        text = json.dumps({"_@_": "\\_/", **told}, separators=(",", ":"))
        exact = base64.b64encode(text.encode())
        unsigned = base64.b64encode(b'{"_@_":"\\\\_/","recipient":"user@victim.test"}')
        worth = self.worth(failure("user@victim.test"),
                           bounce(b"X-KumoRef: " + forged + b"\r\n", "user@victim.test"),
                           bounce(b"X-KumoRef: " + exact + b"\r\n", "user@victim.test"),
                           bounce(b"X-KumoRef: " + unsigned + b"\r\n", "user@victim.test"),
                           bounce(header.partition(b"\r\nSubject")[0][:-40] + b"\r\n",
                                  "user@far.test"))
        self.assertEqual(worth,
                         [{"state": "none"}, {"state": "none"}, {"state": "forged"},
                          {"state": "none"}, {"state": "none"}])

    def test_several_recipients_do_not_read_of_each_other(self):
        client = self.start(header_name="X-Own")
        same = self.sent(client, "a@far.test", "b@far.test")[0]
        mixed = self.sent(client, "a@far.test", "b@other.test")[0]
        self.assertEqual(trace_of(same, "X-Own")["ringpost"]["domain"], "far.test")
        self.assertEqual(trace_of(mixed, "X-Own")["ringpost"]["domain"], "")
        for content in (same, mixed):
            self.assertNotIn("recipient", trace_of(content, "X-Own"))
        worth = self.worth(bounce(header_of(same), "b@far.test"),
                           bounce(header_of(mixed), "b@other.test"))
        self.assertEqual([entry["state"] for entry in worth], ["valid", "elsewhere"])

    def test_injections_ask_for_their_own(self):
        self.start()
        request = {"envelope_sender": "news@sender.test", "content": "Subject: x\n\nhi\n",
                   "recipients": [{"email": "user@far.test",
                                   "metadata": {"x_order": 7, "ringpost": 1, "y": 2}}]}
        trace = {"supplemental_header": True, "header_name": "X-Ours",
                 "include_meta_names": ["x_order", "ringpost", "reception_protocol"]}
        host, port = self.mta.ready["http"].split(":")
        for asked in ({"trace_headers": trace}, {}):
            connection = http.client.HTTPConnection(host, int(port))
            connection.request("POST", "/api/inject/v1", json.dumps({**request, **asked}),
                               {"Content-Type": "application/json"})
            self.assertEqual(connection.getresponse().status, 200)
            connection.close()
        self.mails.wait(2)
        without, with_one = sorted((mail.content for mail in self.mails.mails), key=len)
        told = trace_of(with_one, "X-Ours")
        self.assertEqual((told["x_order"], told["reception_protocol"]), (7, "HTTP"))
        self.assertEqual(told["ringpost"]["domain"], "far.test")
        self.assertNotIn(b"X-KumoRef", without)
        worth = self.worth(bounce(header_of(with_one), "user@far.test"))
        self.assertEqual([entry["state"] for entry in worth], ["valid"])

    def test_the_key_is_made_once_and_is_the_nodes_own(self):
        client = self.start()
        header = header_of(self.sent(client, "user@far.test")[0])
        key = os.path.join(self.mta.folder, "state", "reference.key")
        self.assertEqual(os.stat(key).st_mode & 0o7777, 0o600)
        self.mta.kill()
        self.mta.start()
        self.assertEqual([entry["state"] for entry in
                          self.worth(bounce(header, "user@far.test"))], ["valid"])
        os.unlink(key)
        self.mta.start()
        self.assertEqual([entry["state"] for entry in
                          self.worth(bounce(header, "user@far.test"))], ["valid", "forged"])
        with open(key, "w", encoding="utf-8") as file:
            file.write("damaged")
        self.mta.launch()
        self.assertEqual(self.mta.wait_exit(), 1)
        self.assertIn("reference.key: it is damaged", self.mta.errors())
