"""A server under requests that are none, by a seed: it lives, answers others, keeps its memory, and
carries out nothing that stood inside of another request.

REQUESTS and SEED make it long, as `make storm` does."""
import http.client
import json
import os
import subprocess
import time
import unittest

from harness import BENCH, SECONDS, BlackBox, Config, address_of, pairs, wait_until
from http_storm import SMUGGLED, Storm

REQUESTS = int(os.environ.get("REQUESTS", "20000"))
SEED = int(os.environ.get("SEED", "1"))
SHORT_SECONDS = 15     # of a storm whose length nobody asked for
PARTS = 20
GROWTH = 64 << 20      # bytes that memory may still take once the first quarter is over


class HttpStorm(BlackBox):
    def setUp(self):
        super().setUp()
        errors = os.path.join(self.folder, "sink.errors")
        with open(errors, "wb") as file:
            self.taker = subprocess.Popen(
                [BENCH, "sink", "--listen", "127.0.0.1:0", "--mode", "all"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=file)
        self.addCleanup(self.taker.wait)
        self.addCleanup(self.taker.terminate)

        def ready():
            with open(errors, encoding="utf-8") as file:
                return pairs(file.read()).get("sink")
        port = address_of(wait_until(ready, "the sink"))[1]
        self.mta = self.server(Config(port))
        self.http = address_of(self.mta.ready["http"])

    def ask(self, path):
        connection = http.client.HTTPConnection(*self.http, timeout=SECONDS)
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        return answer.status, said

    def memory(self):
        with open(f"/proc/{self.mta.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def carry_on(self, storm):
        """In parts, with a look between them; the bytes of memory that it had at each."""
        given = "REQUESTS" in os.environ
        until = None if given else time.monotonic() + SHORT_SECONDS
        levels = []
        for part in range(1, PARTS + 1):
            storm.run(REQUESTS * part // PARTS, until)
            self.assertEqual(storm.complaints, [], f"seed {SEED}: a request inside of another")
            self.assertEqual(self.ask("/api/check-liveness/v1"), (200, b"OK\n"))
            levels.append(self.memory())
            if given:
                print(f"# {storm.requests} requests, {storm.probe_count} probes, "
                      f"memory {levels[-1] >> 20} MiB", flush=True)
        return levels

    def test_h20_a_storm_of_requests_hurts_nobody(self):
        print(f"# SEED={SEED} REQUESTS={REQUESTS}", flush=True)
        storm = Storm(self.http, SEED)
        levels = self.carry_on(storm)
        self.assertLess(max(levels[PARTS // 4:]) - levels[PARTS // 4], GROWTH)
        self.assertGreater(storm.probe_count, 0)
        status, said = self.ask("/api/admin/suspend/v1")
        self.assertEqual(status, 200)
        self.assertNotIn(SMUGGLED, json.dumps(json.loads(said)))
        for word in ("event=bug", "AddressSanitizer", "runtime error"):
            self.assertNotIn(word, self.mta.errors())
        counters = self.mta.stop()
        self.assertGreater(counters["http_requests"], storm.requests // 4)


if __name__ == "__main__":
    unittest.main()
