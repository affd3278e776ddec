"""An SMTP server for tests: a thread for each connection, told what to answer, keeping everything.

A hook returns the reply line, or None for the usual one; HANG_UP closes without a reply. Hooks run
on the thread of their connection, under no lock.
"""
import re
import socket
import threading
import time

HANG_UP = object()
EVERYTHING = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 0", "CHUNKING", "ENHANCEDSTATUSCODES")
# Ours ends with its date, whatever the content begins with.
RECEIVED = re.compile(rb"Received: from [^\r]+\r\n(?:[ \t][^\r]+\r\n)*?"
                      rb"[ \t]+\w{3}, \d\d? \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\n")
PLAIN = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 0", "ENHANCEDSTATUSCODES")


class Mail:
    """One accepted or refused transaction as it came."""

    def __init__(self, connection, sender, parameters):
        self.connection = connection
        self.sender = sender
        self.parameters = parameters
        self.recipients = []
        self.content = b""
        self.replied = 0.0  # when the final reply was handed to the kernel (monotonic)

    @property
    def trace(self):
        return self.split()[0]

    @property
    def body(self):
        """All below our Received field."""
        return self.split()[1]

    def split(self):
        found = RECEIVED.match(self.content)
        assert found, self.content[:300]
        return found[0], self.content[found.end():]


class Session:
    def __init__(self, sink, peer, number):
        self.sink = sink
        self.socket = peer
        self.file = peer.makefile("rb")
        self.number = number
        self.commands = []
        self.transactions = 0
        self.mail = None

    def run(self):
        try:
            if self.say(self.sink.on_banner(self) or "220 sink.test ESMTP"):
                while self.step():
                    pass
        except OSError:
            pass
        finally:
            self.file.close()
            self.socket.close()

    def say(self, reply):
        if reply is HANG_UP:
            return False
        self.socket.sendall(reply.encode("utf-8", "surrogateescape") + b"\r\n")
        return not reply.startswith("421")

    def step(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            return False
        text = line[:-2].decode("utf-8", "replace")
        with self.sink.changed:
            self.commands.append(text)
            self.sink.changed.notify_all()
        verb = text.split(" ", 1)[0].split(":", 1)[0].upper()
        handler = getattr(self, f"do_{verb.lower()}", None)
        return handler(text) if handler else self.say("502 5.5.1 Not here")

    def do_ehlo(self, _):
        return self.say("\r\n".join(["250-sink.test", *(f"250-{name}" for name in
                                                          self.sink.extensions), "250 HELP"]))

    def do_helo(self, _):
        return self.say("250 sink.test")

    def do_rset(self, _):
        self.mail = None
        return self.say("250 2.0.0 Flushed")

    def do_noop(self, _):
        return self.say("250 2.0.0 Fine")

    def do_quit(self, _):
        self.say("221 2.0.0 Bye")
        return False

    def do_mail(self, text):
        path, _, parameters = text.partition(":")[2].partition(">")
        with self.sink.changed:
            self.transactions += 1
            self.sink.changed.notify_all()
        mail = Mail(self, path.strip().lstrip("<"), parameters.strip())
        reply = self.sink.on_mail(mail) or "250 2.1.0 Sender OK"
        if reply is not HANG_UP and reply.startswith("2"):
            self.mail = mail
        return self.say(reply)

    def do_rcpt(self, text):
        recipient = text.partition(":")[2].strip().lstrip("<").partition(">")[0]
        if self.mail is None:
            return self.say("503 5.5.1 MAIL first")
        reply = self.sink.on_rcpt(self.mail, recipient) or "250 2.1.5 Recipient OK"
        if reply is not HANG_UP and reply.startswith("2"):
            self.mail.recipients.append(recipient)
        return self.say(reply)

    def do_data(self, _):
        if self.mail is None or not self.mail.recipients:
            return self.say("503 5.5.1 RCPT first")
        reply = self.sink.on_data(self.mail) or "354 Go on"
        if reply is HANG_UP or not reply.startswith("354"):
            return self.say(reply)
        self.say(reply)
        lines = []
        while True:
            line = self.file.readline()
            if not line:
                return False
            if line == b".\r\n":
                break
            lines.append(line[1:] if line.startswith(b".") else line)
        self.mail.content = b"".join(lines)
        return self.finish()

    def do_bdat(self, text):
        words = text.split()
        content = self.file.read(int(words[1]))
        if len(content) != int(words[1]):
            return False
        if self.mail is None or not self.mail.recipients:
            return self.say("503 5.5.1 RCPT first")
        self.mail.content += content
        if words[-1].upper() != "LAST":
            return self.say("250 2.0.0 Chunk")
        return self.finish()

    def finish(self):
        mail, self.mail = self.mail, None
        reply = self.sink.on_content(mail) or "250 2.0.0 Taken"
        taken = reply is not HANG_UP and reply.startswith("2")
        mail.replied = time.monotonic()
        if taken:
            self.sink.keep(mail)
        return self.say(reply)


def nothing(*_):
    return None


class Sink:
    """Listens from the moment it is made. `mails`: what was answered 2xx, in that order."""

    on_banner = on_mail = on_rcpt = on_data = on_content = staticmethod(nothing)

    def __init__(self, extensions=EVERYTHING, port=0, address="127.0.0.1", **hooks):
        self.extensions = extensions
        for name, hook in hooks.items():
            assert hasattr(self, name), name
            setattr(self, name, hook)
        self.mails, self.sessions = [], []
        self.open_now = self.open_peak = 0
        self.changed = threading.Condition()
        self.closing = False
        self.listener = socket.create_server((address, port), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.changed:
                if self.closing:
                    peer.close()
                    return
                session = Session(self, peer, len(self.sessions))
                self.sessions.append(session)
                self.open_now += 1
                self.open_peak = max(self.open_peak, self.open_now)
                self.changed.notify_all()
            thread = threading.Thread(target=self.serve, args=(session,))
            self.threads.append(thread)
            thread.start()

    def serve(self, session):
        session.run()
        with self.changed:
            self.open_now -= 1
            self.changed.notify_all()

    def keep(self, mail):
        with self.changed:
            self.mails.append(mail)
            self.changed.notify_all()

    def wait(self, count, seconds=30):
        """Once so many mails were taken: all of them."""
        return self.wait_for(lambda: len(self.mails) >= count, f"{count} mails", seconds)

    def wait_for(self, condition, what, seconds=30):
        with self.changed:
            if not self.changed.wait_for(condition, seconds):
                raise AssertionError(f"waited {seconds} s in vain for {what}: "
                                     f"{len(self.mails)} mails, {len(self.sessions)} sessions")
            return list(self.mails)

    def close(self):
        """Ends everything and waits for its threads."""
        with self.changed:
            self.closing = True
            sessions = list(self.sessions)
        for one in (self.listener, *(session.socket for session in sessions)):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.listener.close()
        for thread in self.threads:
            thread.join()
