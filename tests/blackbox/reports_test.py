#!/usr/bin/python3
"""Reports about mail: well-formed ones are read as Python's email package reads them, and ours are
read, clean, by that and by npm's mailparser, whatever strangers put into them.

SEED=n repeats a run with other reports.
"""
import base64
import email
import email.policy
import email.utils
import json
import os
import quopri
import random
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402

PROBE = os.path.join(os.path.dirname(harness.BIN), "tests", "mail-probe")
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MAILPARSER = os.path.join(ROOT, "build", "npm", "mailparser", "node_modules")
REPORTS = 1500
ID = "0190f3c2a7b84d5e8f000000000000ff"
ACTIONS = ["failed", "delayed", "delivered", "relayed", "expanded"]
DATES = ["Sun, 22 Nov 2026 16:49:10 +0100 (CET)", "22 Nov 26 16:49 EST",
         "Thu, 7 Jul 1994 17:15:49 Z", "1 Jan 2000 00:00:00 -0530"]
POISONS = ["a\r\nBcc: victim@example.com\r\n\r\nbody", "a\nb", "a\rb", "\x01\x1b]0;x\x07", "\x7f",
           "\u2028\u202e", "日本語 😀", "%n%s {{x}} \";", "\\u000a",
           "x" * 65536, "x " * 3000, f"--=_r{ID}--", f"\r\n--=_r{ID}\r\n", "(" * 500,
           "\"" * 501, "=?utf-8?q?a=0Ab?=", " ", ""]


