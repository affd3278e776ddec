"""Poison: texts from outside that would be something else where they come out again.

Each is put into every field that takes it from a client, a server, a request or an operator, and is
then looked for in every place that tells of it: each is read back by a parser of that place's form
and has to find one record, line, sample or field, with nothing that was not put there.
"""
import contextlib
import email
import email.parser
import email.policy
import functools
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import urllib.parse

import name_server
from harness import RINGPOST, BlackBox, Config, address_of, pairs, wait_until, zstdcat

SECONDS = 30
CONTENT = b"Subject: %b\r\nX-Campaign: %b\r\nMessage-ID: <%d@c.test>\r\n\r\nhello\r\n"
POISON = {
    "nothing": b"plain",
    "escape": b"\x1b[31mred\x1b]0;title\x07",
    "format": b"%n%s%x%%",
    "template": b"{{ x }}{% x %}${x}",
    "quotes": b"\"';`--><script>alert(1)</script>",
    "backslash": b"\\u000aevent=evil \\n \\",
    "separators": "a\u2028b\u2029c\u0085d".encode(),
    "direction": "\u202egnp.exe\u2066".encode(),
    "delete": b"a\x7fb\x08\x08",
    "c1": "\u009b31m\u0090".encode(),
    "not_utf8": b"\xff\xfe\xc0\x80\xed\xa0\x80",
    "nul": b"a\0b",
    "lf": b"a\nevent=evil pid=1",
    "cr": b"a\rb",
    "crlf": b"a\r\nX-Evil: 1",
    "sample": b'x"} 1\nevil{a="',
    "record": b'"},{"type":"Delivery","evil":"1',
    "long": b"long" * 16384,
}
# A failure that another server tells of, with poison in each of its fields.
OOB = b"""From: MAILER-DAEMON@far.test\r
To: r@b.test\r
Subject: POISON\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status; boundary=b\r
\r
--b\r
\r
POISON\r
--b\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; POISON\r
X-Own: POISON\r
\r
Final-Recipient: rfc822; POISON@far.test\r
Action: failed\r
Status: 5.1.1\r
Remote-MTA: dns; POISON\r
Diagnostic-Code: smtp; 550 POISON\r
\r
--b\r
Content-Type: text/rfc822-headers\r
\r
From: POISON\r
Subject: POISON\r
\r
--b--\r
"""
SAMPLE = re.compile(r'(?!evil)\w+(\{(\w+="([^"\\]|\\[\\"n])*",?)*\})? [-+.\w]+')
EVIL = re.compile(r'^(event=evil|X-Evil|evil\{)')


