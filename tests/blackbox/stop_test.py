"""Stopping: SIGTERM finishes what began, a second one cuts, both end with 0 and lose nothing."""
import signal
import threading
import time

from harness import BlackBox, Config
from ledger import Ledger
from smtp_sink import EVERYTHING, Sink

CONTENT = b"Subject: test\r\n\r\nhello\r\n"


class Stop(BlackBox):
    def test_an_idle_client_is_told_421(self):
        server = self.server(Config(2626))
        clients = [self.client(server) for _ in range(3)]
        clients[1].envelope("a@b.test", ["c@d.test"])
        server.signal(signal.SIGTERM)
        for client in clients:
            reply = client.reply()
            self.assertTrue(repr(reply).startswith("421 4.3.2"), reply)
            self.assertTrue(client.at_end())
        self.assertEqual(server.wait_exit(), 0)

    def test_content_that_has_begun_is_finished(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        data, bdat = self.client(server), self.client(server)
        for client in (data, bdat):
            client.envelope("a@b.test", ["c@d.test"])
        data.command("DATA")
        data.send(CONTENT)
        bdat.send(b"BDAT 20\r\n" + b"x" * 20)
        self.assertEqual(bdat.reply().code, 250)  # the server has seen that content has begun
        bdat.send(b"BDAT 80\r\n" + b"y" * 30)
        idle = self.client(server)
        server.signal(signal.SIGTERM)
        self.assertEqual(idle.reply().code, 421)
        data.send(b"the end\r\n.\r\n")
        bdat.send(b"y" * 50 + b"BDAT 5 LAST\r\nend\r\n")
        self.assertEqual(data.reply().code, 250)
        self.assertEqual([bdat.reply().code for _ in range(2)], [250, 250])
        for client in (data, bdat):
            self.assertEqual(client.reply().code, 421)
            self.assertTrue(client.at_end())
        self.assertEqual(server.wait_exit(), 0)
        server.start()  # what was not yet delivered is now
        bodies = sorted(mail.body for mail in sink.wait(2))
        self.assertEqual(bodies, sorted((CONTENT + b"the end\r\n", b"x" * 20 + b"y" * 80
                                         + b"end\r\n")))
        server.stop()

    def test_a_delivery_under_way_is_finished(self):
        gate, asked = threading.Event(), threading.Event()

        def on_content(_):
            asked.set()
            gate.wait(30)
        sink = self.sink(on_content=on_content)
        self.addCleanup(gate.set)
        server = self.server(Config(sink.port))
        self.client(server).submit(CONTENT)
        self.assertTrue(asked.wait(30))
        server.signal(signal.SIGTERM)
        threading.Timer(0.3, gate.set).start()
        self.assertEqual(server.wait_exit(), 0)
        self.assertEqual(len(sink.wait(1)), 1)
        self.assertEqual(len(server.events("Delivery")), 1)
        server.start()
        self.assertEqual(server.ready["queued"], "0")
        server.stop()

    def test_stop_timeout_ends_the_waiting(self):
        gate = threading.Event()
        sink = self.sink(on_content=lambda mail: gate.wait(30) and None)
        self.addCleanup(gate.set)
        server = self.server(Config(sink.port, node={"stop_timeout": "1s"}))
        self.client(server).submit(CONTENT)
        sink.wait_for(lambda: any(session.transactions for session in sink.sessions), "a delivery")
        begun = time.monotonic()
        server.stop()
        self.assertLess(time.monotonic() - begun, 5)
        server.start()
        self.assertEqual(server.ready["queued"], "1")
        gate.set()
        sink.wait(1)
        server.stop()

    def test_a_second_sigterm_ends_within_two_seconds(self):
        gate = threading.Event()
        sink = self.sink(on_content=lambda mail: gate.wait(30) and None)
        self.addCleanup(gate.set)
        server = self.server(Config(sink.port))
        open_client = self.client(server)
        open_client.envelope("a@b.test", ["c@d.test"])
        open_client.command("DATA")
        self.client(server).submit(CONTENT)
        sink.wait_for(lambda: any(session.transactions for session in sink.sessions), "a delivery")
        server.signal(signal.SIGTERM)
        time.sleep(0.2)  # two signals at once would be one
        begun = time.monotonic()
        server.stop()
        self.assertLess(time.monotonic() - begun, 2)
        gate.set()
        server.start()
        sink.wait_for(lambda: len({mail.recipients[0] for mail in sink.mails}) == 1, "the mail")
        server.stop()

    def test_a_signal_while_starting_ends_with_0(self):
        server = self.unstarted(Config(2626)).launch()
        time.sleep(0.01)  # anywhere before it is ready
        server.signal(signal.SIGTERM)
        self.assertIn(server.wait_exit(), (0, -signal.SIGTERM))

    def test_f33_a_stop_under_load_loses_and_doubles_nothing(self):
        ledger, stop = Ledger(), threading.Event()
        sink = Sink(EVERYTHING, on_content=ledger.on_content)
        self.addCleanup(sink.close)
        server = self.server(Config(sink.port))
        senders = [threading.Thread(target=ledger.send_until, args=(stop, lambda: server.address,
                                                                    mode))
                   for mode in ("data", "bdat", "data", "bdat")]
        self.addCleanup(lambda: [stop.set(), *(sender.join() for sender in senders)])
        for sender in senders:
            sender.start()
        for _ in range(5):
            time.sleep(0.3)
            server.stop()
            server.start()
        stop.set()
        for sender in senders:
            sender.join()
        sink.wait_for(lambda: not ledger.missing(), "the rest", 60)
        causes, _ = ledger.duplicates()
        self.assertEqual((dict(causes), ledger.altered), ({}, []))
        self.assertGreater(len(ledger.accepted), 50)
        server.stop()
        server.start()
        self.assertEqual(server.ready["queued"], "0")
        server.stop()