def ask(requests):
    text = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([PROBE], input=text.encode(), capture_output=True, check=False,
                          timeout=120)
    if done.returncode != 0:
        raise AssertionError(f"the probe ended with {done.returncode}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def parse(text):
    return email.message_from_bytes(text.encode(), policy=email.policy.compat32)


class Random:
    """One well-formed report: its text."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.boundary = self.random.choice(["b", "=_a/b?c", "0123456789" * 7, "x y"])
        self.end = self.random.choice(["\r\n", "\r\n", "\n"])

    def some(self, *texts):
        return self.random.choice(texts)

    def maybe(self, text):
        return text if self.random.random() < 0.5 else ""

    def address(self):
        return self.some("a@b.example", "o'hara+x@[192.0.2.1]", "\"a b\"@c.example",
                         "\"a;b(\"@c.example", "x" * 64 + "@example.com")

    def case(self, name):
        return self.some(name, name.lower(), name.upper())

    def field(self, name, value):
        return f"{self.case(name)}:{self.some(' ', '', '   ')}{value}{self.maybe(' ')}\n"

    def recipient(self):
        typed = self.some("rfc822; ", "rfc822;", "RFC822;\n ") + self.address()
        fields = [
            self.maybe(self.field("Original-Recipient", "rfc822; " + self.address())),
            self.field("Final-Recipient", typed),
            self.field("Action", self.some(*ACTIONS)),
            self.field("Status", self.some("5.1.1", "4.999.0", "2.0.0", "5.1.1 (unknown)")),
            self.maybe(self.field("Remote-MTA", "dns; mx.example")),
            self.maybe(self.field("Diagnostic-Code", "smtp; " + self.some(
                "550 5.1.1 no such user", "451 later,\n\tperhaps", "550"))),
            self.maybe(self.field("Last-Attempt-Date", self.some(*DATES))),
        ]
        self.random.shuffle(fields)
        return "".join(fields) + "\n"

    def delivery(self):
        fields = self.field("Reporting-MTA", "dns; " + self.some("mx.example", "a.b"))
        fields += self.maybe(self.field("Original-Envelope-Id", "QQ314159"))
        return fields + "\n" + "".join(self.recipient() for _ in range(self.random.randint(1, 5)))

    def feedback(self):
        fields = [self.field("Feedback-Type", self.some("abuse", "fraud", "not-spam", "other")),
                  self.field("Version", self.some("1", "0.1")),
                  self.field("User-Agent", "Generator/1.0 (x)")]
        for name, value in (("Original-Mail-From", f"<{self.address()}>"),
                            (self.some("Arrival-Date", "Received-Date"), self.some(*DATES)),
                            ("Source-IP", self.some("192.0.2.1", "2001:db8::1")),
                            ("Incidents", "3"), ("Reporting-MTA", "dns; mx.example"),
                            ("Original-Rcpt-To", f"<{self.address()}>"),
                            ("Original-Rcpt-To", self.address()),
                            ("Authentication-Results", "mx.example;\n spf=fail"),
                            ("Reported-Domain", "example.net"), ("X-Other", "y"),
                            ("Reported-URI", "http://example.net/?a=b")):
            fields.append(self.maybe(self.field(name, value)))
        self.random.shuffle(fields)
        return "".join(fields)

    def part(self, kind, text, encodings):
        encoding = self.some(*encodings)
        body = text.replace("\n", self.end)
        if encoding == "base64":
            body = base64.encodebytes(body.encode()).decode()
        elif encoding == "quoted-printable":
            body = quopri.encodestring(text.encode()).decode()
        header = f"Content-Type: {kind}\n"
        header += f"Content-Transfer-Encoding: {encoding}\n" if encoding else ""
        return f"--{self.boundary}{self.maybe(' ')}\n{header}\n{body}\n"

    def header(self, kind):
        quoted = f'"{self.boundary}"'
        boundary = self.some(f"boundary={quoted}", f"BOUNDARY = {quoted}")
        half = len(self.boundary) // 2
        if " " not in self.boundary and half > 0:
            boundary = self.some(boundary, f'boundary*0="{self.boundary[:half]}";\n'
                                           f' boundary*1="{self.boundary[half:]}"')
        first, second = self.random.sample([boundary, f"report-type={kind}"], 2)
        return ("From: a@b.example\nSubject: report\nMIME-Version: 1.0\n"
                f"Content-Type: {self.some('multipart/report', 'Multipart/Report')};"
                f"{self.some(' ', chr(10) + chr(9))}{first}; {second}\n\n")

    def report(self):
        """The message, and the text of the part that programs read."""
        kind, fields = self.some(("delivery-status", self.delivery()),
                                 ("feedback-report", self.feedback()))
        original = "Received: from x\nSubject: hi\nX-Ref: abc\n\nThe body.\n"
        text = self.header(kind) + self.maybe("A preamble.\n")
        text += self.part("text/plain", "It failed.\n-- b\n", ["", "7bit"])
        text += self.part("message/" + kind, fields, ["", "7bit", "8bit", "base64",
                                                      "quoted-printable"])
        if self.random.random() < 0.7:
            text += self.part("message/rfc822", original, ["", "7bit"])
        text += f"--{self.boundary}--\n{self.maybe('An epilogue.')}"
        return re.sub("\r?\n", self.end, text), kind


class Read(unittest.TestCase):
    """What is read of others' reports, beside Python's email package."""

    def fields_of(self, text):
        """Header blocks of the second part, which Python decodes when it is no message/*."""
        text = re.sub("message/(delivery-status|feedback-report)", "application/x", text)
        lines = parse(text).get_payload()[1].get_payload(decode=True).decode()
        blocks = re.split("\n\n+", lines.replace("\r\n", "\n").strip("\n"))
        return [parse(block + "\n\n") for block in blocks]

    def value(self, block, name):
        value = block.get(name)
        return None if value is None else re.sub(r"\r?\n", "", value).replace("\t", " ").strip()

    def address(self, block, name):
        value = self.value(block, name)
        return "" if value is None else value.split(";", 1)[1].strip()

    def check_delivery(self, answer, blocks):
        self.assertEqual(answer["reporting_mta"], self.address(blocks[0], "reporting-mta"))
        self.assertEqual(answer["envelope_id"], self.value(blocks[0], "original-envelope-id") or "")
        self.assertEqual(len(answer["recipients"]), len(blocks) - 1)
        for got, block in zip(answer["recipients"], blocks[1:]):
            self.assertEqual(got["final"], self.address(block, "final-recipient"))
            self.assertEqual(got["original"], self.address(block, "original-recipient"))
            self.assertEqual(got["remote"], self.address(block, "remote-mta"))
            self.assertEqual(got["action"], self.value(block, "action"))
            status = self.value(block, "status").split(" ")[0]
            self.assertEqual(".".join(map(str, got["status"])), status)
            diagnostic = self.address(block, "diagnostic-code")
            said = f"{got['code']} {got['text']}".strip() if got["code"] else ""
            self.assertEqual(said, diagnostic)

    def check_feedback(self, answer, block):
        for key, name in (("feedback_type", "feedback-type"), ("version", "version"),
                          ("user_agent", "user-agent"), ("source_ip", "source-ip")):
            self.assertEqual(answer[key], self.value(block, name))
        sender = self.value(block, "original-mail-from")
        self.assertEqual(answer["original_mail_from"], sender and sender[1:-1])
        incidents = self.value(block, "incidents")
        self.assertEqual(answer["incidents"], incidents and int(incidents))
        date = self.value(block, "arrival-date") or self.value(block, "received-date")
        if date is None:
            self.assertIsNone(answer["arrival_date"])
        else:
            wanted = email.utils.mktime_tz(email.utils.parsedate_tz(date))
            got = answer["arrival_date"].replace("Z", "+00:00")
            self.assertEqual(email.utils.datetime.datetime.fromisoformat(got).timestamp(), wanted)
        for key, name in (("original_rcpto_to", "original-rcpt-to"),
                          ("reported_domain", "reported-domain"),
                          ("reported_uri", "reported-uri"),
                          ("authentication_results", "authentication-results")):
            wanted = [re.sub(r"\n", "", value).strip() for value in block.get_all(name, [])]
            if name == "original-rcpt-to":
                wanted = [value.strip("<>") for value in wanted]
            self.assertEqual(answer[key], wanted)
        self.assertEqual(answer["extensions"],
                         {"x-other": ["y"]} if "x-other" in block else {})

    def test_d03_d04_reports_are_read_as_python_reads_them(self):
        seed = int(os.environ.get("SEED", "1"))
        print(f"SEED={seed}", file=sys.stderr)
        made = [Random(f"{seed} {i}").report() for i in range(REPORTS)]
        answers = ask([{"do": "report", "message": text} for text, _ in made])
        for number, ((text, kind), answer) in enumerate(zip(made, answers)):
            with self.subTest(f"seed {seed} number {number}"):
                self.assertEqual(parse(text).get_param("report-type"), kind)
                self.assertEqual(answer["kind"], kind.split("-", maxsplit=1)[0])
                blocks = self.fields_of(text)
                if kind == "delivery-status":
                    self.check_delivery(answer, blocks)
                else:
                    self.check_feedback(answer, blocks[0])
                parts = parse(text).get_payload()
                if len(parts) > 2:
                    original = parts[2].get_payload()[0]
                    self.assertEqual(parse(answer["original"]).items(), original.items())


def poisoned():
    """Requests for reports with each poison in each place."""
    good = {"address": "a@b.example", "original": "rfc822;o@b.example", "code": 550, "class": 5,
            "subject": 1, "detail": 1, "text": "no", "remote": "mx.b.example", "action": "failed"}
    base = {"do": "report_make", "id": ID, "sender": "s@c.example", "envelope_id": "QQ",
            "message": "Subject: hi\r\nX-A: b\r\n\r\nThe body.\r\n", "recipients": [good]}
    requests = [base, {**base, "full": True}]
    for poison in POISONS:
        for name in ("address", "original", "text", "remote"):
            requests.append({**base, "recipients": [{**good, name: poison or "x"}, good]})
        requests.append({**base, "envelope_id": poison})
        line = re.sub("[\r\n]+", " ", poison)[:900].rstrip()
        for full in (False, True):
            requests.append({**base, "full": full, "utf8": not line.isascii(),
                             "message": f"Subject: {line}\r\nX-A: b\r\n\r\n{line}\r\n"})
    return requests


class Made(unittest.TestCase):
    """Our own reports, in the eyes of others."""

    @classmethod
    def setUpClass(cls):
        cls.requests = poisoned()
        cls.answers = ask(cls.requests)

    def check_bytes(self, answer):
        raw = answer["message"].encode()
        self.assertFalse(answer["overflow"])
        self.assertNotRegex(raw.replace(b"\r\n", b""), rb"[\r\n\0]")
        self.assertLessEqual(max(map(len, raw.split(b"\r\n"))), 998)
        self.assertEqual(answer["eightbit"], not raw.isascii())

    def check_fields(self, blocks, request):
        self.assertEqual(len(blocks), len(request["recipients"]) + 1)
        self.assertEqual(blocks[0]["Reporting-MTA"], "dns;mx.example.net")
        for block, wanted in zip(blocks[1:], request["recipients"]):
            self.assertEqual(block["Action"], wanted["action"])
            self.assertEqual(block["Status"], "5.1.1")
            if wanted["text"] == "no":
                self.assertEqual(block["Diagnostic-Code"], "smtp; 550 5.1.1 no")
            if wanted["address"] == "a@b.example":
                self.assertEqual(block["Final-Recipient"], "rfc822;a@b.example")

    def test_d12_pythons_email_reads_our_reports(self):
        for request, answer in zip(self.requests, self.answers):
            with self.subTest(json.dumps(request)[:400]):
                self.check_bytes(answer)
                message = parse(answer["message"])
                for part in message.walk():
                    self.assertEqual(part.defects, [])
                self.assertEqual(message.get_content_type(), "multipart/report")
                self.assertEqual(message["Auto-Submitted"], "auto-replied")
                self.assertEqual(message["To"], "<s@c.example>")
                self.assertNotIn("Bcc", message)
                parts = message.get_payload()
                self.assertEqual(parts[0].get_content_type(), "text/plain")
                self.check_fields(parts[1].get_payload(), request)
                self.assertLessEqual(len(parts), 3)
                if len(parts) > 2:
                    returned = parts[2].get_payload()
                    returned = parse(returned) if isinstance(returned, str) else returned[0]
                    self.assertEqual(returned["X-A"], "b")

    def test_d12_mailparser_reads_our_reports(self):
        if not os.path.isdir(MAILPARSER):
            self.skipTest("mailparser is missing: tools/setup test")
        text = "".join(json.dumps(answer["message"]) + "\n" for answer in self.answers)
        done = subprocess.run(["node", os.path.join(HERE, "mailparser", "read.cjs"), MAILPARSER],
                              input=text.encode(), capture_output=True, check=False, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        read = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(read), len(self.requests))
        for request, mail in zip(self.requests, read):
            with self.subTest(json.dumps(request)[:400]):
                self.assertEqual(mail["to"], ["s@c.example"])
                self.assertEqual(mail["headers"], [
                    "date", "from", "to", "subject", "message-id", "auto-submitted",
                    "mime-version", "content-type"])
                self.assertTrue(mail["text"].startswith("This is the mail system at"))
                status = mail["attachments"][0]
                self.assertEqual(status["type"], "message/delivery-status")
                blocks = re.split("\r?\n\r?\n", status["content"].strip("\r\n"))
                self.check_fields([parse(block + "\n\n") for block in blocks], request)
                self.assertLessEqual(len(mail["attachments"]), 2)

    def test_d12_our_reports_are_read_by_ourselves(self):
        read = ask([{"do": "report", "message": answer["message"]} for answer in self.answers])
        for request, answer in zip(self.requests, read):
            with self.subTest(json.dumps(request)[:400]):
                self.assertEqual(answer["kind"], "delivery")
                self.assertEqual(len(answer["recipients"]), len(request["recipients"]))
                last = answer["recipients"][-1]
                self.assertEqual(last["status"], [5, 1, 1])
                self.assertEqual(last["code"], 550)


if __name__ == "__main__":
    unittest.main()
