#!/usr/bin/python3
"""Messages that are composed are read by Python's email package as what was asked for.

Many messages of random parts, then the attempts to get out of a field. SEED=n repeats a run.
"""
import base64
import email
import email.header
import email.policy
import email.utils
import json
import os
import random
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402

PROBE = os.path.join(os.path.dirname(harness.BIN), "tests", "mail-probe")
ID = "0190f3c2a7b84d5e8f000000000000ff"
MESSAGES = 1500
OURS = ["Date", "From", "Reply-To", "To", "Subject", "Message-ID"]
# Pieces of texts: what has a meaning in some place of a message, and what has none.
PIECES = ["a", "Ann", "word", "O'Hara", "Zoë", "Grüße", "日本語", "😀", "Ω", "\u00a0", "e\u0301",
          ",", "@", "\"", "(", ")", "\\", "<", ">", ":", ";", ".", "=", "?", "_", "=?", "?=",
          "=?utf-8?q?x?=", "=?utf-8?q?a=0D=0ABcc:_x?=", "--", "=_", "\u2028", "\u0085", "\u202e",
          "x" * 75, "y" * 300, "ü" * 80, "%41", "*0*", "utf-8''x", "[", "]", "/", "&", "'", "`"]
LINES = PIECES + ["\n", "\r\n", "\r", "\n\n", ".", "From ", "\t", " \n", "--=_m" + ID, "line" * 260,
                  "\x01", "\x7f"]
# RFC 5322 3.2, RFC 2047 2 and 5 (3).
QUOTED = re.compile(r'"(?:[ !#-\[\]-~]|\\[ -~])*"')
ENCODED = re.compile(r"=\?utf-8\?(?:q\?[A-Za-z0-9!*+/=_-]+|b\?[A-Za-z0-9+/=]+)\?="
                     r"(?: =\?utf-8\?(?:q\?[A-Za-z0-9!*+/=_-]+|b\?[A-Za-z0-9+/=]+)\?=)*")
ATOMS = re.compile(r"\A[A-Za-z0-9!#-'*+/=?^_`{|}~ -]+\Z")


