"""A name server that says what a test tells it to, bytes and all: UDP, and TCP for whoever asks."""
import socket
import struct
import threading

A, CNAME, MX = 1, 5, 15
RESPONSE, TRUNCATED = 0x8180, 0x0200
FORMERR, SERVFAIL, NXDOMAIN = 1, 2, 3


def name(text):
    """In wire form, without compression."""
    labels = [label.encode() for label in text.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def record(owner, kind, data, ttl=60):
    """Of a name, or of bytes that stand for one."""
    owner = owner if isinstance(owner, bytes) else name(owner)
    return owner + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


def mx(owner, preference, host):
    return record(owner, MX, struct.pack(">H", preference) + name(host))


def address(owner, text, ttl=60):
    return record(owner, A, socket.inet_aton(text), ttl)


class Question:
    """What was asked, and how to answer it."""

    def __init__(self, message, stream):
        self.id, = struct.unpack(">H", message[:2])
        self.stream = stream
        labels, at = [], 12
        while message[at]:
            labels.append(message[at + 1:at + 1 + message[at]].decode("latin-1").lower())
            at += 1 + message[at]
        self.name = ".".join(labels)
        self.kind, _ = struct.unpack(">HH", message[at + 1:at + 5])
        self.bytes = message[12:at + 5]
        self.plain = message[10:12] == b"\0\0"  # without EDNS

    def answer(self, *records, flags=0, number=None, question=None, count=None):
        """`count`: how many records it says it has."""
        return struct.pack(">HHHHHH", self.id if number is None else number, RESPONSE | flags, 1,
                           len(records) if count is None else count, 0, 0) + \
            (self.bytes if question is None else question) + b"".join(records)


class NameServer:
    """`answer(question)` gives the messages to send, in their order; none is silence."""

    def __init__(self, answer):
        self.reply = answer
        self.asked = []
        self.closing = False
        self.stream = socket.create_server(("127.0.0.1", 0))
        self.port = self.stream.getsockname()[1]
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("127.0.0.1", self.port))
        self.threads = [threading.Thread(target=work, daemon=True)
                        for work in (self.serve_datagrams, self.serve_streams)]
        for thread in self.threads:
            thread.start()

    def answers(self, message, stream):
        question = Question(message, stream)
        self.asked.append((question.name, question.kind, stream))
        return self.reply(question)

    def serve_datagrams(self):
        while True:
            message, peer = self.datagrams.recvfrom(4096)
            if self.closing:
                return
            for answer in self.answers(message, False):
                self.datagrams.sendto(answer, peer)

    def serve_streams(self):
        while True:
            connection, _ = self.stream.accept()
            if self.closing:
                connection.close()
                return
            with connection:
                connection.settimeout(5)
                try:
                    size, = struct.unpack(">H", connection.recv(2, socket.MSG_WAITALL))
                    message = connection.recv(size, socket.MSG_WAITALL)
                    for answer in self.answers(message, True):
                        connection.sendall(struct.pack(">H", len(answer)) + answer)
                except (OSError, struct.error):
                    pass

    def close(self):
        self.closing = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wake:
            wake.sendto(b"", ("127.0.0.1", self.port))
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            pass
        for thread in self.threads:
            thread.join(10)
        self.datagrams.close()
        self.stream.close()
