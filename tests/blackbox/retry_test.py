"""What becomes of mail that is not taken at once: retries, bounces, other hosts, connections."""
import socket
import threading
import time
from collections import Counter

from harness import BlackBox, Config, free_port
from smtp_client import Client
from smtp_sink import HANG_UP

CONTENT = b"Subject: test\r\n\r\nhello\r\n"


class Attempts:
    """A hook for RCPT that refuses each recipient as often as told, and notes when it was asked."""

    def __init__(self, refusals, reply="450 4.2.0 Not yet"):
        self.refusals, self.reply = refusals, reply
        self.times, self.lock = {}, threading.Lock()

    def __call__(self, mail, recipient):
        with self.lock:
            times = self.times.setdefault(recipient, [])
            times.append(time.monotonic())
            return self.reply if len(times) <= self.refusals else None


class Retry(BlackBox):
    def test_deferred_mail_is_tried_again_with_growing_intervals(self):
        attempts = Attempts(2)
        sink = self.sink(on_rcpt=attempts)
        server = self.server(Config(sink.port))
        self.client(server).submit(CONTENT)
        sink.wait(1)
        first, second, third = attempts.times["user@example.com"]
        self.assertTrue(0.9 <= second - first <= 3, second - first)
        self.assertTrue(1.8 <= third - second <= 5, third - second)
        delivery = server.wait_events("Delivery", 1)[0]
        self.assertEqual(delivery["num_attempts"], 3)
        counts = [record["num_attempts"] for record in server.events("TransientFailure")]
        self.assertEqual(counts, [1, 2])
        server.stop()

    def test_max_retry_interval_bounds_the_growth(self):
        attempts = Attempts(4)
        sink = self.sink(on_rcpt=attempts)
        server = self.server(Config(sink.port, queue={"max_retry_interval": "1s"}))
        self.client(server).submit(CONTENT)
        sink.wait(1)
        times = attempts.times["user@example.com"]
        self.assertLess(max(after - before for before, after in zip(times, times[1:])), 3)
        server.stop()

    def test_recipients_have_their_own_results(self):
        told = {"ok@x.test": None, "later@x.test": "450 4.2.0 Later", "no@x.test": "550 5.1.1 No",
                "full@x.test": "552 5.2.2 Full", "gone@x.test": "551 5.1.6 Moved"}
        sink = self.sink(on_rcpt=lambda mail, to: told[to])
        server = self.server(Config(sink.port, queue={"retry_interval": "1h"}))
        self.client(server).submit(CONTENT, list(told))
        self.assertEqual(sink.wait(1)[0].recipients, ["ok@x.test"])
        server.wait_events("Bounce", 2)
        server.wait_events("TransientFailure", 2)
        outcome = {record["recipient"]: record["type"] for record in server.events()
                   if record["type"] != "Reception"}
        self.assertEqual(outcome, {"ok@x.test": "Delivery", "later@x.test": "TransientFailure",
                                   "no@x.test": "Bounce", "full@x.test": "TransientFailure",
                                   "gone@x.test": "Bounce"})
        server.stop()
        server.start()
        self.assertEqual(server.ready["queued"], "2")
        server.stop()

    def test_the_reply_to_the_content_decides_for_all(self):
        for reply, kind in (("554 5.7.1 Spam", "Bounce"), ("451 4.3.0 Later", "TransientFailure")):
            with self.subTest(reply=reply):
                sink = self.sink(on_content=lambda mail, reply=reply: reply)
                server = self.server(Config(sink.port, queue={"retry_interval": "1h"}))
                server_records = len(server.events(kind))
                self.client(server).submit(CONTENT, ["a@x.test", "b@x.test"])
                for record in server.wait_events(kind, server_records + 2):
                    self.assertEqual(record["response"]["command"], ".")
                server.stop()

    def test_a_peer_that_goes_after_the_content_is_uncertain(self):
        sink = self.sink(on_content=lambda mail: None if len(sink.sessions) > 1 else HANG_UP)
        server = self.server(Config(sink.port))
        self.client(server).submit(CONTENT)
        sink.wait(1)
        server.wait_events("Delivery", 1)
        record = server.wait_events("TransientFailure", 1)[0]
        self.assertIs(record.get("uncertain"), True, record)
        self.assertTrue(record["response"]["content"].startswith("Ringpost internal: "), record)
        self.assertEqual(server.stop()["uncertain"], 1)

    def test_a_greeting_that_refuses_defers(self):
        for banner in ("421 4.3.2 Busy", "554 5.3.2 Go away", HANG_UP):
            with self.subTest(banner=banner):
                sink = self.sink(on_banner=lambda session, banner=banner: banner)
                server = self.server(Config(sink.port, queue={"retry_interval": "1h"}))
                before = len(server.events("TransientFailure"))
                self.client(server).submit(CONTENT)
                server.wait_events("TransientFailure", before + 1)
                self.assertEqual(server.events("Bounce"), [])
                server.stop()

    # ---- restarts

    def test_a_restart_keeps_deferred_mail_and_its_attempts(self):
        attempts = Attempts(2)
        sink = self.sink(on_rcpt=attempts)
        server = self.server(Config(sink.port, queue={"retry_interval": "2s"}))
        self.client(server).submit(CONTENT)
        server.wait_events("TransientFailure", 1)
        server.stop()
        server.start()
        self.assertEqual(server.ready["queued"], "1")
        server.wait_events("TransientFailure", 2)
        server.kill()
        server.start()
        sink.wait(1)
        record = server.wait_events("Delivery", 1)[0]
        self.assertEqual(record["num_attempts"], 3)
        times = attempts.times["user@example.com"]
        self.assertGreaterEqual(times[1] - times[0], 1.8)
        self.assertGreaterEqual(times[2] - times[1], 3.6)
        server.stop()

    def test_untried_mail_is_due_at_once_after_a_crash(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        sink = self.sink(on_mail=lambda mail: None if gate.wait(30) else None)
        config = Config(sink.port, spool={"recovery_spread": "1s"},
                        queue={"retry_interval": "1h"})
        server = self.server(config)
        client = self.client(server)
        for number in range(50):
            self.assertEqual(client.submit(CONTENT, [f"n{number}@d.test"]).code, 250)
        server.kill()
        gate.set()
        server.start()
        self.assertEqual(server.ready["queued"], "50")
        begun = time.monotonic()
        # Some may come twice: what the killed process had sent whole, the sink still takes.
        expected = {f"n{number}@d.test" for number in range(50)}
        sink.wait_for(lambda: {mail.recipients[0] for mail in sink.mails} >= expected, "all 50")
        self.assertLess(time.monotonic() - begun, 5)
        self.assertEqual({mail.recipients[0] for mail in sink.mails}, expected)
        server.stop()

    # ---- hosts and connections

    def test_the_second_host_is_tried_when_the_first_refuses_connections(self):
        sink = self.sink()
        config = Config()
        config.mx_list(f"[127.0.0.1]:{free_port()}", f"[127.0.0.1]:{sink.port}")
        server = self.server(config)
        self.client(server).submit(CONTENT)
        sink.wait(1)
        self.assertEqual(server.wait_events("Delivery", 1)[0]["num_attempts"], 1)
        self.assertEqual(server.events("TransientFailure"), [])
        server.stop()

    def test_mail_waits_while_no_host_answers(self):
        port = free_port()
        server = self.server(Config(port))
        self.client(server).submit(CONTENT)
        record = server.wait_events("TransientFailure", 1)[0]
        self.assertTrue(record["response"]["content"].startswith("Ringpost internal: "), record)
        self.assertTrue(400 <= record["response"]["code"] < 500, record)
        sink = self.sink(port=port)
        sink.wait(1)
        counters = server.stop()
        self.assertGreater(counters["connect_failures"], 0)
        self.assertEqual(counters["deliveries"], 1)

    def test_connections_are_used_again(self):
        sink = self.sink()
        server = self.server(Config(sink.port, shaping={"connection_limit": 1}))
        client = self.client(server)
        for number in range(20):
            client.submit(CONTENT)
            sink.wait(number + 1)
        self.assertEqual(len(sink.sessions), 1)
        self.assertEqual(sink.sessions[0].transactions, 20)
        server.stop()

    def test_max_deliveries_per_connection(self):
        sink = self.sink()
        server = self.server(Config(sink.port, shaping={"connection_limit": 1,
                                                        "max_deliveries_per_connection": 5}))
        client = self.client(server)
        for _ in range(20):
            client.submit(CONTENT)
        sink.wait(20)
        counts = [session.transactions for session in sink.sessions]
        self.assertLessEqual(max(counts), 5, counts)
        server.stop()

    def test_the_connection_limit_is_never_exceeded(self):
        """Over all shards of the node, at every moment the sink can see."""
        sink = self.sink(on_content=lambda mail: time.sleep(0.002))
        server = self.server(Config(sink.port, shaping={"connection_limit": 7}))

        def send(worker):
            client = Client(server.address)
            for _ in range(60):
                client.submit(CONTENT, [f"w{worker}@d.test"])
            client.quit()
        senders = [threading.Thread(target=send, args=(worker,)) for worker in range(8)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        sink.wait(480)
        self.assertLessEqual(sink.open_peak, 7)
        self.assertEqual(server.stop()["deliveries"], 480)

    def test_c17_a_kept_connection_that_the_peer_closed_costs_no_attempt(self):
        sink = self.sink()
        server = self.server(Config(sink.port, shaping={"connection_limit": 1}))
        client = self.client(server)
        client.submit(CONTENT)
        server.wait_events("Delivery", 1)
        sink.sessions[0].socket.shutdown(socket.SHUT_RDWR)
        client.submit(CONTENT)
        sink.wait(2)
        records = server.wait_events("Delivery", 2)
        self.assertEqual(server.events("TransientFailure"), [])
        self.assertEqual([record["num_attempts"] for record in records], [1, 1])
        server.stop()

    def test_recipients_beyond_the_servers_limit_are_sent_at_once(self):
        def on_rcpt(mail, _):
            return "452 4.5.3 Too many" if len(mail.recipients) >= 10 else None
        sink = self.sink(on_rcpt=on_rcpt)
        server = self.server(Config(sink.port, queue={"retry_interval": "1h"}))
        wanted = {f"r{number}@x.test" for number in range(35)}
        self.client(server).submit(CONTENT, sorted(wanted))
        server.wait_events("Delivery", 35)
        got = Counter(to for mail in sink.mails for to in mail.recipients)
        self.assertEqual((set(got), set(got.values())), (wanted, {1}))
        self.assertEqual(server.events("TransientFailure"), [])
        server.stop()
