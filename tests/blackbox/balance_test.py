"""Clients on several threads, on real sockets: where each is, its message ids say."""
from collections import Counter

from harness import BlackBox, Config

BODY = b"Subject: test\r\n\r\nhello\r\n"
SHARDS = 4


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