class Poison(BlackBox):
    def ask(self, method, path, members=None, **query):
        connection = http.client.HTTPConnection(*address_of(self.http), timeout=SECONDS)
        url = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        body = None if members is None else json.dumps(members)
        connection.request(method, url, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        return answer.status, said

    def admin(self, method, verb, members=None, **query):
        return self.ask(method, f"/api/admin/{verb}/v1", members, **query)

    # ---- fields

    def from_client(self, server, poison, number):
        """As HELO, as a command, as both addresses; each reply is one of its own."""
        with socket.create_connection(server.address, SECONDS) as peer:
            peer.sendall(b"EHLO %b\r\nEHLO c.test\r\n%b\r\nMAIL FROM:<%b@c.test>\r\n"
                         b"MAIL FROM:<a@c.test> %b=%b\r\nRCPT TO:<\"%b\"@x.test>\r\n"
                         b"RCPT TO:<%d@%b>\r\nQUIT\r\n"
                         % (poison, poison, poison, poison, poison, poison, number, poison))
            with peer.makefile("rb") as file, contextlib.suppress(ConnectionResetError):
                for line in file:
                    self.assertRegex(line, rb"^[2345]\d\d[ -][ -~]*\r\n$")

    def from_content(self, server, poison, number):
        client = self.client(server)
        client.envelope("a@c.test", [f"{number}@x.test"])
        client.data(CONTENT % (poison, poison, number))
        client.close()

    def from_request(self, text, number):
        """A message's fields, and those of a template; refused, or in one field each."""
        for fields in ({"subject": text}, {"from": {"email": "a@c.test", "name": text}},
                       {"headers": {"X-Poison": text}}):
            status, said = self.ask("POST", "/api/inject/v1", {
                "envelope_sender": "a@c.test",
                "content": {"text_body": "hello {{ name }}", "from": {"email": "a@c.test"},
                            "subject": "{{ name }}", **fields},
                "recipients": [{"email": f"{number}@y.test", "name": text,
                                "substitutions": {"x": text}}]})
            self.assertIn(status, (200, 400, 422), said)
            self.assertIsInstance(json.loads(said) if status == 200 else said.decode(),
                                  dict if status == 200 else str)

    def from_operator(self, text):
        """The reason of an order, and the names in one."""
        status, said = self.admin("POST", "suspend", {"reason": text, "domain": "held.test"})
        self.assertIn(status, (200, 400), said)
        self.admin("POST", "suspend", {"reason": "r", "domain": text, "campaign": text})
        self.admin("POST", "rebind", {"reason": text, "domain": "held.test",
                                      "data": {"campaign": text}})
        self.admin("GET", "explain", queue=text)
        self.admin("GET", "inspect-sched-q", queue_name=text)

    def put_all(self, server):
        for number, (name, poison) in enumerate(POISON.items()):
            with self.subTest(field=name):
                text = poison.decode("utf-8", "surrogateescape")
                with contextlib.suppress(UnicodeEncodeError):
                    text.encode()
                    self.from_request(text, number)
                    self.from_operator(text)
                self.from_client(server, poison, number)
                self.from_content(server, poison[:500], number)

    # ---- places

    def expect_clean(self, text):
        """Something that a terminal shows as it stands."""
        for line in text.split("\n"):
            self.assertTrue(line.isprintable(), ascii(line[:300]))
            self.assertIsNone(EVIL.match(line), ascii(line[:300]))

    def expect_json(self, said):
        """One document, which no control character stands in as it is."""
        self.assertIsNone(re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", said), said[:300])
        return json.loads(said.decode())

    def look_at_events(self, server, least=2 * len(POISON)):
        lines, _ = zstdcat(server.log_files())
        for line in lines:
            record = self.expect_json(line)
            self.assertNotIn("evil", record)
        self.assertGreaterEqual(len(lines), least)
        for flags in ([], ["--json"]):
            shown = subprocess.run([RINGPOST, "events", "-c", server.config_path, *flags],
                                   capture_output=True, check=True, timeout=SECONDS).stdout
            self.assertEqual(len(shown.splitlines()), len(lines))
            if not flags:
                self.expect_clean(shown.decode())

    def look_at_answers(self, queues):
        for verb, query in [("explain", {"queue": name}) for name in queues] + \
                [("inspect-sched-q", {"queue_name": name, "want_body": "true"})
                 for name in queues] + \
                [("suspend", {}), ("queues", {}), ("queues", {"kind": "ready"})]:
            status, said = self.admin("GET", verb, **query)
            self.assertEqual(status, 200, said)
            self.expect_json(said)

    def look_at_metrics(self):
        status, said = self.ask("GET", "/metrics")
        self.assertEqual(status, 200)
        for line in said.decode().splitlines():
            self.assertTrue(line.startswith("#") or SAMPLE.fullmatch(line), ascii(line))
        self.expect_clean(said.decode())
        self.expect_json(self.ask("GET", "/metrics.json")[1])

    def look_at_the_command(self, queues):
        for words in [["queues"], ["suspend", "--list"], ["top", "--once"]] + \
                [["explain", "--queue", name] for name in queues]:
            shown = subprocess.run([RINGPOST, *words, "--endpoint", f"http://{self.http}"],
                                   capture_output=True, check=False, timeout=SECONDS)
            self.assertEqual(shown.returncode, 0, (words, shown.stderr))
            self.expect_clean((shown.stdout + shown.stderr).decode())

    def look_at_the_log(self, server):
        server.signal(signal.SIGUSR1)
        wait_until(lambda: "event=report_end" in server.errors(), "the report")
        for line in server.errors().split("\n"):
            self.expect_clean(line)
            self.assertIn("event", pairs(line), line)

    def look_at_mail(self, sink):
        """What was put into one field stands in one."""
        for mail in list(sink.mails):
            head = mail.content.partition(b"\r\n\r\n")[0]
            parsed = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(head)
            if b"Message-ID: <" in head and b"@c.test>" in head and b"X-Campaign" in head:
                continue  # as a client has written it
            self.assertNotIn("X-Evil", parsed)
            self.assertIsNone(re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", head), head)

    def test_r10_poison_is_text_wherever_it_comes_out(self):
        sink = self.sink(on_rcpt=self.refuse)
        server = self.server(Config(
            sink.port, log={"headers": ["Subject"], "meta": ["*"]}, queue={"retry_interval": "1h"},
            extra='[queues]\ncampaign_header = "X-Campaign"\n'))
        self.http = server.ready["http"]
        self.put_all(server)
        server.wait_events("TransientFailure", 3)
        queues = [entry["name"] for entry in
                  json.loads(self.admin("GET", "queues")[1])["queues"]]
        self.assertGreater(len(queues), 3)
        self.look_at_answers(queues)
        self.look_at_metrics()
        self.look_at_the_command(queues)
        self.look_at_mail(sink)
        self.look_at_the_log(server)
        server.stop()
        self.look_at_events(server)

    def test_r10_poison_in_a_dialogue_is_text_to_who_traces_it(self):
        server = self.server(Config(self.sink(on_rcpt=self.refuse).port,
                                    queue={"retry_interval": "1h"}))
        tracers = []
        for side in ("server", "client"):
            path = os.path.join(self.folder, side)
            with open(path, "wb") as file:
                tracer = subprocess.Popen(
                    [RINGPOST, "trace", side, "--endpoint", f"http://{server.ready['http']}"],
                    stdout=file, stderr=subprocess.STDOUT)
            self.addCleanup(tracer.kill)
            self.addCleanup(tracer.wait)
            wait_until(functools.partial(self.shown, path, "= tracing"), "the tracing")
            tracers.append((tracer, path))
        for number, (name, poison) in enumerate(POISON.items()):
            with self.subTest(field=name):
                self.from_client(server, poison, number)
                self.from_content(server, poison[:500], number)
        for (tracer, path), word in zip(tracers, ("< QUIT", "< 451 4.3.0 ")):
            wait_until(functools.partial(self.shown, path, word), word)
            tracer.terminate()
            tracer.wait()
            with open(path, encoding="utf-8") as file:
                self.expect_clean(file.read())
        server.stop()

    @staticmethod
    def shown(path, word):
        with open(path, encoding="utf-8") as file:
            return word in file.read()

    def test_r10_poison_in_a_notification_of_ours_stays_in_its_field(self):
        sink = self.sink(on_rcpt=functools.partial(self.refuse, code="550 5.3.0"))
        server = self.server(Config(sink.port))
        client = self.client(server)
        taken = 0
        for number, poison in enumerate(POISON.values()):
            self.assertEqual(client.command("MAIL FROM:<from@c.test>").code, 250)
            self.assertEqual(client.command(f"RCPT TO:<{number}@x.test> NOTIFY=FAILURE").code, 250)
            taken += client.data(CONTENT % (poison[:500], poison[:500], number)).code == 250
        self.assertGreater(taken, len(POISON) - 4)
        taken -= 1  # a NUL is no part of a reply: tried again
        server.wait_events("Bounce", taken)
        told = wait_until(lambda: len(sink.mails) >= taken and list(sink.mails), "notifications")
        for mail in told:
            report = email.message_from_bytes(mail.content)
            self.assertEqual([part.defects for part in report.walk()],
                             [[] for _ in report.walk()], mail.content[:2000])
            self.assertNotIn("X-Evil", report)
            whole, one = report.get_payload(1).get_payload()
            self.assertLessEqual(set(whole.keys()), {"Reporting-MTA", "Arrival-Date"})
            self.assertLessEqual(set(one.keys()), {
                "Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA",
                "Diagnostic-Code", "Last-Attempt-Date"})
            self.assertRegex(one["Diagnostic-Code"], r"\Asmtp; 550 5\.3\.0([ -~]|\r\n )*\Z")
            self.expect_clean(report.get_payload(0).get_payload().replace("\r\n", "\n"))
        server.stop()

    def test_r10_poison_in_reports_of_others_is_text_in_their_records(self):
        server = self.server(Config(self.sink().port,
                                    extra='[domains."b.test"]\nlog_oob = "LogThenDrop"\n'))
        self.http = server.ready["http"]
        client = self.client(server)
        taken = 0
        for poison in POISON.values():
            taken += client.submit(OOB.replace(b"POISON", poison[:500]), ["r@b.test"],
                                   sender="").code == 250
        self.assertGreater(taken, len(POISON) - 4)
        self.assertGreater(len(server.wait_events("OOB", taken - 2)), 0)
        self.look_at_metrics()
        server.stop()
        self.look_at_events(server, taken)

    def test_r10_poison_in_names_of_hosts_is_text(self):
        poisons = [poison[:63] for poison in POISON.values()]

        def answer(question):
            number = question.name.partition(".")[0]
            if question.kind != name_server.MX or not number.isdigit():
                return [question.answer()]
            poison = poisons[int(number)]
            host = bytes([len(poison)]) + poison + name_server.name("mx.test")
            return [question.answer(name_server.record(question.name, name_server.MX,
                                                       b"\0\x0a" + host))]

        names = name_server.NameServer(answer)
        self.addCleanup(names.close)
        server = self.server(Config(
            None, shaping={"smtp_port": 1, "prohibited_hosts": []}, queue={"retry_interval": "1h"},
            extra=f'[dns]\nservers = ["127.0.0.1:{names.port}"]\ntimeout = "300ms"\n'))
        self.http = server.ready["http"]
        domains = [f"{number}.test" for number in range(len(poisons))]
        for domain in domains:
            reply = self.client(server).submit(b"\r\nhello\r\n", [f"a@{domain}"])
            self.assertEqual(reply.code, 250)
        wait_until(lambda: len(server.events("TransientFailure", "Bounce")) >= len(domains),
                   "an end of each")
        self.look_at_answers(domains)
        self.look_at_metrics()
        self.look_at_the_command(domains)
        self.look_at_the_log(server)
        server.stop()
        self.look_at_events(server, 2 * len(domains))

    @staticmethod
    def refuse(_mail, recipient, code="451 4.3.0"):
        """Replies with what may stand in one."""
        number = re.match(r"(\d+)@x\.test", recipient)
        if number is None:
            return None
        poison = list(POISON.values())[int(number[1])]
        line = re.sub(rb"[\r\n]", b" ", poison)[:400].decode("utf-8", "surrogateescape")
        return f"{code} {line}"