def ask(requests):
    text = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([PROBE], input=text.encode(), capture_output=True, check=False,
                          timeout=120)
    if done.returncode != 0:
        raise AssertionError(f"the probe ended with {done.returncode}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def request(**fields):
    base = {"do": "compose", "id": ID, "from": {"email": "from@example.com"}, "text_body": "x"}
    return {**base, **fields}


def crlf(text):
    return re.sub("\r\n|\r|\n", "\r\n", text)


class Random:
    """The parts of one message."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def some(self, pieces, most):
        return "".join(self.random.choice([piece, piece + " ", " " + piece])
                       for piece in self.random.choices(pieces, k=self.random.randint(1, most)))

    def name(self, most):
        """Not longer than a name may be."""
        return self.some(PIECES, most).encode()[:1000].decode(errors="ignore")

    def maybe(self, fields, name, make, chance=0.5):
        if self.random.random() < chance:
            fields[name] = make()

    def mailbox(self):
        user = self.random.choice(["ann", "a.b+c", "\"a b\"", "x" * 64, "o'hara", "\"q\\\"@\""])
        host = self.random.choice(["example.com", "a.b.example.org", "[192.0.2.1]"])
        box = {"email": f"{user}@{host}"}
        self.maybe(box, "name", lambda: self.name(8), 0.8)
        return box

    def attachment(self):
        data = bytes(self.random.randrange(256) for _ in range(self.random.choice([0, 1, 57, 200])))
        part = {"content_type": self.random.choice(
            ["image/png", "application/pdf", "text/plain; charset=utf-8",
             "application/vnd.x-y+json; a=\"b c\"; d=e"])}
        if self.random.random() < 0.5:
            part.update(data=base64.b64encode(data).decode(), base64=True)
        else:
            part["data"] = self.some(LINES, 6)
        self.maybe(part, "file_name", lambda: self.name(5), 0.7)
        self.maybe(part, "content_id", lambda: self.random.choice(["logo", "<a@b>", "x.y"]), 0.4)
        return part

    def header(self):
        words = [piece for piece in PIECES if piece.isascii() and len(piece) < 80]
        return self.some(words if self.random.random() < 0.6 else PIECES, 12).strip() or "x"

    def fields(self):
        fields = {"from": self.mailbox()}
        self.maybe(fields, "to", self.mailbox, 0.9)
        self.maybe(fields, "reply_to", self.mailbox, 0.3)
        self.maybe(fields, "subject", lambda: self.some(PIECES, 15), 0.9)
        bodies = self.random.choice([["text_body"], ["html_body"], ["text_body", "html_body"],
                                     ["text_body", "amp_html_body", "html_body"]])
        for body in bodies:
            fields[body] = self.some(LINES, 25)
        fields["attachments"] = [self.attachment() for _ in range(self.random.choice([0, 0, 1, 3]))]
        fields["headers"] = {f"X-Test-{i}": self.header() for i in range(self.random.randint(0, 4))}
        return request(**fields)


def bytes_of(attachment):
    if attachment.get("base64"):
        return base64.b64decode(attachment["data"])
    return attachment["data"].encode()


class Composed(unittest.TestCase):
    """Of each message that is asked for, what Python reads."""

    def read(self, asked, answer):
        self.assertNotIn("problem", answer)
        self.assertFalse(answer["overflow"])
        raw = answer["message"].encode()
        self.assertNotRegex(raw.replace(b"\r\n", b""), rb"[\r\n\0]")
        self.assertTrue(raw.endswith(b"\r\n"))
        self.assertLessEqual(max(len(line) for line in raw.split(b"\r\n")), 998)
        message = email.message_from_bytes(raw, policy=email.policy.default)
        message.raw = raw
        return message

    def check_mailbox(self, message, name, wanted):
        """By the grammar: the newer half of the package keeps, in 3.11, the space between two
        encoded words of a name, and the older knows no address literals."""
        raw = email.message_from_bytes(message.raw, policy=email.policy.compat32)[name]
        phrase, address = raw.replace("\r\n", "").lstrip(), f"<{wanted['email']}>"
        self.assertEqual(len(message[name].addresses), 1)
        if not wanted.get("name"):
            self.assertEqual(phrase, wanted["email"])
            return
        self.assertTrue(phrase.endswith(" " + address))
        phrase = phrase[:-len(address) - 1]
        if QUOTED.fullmatch(phrase):
            decoded = re.sub(r"\\(.)", r"\1", phrase[1:-1])
        elif ENCODED.fullmatch(phrase):
            decoded = str(email.header.make_header(email.header.decode_header(phrase)))
        else:
            self.assertRegex(phrase, ATOMS)
            decoded = phrase
        self.assertEqual(decoded, wanted["name"])

    def check_header(self, message, asked):
        given = {"From": "from", "Reply-To": "reply_to", "To": "to", "Subject": "subject"}
        names = [name for name in OURS if name not in given or given[name] in asked]
        content = ["MIME-Version", "Content-Type"]
        if not message.is_multipart():
            content.append("Content-Transfer-Encoding")
        self.assertEqual(message.keys(), names + list(asked["headers"]) + content)
        for name in ("From", "Reply-To", "To"):
            if given[name] in asked:
                self.check_mailbox(message, name, asked[given[name]])
        if "subject" in asked:
            self.assertEqual(message["Subject"], asked["subject"])
        self.assertEqual(message["Message-ID"], f"<{ID}@mx.example.net>")

    def check_value(self, raw, name, value):
        """ASCII stands as it was, folded at spaces; else it is the same when it is decoded."""
        found = re.search(rf"^{name}:((?:.|\r\n )*)\r\n", raw, re.M).group(1)
        unfolded = found.replace("\r\n", "")
        if value.isascii():
            self.assertEqual(unfolded, " " + value)
        else:
            self.assertTrue(unfolded.isascii())

    def bodies_of(self, message):
        """The structure as nested lists of content types, and the leaves."""
        leaves = [part for part in message.walk() if not part.is_multipart()]
        return [part.get_content_type() for part in message.walk()], leaves

    def wanted_types(self, asked):
        bodies = [(name, kind) for name, kind in (
            ("text_body", "text/plain"), ("amp_html_body", "text/x-amp-html"),
            ("html_body", "text/html")) if name in asked]
        inline = [part for part in asked["attachments"] if "content_id" in part]
        others = [part for part in asked["attachments"] if "content_id" not in part]
        types = ["multipart/mixed"] * bool(others) + ["multipart/related"] * bool(inline)
        types += ["multipart/alternative"] * (len(bodies) > 1)
        types += [kind for _, kind in bodies]
        types += [part["content_type"].split(";")[0] for part in inline + others]
        return types, [name for name, _ in bodies], inline + others

    def check_parts(self, message, asked):
        types, leaves = self.bodies_of(message)
        wanted, bodies, attachments = self.wanted_types(asked)
        self.assertEqual(types, wanted)
        for name, leaf in zip(bodies, leaves):
            text = crlf(asked[name])
            if not message.is_multipart() and not text.endswith("\r\n"):
                text += "\r\n"
            got = leaf.get_payload(decode=True)
            if not message.is_multipart() and got + b"\r\n" == text.encode():
                got += b"\r\n"  # base64 holds the text alone
            self.assertEqual(got, text.encode())
            self.assertEqual(leaf.get_content_charset(), "utf-8")
        for wanted, leaf in zip(attachments, leaves[len(bodies):]):
            self.assertEqual(leaf.get_payload(decode=True), bytes_of(wanted))
            # Python drops the space around it, and takes quotes off what is encoded as well.
            name = wanted.get("file_name")
            self.assertIn(leaf.get_filename(),
                          [name and name.strip(), name and email.utils.unquote(name).strip()])
            cid = wanted.get("content_id")
            self.assertEqual(leaf["Content-ID"], cid and "<" + cid.strip("<>") + ">")
            self.assertEqual(leaf.get_content_disposition(), "inline" if cid else "attachment")

    def test_h10_h12_messages_are_read_as_what_was_asked_for(self):
        # The same in every run: how Python reads odd names is no promise of ours. SEED=n: others.
        seed = int(os.environ.get("SEED", "1"))
        print(f"SEED={seed}", file=sys.stderr)
        asked = [Random(f"{seed} {i}").fields() for i in range(MESSAGES)]
        for number, (fields, answer) in enumerate(zip(asked, ask(asked))):
            with self.subTest(f"seed {seed} number {number}"):
                message = self.read(fields, answer)
                self.check_header(message, fields)
                for name, value in fields["headers"].items():
                    self.check_value(answer["message"], name, value)
                self.check_parts(message, fields)

    def test_h10_nothing_gets_out_of_its_field(self):
        evil = "x\r\nBcc: victim@example.com\r\n\r\nbody"
        for text in (evil, evil.replace("\r\n", "\n"), evil.replace("\r\n", "\r"), "x\n", "\x01",
                     "a\tb", "\x7f"):
            cases = {
                "subject": request(subject=text),
                "from.name": request(**{"from": {"email": "a@example.com", "name": text}}),
                "from.email": request(**{"from": {"email": f"a@example.com{text}"}}),
                "reply_to.name": request(reply_to={"email": "a@example.com", "name": text}),
                "recipient.name": request(to={"email": "a@example.com", "name": text}),
                "recipient.email": request(to={"email": f"a{text}@example.com"}),
                "headers.X-A": request(headers={"X-A": text}),
                "headers.": request(headers={text: "value"}),
                "attachments[0].content_type": request(attachments=[
                    {"data": "", "content_type": "a/b; c=" + text}]),
                "attachments[1].content_id": request(attachments=[
                    {"data": "", "content_type": "a/b"},
                    {"data": "", "content_type": "a/b", "content_id": text}]),
                "attachments[0].file_name": request(attachments=[
                    {"data": "", "content_type": "a/b", "file_name": text}]),
            }
            for (field, _), answer in zip(cases.items(), ask(cases.values())):
                with self.subTest(f"{field} {text!r}"):
                    self.assertIn("problem", answer)
                    self.assertTrue(answer["problem"].startswith(field), answer)
                    self.assertTrue(answer["problem"].isascii() and answer["problem"].isprintable())

    def test_h12_the_to_header_of_templates_is_the_mailbox(self):
        names = ["", "Ann", "O'Hara, Ann", "\"Q\" (x)", "Zoë Ängström", "a" * 300, "ü" * 300,
                 "=?utf-8?q?x?=", " a ", "a  b", "\\", "x@y", "日本語 テスト"]
        asked = [request(to={"email": "a@example.com", "name": name}) for name in names]
        for name, answer in zip(names, ask(asked)):
            with self.subTest(name):
                value = answer["to_header"]
                self.assertTrue(value.isascii() and value.isprintable())
                again = request(headers={"To": value})
                message = self.read(again, ask([again])[0])
                self.check_mailbox(message, "To", {"name": name, "email": "a@example.com"})

    def test_lines_of_ours_are_short(self):
        name = "Ein Name, der mit ü lang ist und nicht aufhört, " * 5
        asked = request(to={"email": "a@example.com", "name": name}, subject="Wörter " * 60,
                        text_body="ü" * 5000, html_body="<p>é</p> " * 900,
                        headers={"X-Long": "a few words " * 40, "X-Other": "ö " * 99 + "x"},
                        attachments=[{"data": "x" * 999, "content_type": "a/b",
                                      "file_name": "ä b" * 200}])
        answer = ask([asked])[0]
        self.assertLessEqual(max(map(len, answer["message"].split("\r\n"))), 76)
        self.check_header(self.read(asked, answer), asked)

    def test_an_address_that_is_not_ascii_is_told(self):
        asked = [request(to={"email": "zoë@example.com"}),
                 request(to={"email": "z@bücher.example"}),
                 request(to={"email": "zoe@example.com", "name": "Zoë"})]
        self.assertEqual([answer["utf8"] for answer in ask(asked)], [True, True, False])


if __name__ == "__main__":
    unittest.main()
