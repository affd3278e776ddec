"""Messages that are written again on a real disk: what lives in a poisoned segment moves, and a
kill in the middle of it costs nobody a message and brings nobody two."""
import os
import time
from collections import Counter

from harness import BlackBox, Config, wait_until
from smtp_client import Client

LATER = "450 4.2.0 Later"
MESSAGES = 80


def content_of(number):
    lines = 40000 if number % 20 == 0 else 30  # a twentieth is stored in pieces
    return b"Subject: %d\r\n\r\n" % number + b".number %d\r\n" % number * lines


class Rewrite(BlackBox):
    def setUp(self):
        super().setUp()
        self.bad = os.path.join(self.folder, "bad")

    def deferring(self):
        """A server all of whose mail is deferred for some seconds, and its sink."""
        sink = self.sink(on_mail=lambda mail: LATER)
        config = Config(sink.port, node={"shards": 1}, queue={"retry_interval": "8s"},
                        spool={"min_free_space": 0, "segment_size": "4MiB",
                               "recovery_spread": "0s"})
        server = self.faulty(config, f"write *segment-* 1+ error=EIO if={self.bad}").start()
        client = Client(server.address)
        for number in range(MESSAGES):
            reply = client.submit(content_of(number), [f"n{number}@x.test"])
            self.assertEqual(reply.code, 250)
        client.close()
        server.wait_events("TransientFailure", MESSAGES)
        return server, sink

    def poison(self, server):
        """One write fails; afterwards the disk is well."""
        with open(self.bad, "wb"):
            pass
        client = Client(server.address)
        self.assertEqual(client.submit(content_of(1), ["refused@x.test"]).code, 451)
        client.close()
        os.unlink(self.bad)

    def assert_all_come_once(self, sink):
        """What was refused just before a kill may come as well: nothing could void it."""
        def come():
            return [mail for mail in sink.wait(0) if mail.recipients != ["refused@x.test"]]

        sink.on_mail = lambda mail: None
        wait_until(lambda: len(come()) >= MESSAGES, "all mail")
        for mail in come():
            number = int(mail.recipients[0][1:].partition("@")[0])
            self.assertTrue(mail.body == content_of(number), f"message {number} changed")
        time.sleep(1)
        times = Counter(mail.recipients[0] for mail in come())
        self.assertEqual(len(times), MESSAGES)
        self.assertEqual([name for name, count in times.items() if count != 1], [])

    def test_what_lives_in_a_poisoned_segment_moves_and_arrives(self):
        server, sink = self.deferring()
        counters = {"messages_rewritten": 0}
        for seconds in (3, 10, 30):  # only a busy machine takes longer than the first
            if counters["messages_rewritten"] == 0:
                self.poison(server)
                time.sleep(seconds)
                counters = server.stop()
                self.assertEqual(counters["rewrites_failed"], 0)
                server.start()
        self.assertGreater(counters["messages_rewritten"], 0)
        self.assert_all_come_once(sink)
        server.stop()

    def test_kills_while_messages_are_written_again_lose_and_double_nothing(self):
        server, sink = self.deferring()
        for after in (0.2, 0.9, 1.0, 1.02, 1.1):
            self.poison(server)
            time.sleep(after)
            server.kill()
            server.start()
            self.assertGreaterEqual(int(server.ready["queued"]), MESSAGES)
        self.poison(server)
        self.assert_all_come_once(sink)
        server.stop()
