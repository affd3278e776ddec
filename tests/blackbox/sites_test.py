"""A site with fewer connections than threads: counted at its side, on real sockets."""
import time

from harness import BlackBox, Config, wait_until

BODY = b"Subject: test\r\n\r\nhello\r\n"
SHARDS = 4
LIMIT = 2
CLIENTS = 32  # the kernel deals them out to the threads
MESSAGES = 10  # of each


class Sites(BlackBox):
    def test_l09_connections_of_all_threads_stay_within_the_limit_and_are_handed_on(self):
        sink = self.sink(on_content=lambda _: time.sleep(0.005))
        server = self.server(Config(sink.port, node={"shards": SHARDS},
                                    shaping={"connection_limit": LIMIT}))
        promised = set()
        clients = [self.client(server) for _ in range(CLIENTS)]
        for number in range(MESSAGES):
            for at, client in enumerate(clients):
                to = f"u{at}-{number}@example.com"
                self.assertEqual(client.submit(BODY, [to]).code, 250)
                promised.add(to)
        samples = []

        def all_there():
            samples.append(sink.open_now)
            time.sleep(0.01)
            return len(sink.mails) >= len(promised)

        wait_until(all_there, "all mail at the sink")
        taken = [to for mail in sink.mails for to in mail.recipients]
        self.assertEqual(sorted(taken), sorted(promised))
        self.assertLessEqual(max(samples + [sink.open_peak]), LIMIT)
        counters = server.stop()
        self.assertLessEqual(len(sink.sessions), LIMIT)
        self.assertEqual(counters["connections_out"], len(sink.sessions))
        self.assertGreaterEqual(counters["connections_handed"], 1)
