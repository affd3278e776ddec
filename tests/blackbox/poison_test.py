"""Poison: texts from outside that would be something else where they come out again.

Each is put into every field that takes it from a client, a server, a request or an operator, and is
then looked for in every place that tells of it: each is read back by a parser of that place's form
and has to find one record, line, sample or field, with nothing that was not put there.
"""
import contextlib
import email.parser
import email.policy
import http.client
import json
import re
import signal
import socket
import subprocess
import urllib.parse

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

    def look_at_events(self, server):
        lines, _ = zstdcat(server.log_files())
        for line in lines:
            record = self.expect_json(line)
            self.assertNotIn("evil", record)
        self.assertGreater(len(lines), 2 * len(POISON))
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
        wait_until(lambda: "x.test" in server.errors(), "the report")
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

    @staticmethod
    def refuse(_mail, recipient):
        """Replies with what may stand in one."""
        number = re.match(r"(\d+)@x\.test", recipient)
        if number is None:
            return None
        poison = list(POISON.values())[int(number[1])]
        line = re.sub(rb"[\r\n]", b" ", poison)[:400].decode("utf-8", "surrogateescape")
        return f"451 4.3.0 {line}"
