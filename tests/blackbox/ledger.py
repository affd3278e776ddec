"""Who was promised what, and who got it: the judge of the crash tests.

Every message has a number; its body follows from the number alone, so that the sink knows what it
has to be. A sender writes down what was answered 250, the sink what it answered 250.
"""
import random
import threading
import time
from collections import Counter, defaultdict

from smtp_client import Client

SIZES = (100, 1000, 3000, 4096, 9000, 30000)
LARGE = 700000  # stored in parts


def body_of(number):
    source = random.Random(number)
    size = source.choice(SIZES) if number % 100 else LARGE
    line = b"%d:" % number + source.randbytes(30).hex().encode() + b"\r\n"
    lines = line * (size // len(line) + 1)
    return b"X-Number: %d\r\nSubject: %d\r\n\r\n" % (number, number) + b".\r\n" + lines


def recipients_of(number):
    return [f"r{part}.n{number}@d{number % 11}.test" for part in range(1 + number % 3)]


class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
        self.next_number = 1
        self.accepted = {}                 # number: when its 250 was read
        self.attempted = set()
        self.delivered = defaultdict(list)  # recipient: when each copy was answered 250
        self.altered = []
        self.kills = []                    # (killed, ready again)

    def take_number(self):
        with self.lock:
            number, self.next_number = self.next_number, self.next_number + 1
            self.attempted.add(number)
            return number

    # ---- the senders' side

    def send_until(self, stop, address, mode):
        """Sends one message after the other; connects again when the server has gone."""
        while not stop.is_set():
            try:
                client = Client(address(), timeout=10)
            except (OSError, ValueError):
                time.sleep(0.005)  # nobody listens between a kill and the next start
                continue
            try:
                while not stop.is_set():
                    self.send_one(client, mode)
                client.quit()
            except OSError:
                pass
            finally:
                client.close()

    def send_one(self, client, mode):
        number = self.take_number()
        reply = client.submit(body_of(number), recipients_of(number), mode=mode)
        if reply.code == 250:
            with self.lock:
                self.accepted[number] = time.monotonic()

    # ---- the sink's side

    def on_content(self, mail):
        """Before the sink answers: what came is whole and is what was sent to these people."""
        number = int(mail.recipients[0].partition(".n")[2].partition("@")[0])
        right = (mail.body == body_of(number) and
                 set(mail.recipients) <= set(recipients_of(number)) and
                 len(set(mail.recipients)) == len(mail.recipients))
        now = time.monotonic()
        with self.lock:
            if not right:
                self.altered.append(number)
            for recipient in mail.recipients:
                self.delivered[recipient].append(now)
        mail.content = b""

    # ---- the verdict

    def missing(self):
        with self.lock:
            return [recipient for number in self.accepted for recipient in recipients_of(number)
                    if not self.delivered.get(recipient)]

    def copies(self):
        with self.lock:
            return sum(len(times) for times in self.delivered.values())

    def duplicates(self):
        """Copies after the first by cause: `kill`, when the server was killed between two copies
        (what was under way in the kernel may still be read until the next start), and
        `unexplained`; and the longest time from such a copy to the kill that explains it."""
        causes, longest = Counter(), 0.0
        with self.lock:
            for times in self.delivered.values():
                for before, after in zip(times, times[1:]):
                    kill = next((kill for kill, start in self.kills
                                 if before < start and kill < after), None)
                    causes["unexplained" if kill is None else "kill"] += 1
                    longest = max(longest, 0 if kill is None else kill - before)
        return causes, longest


class Load:
    """Senders that go on until stop(), whatever becomes of the server at address()."""

    def __init__(self, test, ledger, address, modes=("data", "bdat", "data", "bdat")):
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=ledger.send_until,
                                         args=(self.stopped, address, mode)) for mode in modes]
        test.addCleanup(self.stop)
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join()
