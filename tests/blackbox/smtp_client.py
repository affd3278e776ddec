"""A plain SMTP client that sends exactly the octets it is told to."""
import re
import socket


class Reply:
    def __init__(self, lines):
        self.lines = lines
        self.code = int(lines[-1][:3])
        self.text = lines[-1][4:]

    @property
    def ids(self):
        """First id and count of an accepting reply."""
        found = re.fullmatch(r"2\.0\.0 OK ids=([0-9a-f]{32}) count=(\d+)", self.text)
        assert found, self.text
        return found[1], int(found[2])

    def __repr__(self):
        return "/".join(self.lines)


def dotted(content):
    """Content as DATA sends it, without the end mark (RFC 5321 4.5.2)."""
    if content.startswith(b"."):
        content = b"." + content
    return content.replace(b"\r\n.", b"\r\n..")


class Client:
    def __init__(self, address, greet=True, timeout=30):
        self.socket = socket.create_connection(address, timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.extensions = []
        try:
            if greet:
                self.banner = self.reply()
                hello = self.command("EHLO client.test")
                self.extensions = [line[4:] for line in hello.lines[1:]]
        except OSError:
            self.close()
            raise

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, octets):
        self.socket.sendall(octets)

    def reply(self):
        """The next reply; ConnectionError when the connection is over."""
        lines = []
        while True:
            raw = self.file.readline()
            if not raw.endswith(b"\r\n"):
                raise ConnectionError(f"connection over in a reply: {lines} {raw}")
            line = raw.decode("utf-8")[:-2]
            lines.append(line)
            if line[3:4] != "-":
                return Reply(lines)

    def at_end(self):
        """True when the peer has closed and nothing more is to be read."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True

    def command(self, line):
        self.send(line.encode("utf-8") + b"\r\n")
        return self.reply()

    def envelope(self, sender, recipients, parameters=""):
        """MAIL and RCPTs in one flight; the replies."""
        lines = [f"MAIL FROM:<{sender}>{parameters}", *(f"RCPT TO:<{to}>" for to in recipients)]
        self.send("".join(line + "\r\n" for line in lines).encode("utf-8"))
        return [self.reply() for _ in lines]

    def data(self, content, end=b"\r\n.\r\n"):
        """DATA with content that is dot-stuffed here; the final reply."""
        refused = self.command("DATA")
        if refused.code != 354:
            return refused
        if end == b"\r\n.\r\n" and (content.endswith(b"\r\n") or not content):
            end = b".\r\n"
        self.send(dotted(content) + end)
        return self.reply()

    def bdat(self, content, chunk=None):
        """The content in chunks of this size (or one), all in one flight; the last reply."""
        chunk = chunk or max(len(content), 1)
        starts = range(0, len(content), chunk) or [0]
        flight = b""
        for start in starts:
            last = " LAST" if start + chunk >= len(content) else ""
            part = content[start:start + chunk]
            flight += f"BDAT {len(part)}{last}\r\n".encode() + part
        self.send(flight)
        return [self.reply() for _ in starts][-1]

    def submit(self, content, recipients=("user@example.com",), sender="from@sender.test",
               mode="data", **options):
        """One transaction; the final reply, or the first one that refuses the envelope."""
        for reply in self.envelope(sender, recipients, options.pop("parameters", "")):
            if reply.code != 250:
                return reply
        return (self.data if mode == "data" else self.bdat)(content, **options)

    def quit(self):
        reply = self.command("QUIT")
        self.close()
        return reply
