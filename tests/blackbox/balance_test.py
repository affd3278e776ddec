"""Clients on several threads, on real sockets: where each is, its message ids say."""
import threading
import time
from collections import Counter

from harness import BlackBox, Config

BODY = b"Subject: test\r\n\r\nhello\r\n"
DOTS = b"..\r\n" * 1_000_000  # work for the thread, hardly any for who sends them
SHARDS = 4
BUSY_S = 120  # at most, until a session moves; on a busy machine clients are slower than threads


def shard_of(reply):
    """Of the thread that stored it."""
    return int(reply.ids[0], 16) >> 30 & 0x3FF


class Balance(BlackBox):
    def submit(self, client):
        """One message; the thread that took it."""
        reply = client.submit(BODY)
        self.assertEqual(reply.code, 250)
        return shard_of(reply)

    def test_l10_clients_that_stay_are_spread_over_all_threads(self):
        server = self.server(Config(self.sink().port, node={"shards": SHARDS}))
        clients = []
        for count in range(1, 4 * SHARDS + 1):
            clients.append(self.client(server))
            places = Counter(self.submit(client) for client in clients)
            self.assertLessEqual(max(places.values()), (count + SHARDS - 1) // SHARDS)
        counters = server.stop()
        self.assertEqual(counters["connections_in"], len(clients))
        self.assertEqual(counters["messages_received"], sum(range(1, 4 * SHARDS + 1)))
        self.assertEqual(counters["lost_wakeups"], 0)

    def test_l11_of_two_busy_sessions_on_one_thread_one_goes_to_another(self):
        server = self.server(Config(self.sink().port, node={"shards": SHARDS},
                                    listener={"max_message_size": "64KiB"}))
        clients = [self.client(server) for _ in range(2 * SHARDS)]
        places = [self.submit(client) for client in clients]
        pair = [client for client, place in zip(clients, places) if place == places[0]]
        self.assertEqual(len(pair), 2)
        found = [[], []]
        over = time.monotonic() + BUSY_S

        def apart():
            return any(set(taken) - {places[0]} for taken in found)

        def work(number):
            """Content is read to its end before it is refused: the disk has nothing to do."""
            client = pair[number]
            while time.monotonic() < over and not apart():
                client.envelope("a@b.test", ["user@example.com"])
                self.assertEqual(client.command("DATA").code, 354)
                for _ in range(8):
                    client.send(DOTS)
                client.send(b".\r\n")
                self.assertEqual(client.reply().code, 552)
                found[number].append(self.submit(client))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertTrue(apart())
        self.assertNotEqual(*(self.submit(client) for client in pair))
        counters = server.stop()
        self.assertEqual(counters["messages_received"],
                         len(places) + len(pair) + sum(len(taken) for taken in found))
        self.assertEqual(counters["clients_moved"], 1)
        self.assertEqual(counters["lost_wakeups"], 0)
