"""Requests for a running server that are no longer quite requests: valid ones of every route,
changed by a seed, and probes that could make a server see a second request where there is one.

Several connections at a time, each with a few requests, from one process. What is sent depends on
the seed alone, not on what is answered."""
import json
import random
import selectors
import socket
import time

CONNECTIONS = 64
PER_CONNECTION = 6     # requests, at most
PATIENCE = 1.0         # seconds for the answers of one connection; streams have no end
SMUGGLED = "smuggled"  # stands in what no server may carry out, and in no answer

BODIES = [
    {"envelope_sender": "a@storm.test", "content": "Subject: {{ name }}\n\nHello {{ name }}\n",
     "recipients": [{"email": "b@storm.test", "name": "B", "substitutions": {"x": [1, {"y": 2}]}}]},
    {"envelope_sender": "", "template_dialect": "Handlebars", "substitutions": {"a": "<b>"},
     "recipients": [{"email": f"r{i}@storm.test"} for i in range(3)],
     "content": {"from": {"email": "a@storm.test", "name": "Ä"}, "subject": "{{a}}",
                 "reply_to": {"email": "c@storm.test"}, "text_body": "x", "html_body": "<p>{{a}}",
                 "headers": {"X-A": "b"},
                 "attachments": [{"data": "aGk=", "base64": True, "content_type": "text/plain",
                                  "file_name": "a.txt"}]}},
    {"envelope_sender": "a@storm.test", "content": "Subject: x\n\n.\n..\n", "deferred_spool": True,
     "recipients": [{"email": "a@[127.0.0.1]"}], "trace_headers": {"received_header": True}},
]
ORDERS = {
    "bounce": {"domain": "storm.test", "reason": "r", "duration": "1s"},
    "suspend": {"domain": "storm.test", "reason": "r", "duration": "1s"},
    "suspend-ready-q": {"name": "x->y@smtp_client", "reason": "r", "duration": "1s"},
    "flush": {"domain": "storm.test", "reason": "r"},
    "rebind": {"domain": "storm.test", "reason": "r", "data": {"tenant": "t"}},
    "reload": {},
}
PATHS = [
    "/", "/console/main.js", "/metrics", "/metrics.json?prefix=ringpost_http", "/nowhere",
    "/api/check-liveness/v1", "/api/check-readiness/v1", "/api/events/v1?from=0&type=Reception",
    "/api/admin/explain/v1?domain=storm.test", "/api/admin/queues/v1?limit=3",
    "/api/admin/inspect-message/v1?id=" + "0" * 32, "/api/admin/bounce/v1",
    "/api/admin/inspect-sched-q/v1?queue_name=storm.test&want_body=true",
    "/api/admin/inspect-ready-q/v1?queue_name=x", "/api/admin/suspend/v1",
    "/api/admin/suspend-ready-q/v1",
]
FIELDS = [
    b"Connection: keep-alive", b"Connection: close", b"Expect: 100-continue", b"Accept: */*",
    b"Accept-Encoding: gzip", b"Content-Encoding: gzip", b"Content-Encoding: zstd",
    b"Origin: http://localhost", b"Origin: http://evil.test", b"Idempotency-Key: k",
    b"Upgrade: h2c", b"If-None-Match: *", b"Range: bytes=0-0,1-1,0-", b"Authorization: Basic YTpi",
]
TOKENS = [b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b";", b"chunked", b"%00",
          b"%2e%2e/", b"\xff\xfe", b"\xed\xa0\x80", b"{{", b"}}", b"{% for i in x %}",
          b"\"", b"\\u",
          b"\\ud800", b"[[[[[[[[", b"{\"a\":", b"1e999", b"-0", b"18446744073709551616",
          b"HTTP/1.0", b"HTTP/2.0", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n"]


def request(method, path, body=None, fields=()):
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: localhost", *fields]
    if body is not None:
        lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def in_chunks(dice, body):
    out = b""
    while body:
        size = dice.randint(1, max(1, len(body)))
        extension = dice.choice([b"", b"", b";a=b", b';a="b c"'])
        out += b"%x%s\r\n%s\r\n" % (size, extension, body[:size])
        body = body[size:]
    return out + b"0\r\n" + dice.choice([b"", b"X-Trailer: y\r\n"]) + b"\r\n"


def changed(dice, data):
    """These bytes after a few changes."""
    data = bytearray(data)
    for _ in range(dice.choice([0, 1, 1, 2, 3, 6])):
        at = dice.randrange(len(data) + 1)
        kind = dice.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            data[at:at] = dice.choice(TOKENS)
        elif kind == 2:
            del data[at:at + dice.randint(1, 8)]
        elif kind == 3:
            data[at:at] = data[at:at + dice.randint(1, 64)]
        elif kind == 4:
            data[at:at + dice.randint(0, 4)] = dice.choice(TOKENS)
        else:
            data[at:at] = bytes(dice.randrange(256) for _ in range(dice.randint(1, 4)))
    return bytes(data)


def mutant(dice, last):
    """A request of some route. The last of a connection may have all of it changed, one before it
    its body alone, so that the next is seen, too."""
    fields = dice.sample(FIELDS, dice.choice([0, 0, 1, 2])) if last else []
    kind = dice.randrange(10)
    if kind < 3:
        whole = request("GET", dice.choice(PATHS), fields=fields)
        return changed(dice, whole) if last else whole
    if kind < 7:
        path, body = "/api/inject/v1", dice.choice(BODIES)
    else:
        name = dice.choice(list(ORDERS))
        path, body = f"/api/admin/{name}/v1", ORDERS[name]
    body = json.dumps(body).encode()
    if not last or kind % 2:
        body = changed(dice, body)
    head = [b"Content-Type: application/json", *fields]
    if dice.random() < 0.2:
        head.append(b"Transfer-Encoding: chunked")
        whole = request("POST", path, fields=head) + in_chunks(dice, body)
    else:
        whole = request("POST", path, body, fields)
    return changed(dice, whole) if last and kind % 2 == 0 else whole


def hidden(dice):
    """A whole request that stands where no request is: it would suspend a queue."""
    order = {"domain": f"{SMUGGLED}{dice.randrange(1000)}.test", "reason": SMUGGLED}
    return request("POST", "/api/admin/suspend/v1", json.dumps(order).encode())


def lengths(dice, size):
    """Fields that do not say one length, or not in the one way there is."""
    return dice.choice([
        [b"Content-Length: 0", b"Content-Length: %d" % size],
        [b"Content-Length: %d" % size, b"Content-Length: 0"],
        [b"Content-Length: 0, %d" % size], [b"Content-Length: +0"], [b"Content-Length: -0"],
        [b"Content-Length: 0x0"], [b"Content-Length: 0 0"], [b"Content-Length : 0"],
        [b"Content-Length: 18446744073709551616"], [b"Content-Length:"], [b"Content-Length: 0;"],
        [b" Content-Length: 0"], [b"X: y", b" Content-Length: 0"], [b"X: y\r\n\tz: 0"],
        [b"Content-Length\0: 0"], [b"Content-Length: 0\0"], [b"Content-Length: \x0b0"],
    ])


def codings(dice):
    """Fields of which one server would see chunks, and another none."""
    return dice.choice([
        [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding: identity, chunked"], [b"Transfer-Encoding: chunked, identity"],
        [b"Transfer-Encoding: xchunked"], [b"Transfer-Encoding : chunked"],
        [b"Transfer-Encoding: \x0bchunked"], [b"Transfer-Encoding: \"chunked\""],
        [b"Transfer-Encoding:\r\n chunked"], [b"X: y\nTransfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked\0"], [b"Transfer-Encoding: chunked,"],
        [b"Transfer-Encoding: chunked;a=b"], [b"Transfer_Encoding: chunked", b"Content-Length: x"],
    ])


def broken_chunks(dice, secret):
    """Chunks that end early for who is not strict."""
    return dice.choice([
        b"0\n\n" + secret, b"0\r\n\n" + secret, b"0 \r\n\r\n" + secret, b"0;\n\r\n\r\n" + secret,
        b"5\nhello\n0\n\n" + secret, b"5\r\nhello0\r\n\r\n" + secret,
        b"-0\r\n\r\n" + secret, b"0x0\r\n\r\n" + secret, b"\r\n0\r\n\r\n" + secret,
        b"10000000000000000\r\n" + secret, b"0;a=\r0\r\n\r\n" + secret,
        b"0;" + b"a" * 5000 + b"\r\n\r\n" + secret, b"0\r\nX : y\r\n\r\n" + secret,
        b"0\r\n X: y\r\n\r\n" + secret, b"0\r\nX: y\n\n" + secret,
    ])


def probe(dice):
    """A request with another one in it. Whoever answers twice, or does what it says, took it for
    one: each of these has to be refused, and its connection closed."""
    secret = hidden(dice)
    head = [b"POST /api/inject/v1 HTTP/1.1", b"Host: localhost", b"Content-Type: application/json"]
    kind = dice.randrange(4)
    if kind == 0:
        return b"\r\n".join(head + lengths(dice, len(secret))) + b"\r\n\r\n" + secret
    if kind == 1:
        return b"\r\n".join(head + codings(dice)) + b"\r\n\r\n0\r\n\r\n" + secret
    if kind == 2:
        return (b"\r\n".join(head + [b"Transfer-Encoding: chunked"]) + b"\r\n\r\n"
                + broken_chunks(dice, secret))
    end = dice.choice([b"\n\n", b"\r\n\n", b"\n\r\n", b"\r\r\n\r\n", b"\r\n\0\r\n\r\n"])
    return b"\r\n".join(head + [b"Content-Length: 0"]) + end + secret


class Talk:
    """One connection: all of it is sent, then the end; answers are read to theirs."""

    def __init__(self, address, data, is_probe):
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(address)
        self.rest = memoryview(data)
        self.data = data
        self.is_probe = is_probe
        self.said = b""
        self.ends = time.monotonic() + PATIENCE

    def send(self):
        """True once nothing is left to send."""
        try:
            self.rest = self.rest[self.socket.send(self.rest):]
            if not self.rest:
                self.socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self.rest = self.rest[:0]  # closed before all was sent: what it said can be read
        return not self.rest

    def receive(self):
        """True at the end."""
        try:
            part = self.socket.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            return True
        if self.is_probe:
            self.said += part
        return not part


class Storm:
    """So many requests of a seed; `complaints` is what must not be."""

    def __init__(self, address, seed, probes=0.2):
        self.address = address
        self.dice = random.Random(seed)
        self.probes = probes
        self.selector = selectors.DefaultSelector()
        self.talks = set()
        self.requests = 0
        self.probe_count = 0
        self.cut = 0  # connections without an end in time
        self.complaints = []

    def open(self, left):
        if self.dice.random() < self.probes:
            data, count = probe(self.dice), 1
            talk = Talk(self.address, data, True)
            self.probe_count += 1
        else:
            count = min(left, self.dice.randint(1, PER_CONNECTION))
            data = b"".join(mutant(self.dice, i + 1 == count) for i in range(count))
            talk = Talk(self.address, data, False)
        self.requests += count
        self.talks.add(talk)
        self.selector.register(talk.socket, selectors.EVENT_WRITE, talk)

    def close(self, talk):
        self.selector.unregister(talk.socket)
        talk.socket.close()
        self.talks.discard(talk)
        answers = talk.said.count(b"HTTP/1.1 ") - talk.said.count(b"HTTP/1.1 100 ")
        refused = talk.said.startswith(b"HTTP/1.1 4") or talk.said.startswith(b"HTTP/1.1 5")
        if talk.is_probe and (answers > 1 or (answers == 1 and not refused)):
            self.complaints.append((talk.data, talk.said[:500]))

    def step(self):
        for key, events in self.selector.select(0.1):
            talk = key.data
            if events & selectors.EVENT_WRITE and talk.send():
                self.selector.modify(talk.socket, selectors.EVENT_READ, talk)
            if events & selectors.EVENT_READ and talk.receive():
                self.close(talk)
        now = time.monotonic()
        for talk in [talk for talk in self.talks if talk.ends < now]:
            self.cut += 1
            self.close(talk)

    def run(self, count, until=None):
        """`count` requests, or those that go before `until`; one that was refused may end early."""
        while not self.complaints:
            more = self.requests < count and (until is None or time.monotonic() < until)
            while more and len(self.talks) < CONNECTIONS and self.requests < count:
                self.open(count - self.requests)
            if not more and not self.talks:
                break
            self.step()
        for talk in list(self.talks):
            self.close(talk)
