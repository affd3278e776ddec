"""The event log as a stream over HTTP: every record once, whoever is killed meanwhile."""
import http.client
import json
import os
import random
import socket
import unittest

from harness import BlackBox, Config, address_of, wait_until

SECONDS = 30
CONTENT = b"Subject: test\r\n\r\nhello\r\n"


class Stream:
    """Who follows the log; `lines` until the stream ends or is killed."""

    def __init__(self, address, query):
        self.connection = http.client.HTTPConnection(*address, timeout=SECONDS)
        self.connection.request("GET", "/api/events/v1" + query)
        self.answer = self.connection.getresponse()

    def line(self):
        line = self.answer.readline()
        return json.loads(line) if line else None

    def close(self):
        self.connection.close()


class EventStream(BlackBox):
    def begin(self):
        self.sink_ = self.sink()
        config = Config(self.sink_.port, log={"max_segment_duration": "1s"})
        server = self.server(config)
        return server, address_of(server.ready["http"])

    def follow(self, address, query, status=200):
        stream = Stream(address, query)
        self.addCleanup(stream.close)
        self.assertEqual(stream.answer.status, status)
        return stream

    def put(self, server, count, start=0):
        client = self.client(server)
        for number in range(start, start + count):
            reply = client.submit(CONTENT, [f"r{number}@one.test", f"r{number}@two.test"])
            self.assertEqual(reply.code, 250)
        client.close()

    def logged(self, server):
        return [json.loads(line) for line in server.event_lines()]

    def test_a_consumer_that_is_killed_and_comes_again_has_every_record_once(self):
        seed = int(os.environ.get("RINGPOST_SEED", random.randrange(2**32)))
        print(f"# seed {seed}")
        chance = random.Random(seed)
        server, address = self.begin()
        records, offset = [], "start"
        for turn in range(8):
            self.put(server, 25, 25 * turn)
            stream = self.follow(address, f"?from={offset}&follow=1")
            for _ in range(chance.randrange(1, 60)):
                record = stream.line()
                offset = record.pop("offset")
                records.append(record)
            stream.close()
            if turn == 4:  # offsets outlive a restart
                server.stop()
                server.start()
                address = address_of(server.ready["http"])
        wait_until(lambda: len(self.logged(server)) == 8 * 25 * 4, "all records in the log")
        stream = self.follow(address, f"?from={offset}")
        for record in iter(stream.line, None):
            offset = record.pop("offset")
            records.append(record)
        self.assertEqual(records, self.logged(server))
        self.assertIsNone(self.follow(address, f"?from={offset}").line())

    def test_types_and_the_end_at_a_stop(self):
        server, address = self.begin()
        self.put(server, 5)
        wait_until(lambda: len(self.logged(server)) == 20, "all records in the log")
        now = self.follow(address, "?follow=1")
        deliveries = self.follow(address, "?from=start&type=Delivery&follow=0")
        found = list(iter(deliveries.line, None))
        self.assertEqual({record["type"] for record in found}, {"Delivery"})
        self.assertEqual(len(found), 10)
        self.put(server, 1, 5)
        self.assertEqual(now.line()["recipient"], "r5@one.test")
        server.stop()
        rest = list(iter(now.line, None))  # whole: the last chunk has come
        self.assertLessEqual(len(rest), 3)

    def test_what_is_wrong_is_refused(self):
        _, address = self.begin()
        for query in ("?from=x", "?from=20251009-085323.000000-1", "?type=Nothing", "?follow=2",
                      "?from=start&from=start"):
            self.follow(address, query, 400)
        self.follow(address, "?from=20200101-000000.000000-0-1", 410)
        streams = [self.follow(address, "?follow=1") for _ in range(8)]
        ninth = self.follow(address, "?follow=1", 503)
        self.assertEqual(ninth.answer.getheader("Retry-After"), "1")
        streams[0].close()
        wait_until(lambda: self.is_taken(address), "room for another stream")

    def is_taken(self, address):
        stream = Stream(address, "?follow=1")
        stream.close()
        return stream.answer.status == 200

    def test_a_reader_that_stands_still_holds_nothing_up(self):
        server, address = self.begin()
        slow = socket.create_connection(address, timeout=SECONDS)
        self.addCleanup(slow.close)
        slow.sendall(b"GET /api/events/v1?from=start&follow=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        self.put(server, 300)
        wait_until(lambda: len(self.logged(server)) == 1200, "all records in the log")
        stream = self.follow(address, "?from=start")
        self.assertEqual(len(list(iter(stream.line, None))), 1200)


if __name__ == "__main__":
    unittest.main()
