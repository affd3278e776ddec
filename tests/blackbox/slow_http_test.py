"""slowhttptest against a server: more connections than it takes, each as slow as can be. Meanwhile
others get their answers, and at the end all is as before."""
import http.client
import resource
import shutil
import socket
import subprocess
import time
import unittest

from harness import BlackBox, Config, address_of, wait_until

CROWD = 4000           # connections that are there before; of a thread 4,096 are taken
CONNECTIONS = 1000     # of slowhttptest, on top
SECONDS = 5            # of each attack
ANSWER_SECONDS = 5     # for anybody else, at the worst
# What each attack is told beside that: a request that is refused at once would be none.
ATTACKS = {
    "H": ["-u", "/metrics", "-i", "1"],
    "B": ["-u", "/api/inject/v1", "-f", "application/json", "-i", "1", "-s", "8192"],
    "X": ["-u", "/console/uplot.js", "-w", "10", "-y", "20", "-n", "1", "-z", "16", "-k", "3"],
    "R": ["-u", "/console/uplot.js", "-t", "GET", "-a", "1", "-b", "3000"],
}


# What each of the crowd says, and then nothing, nor does it read.
CROWDS = {
    "H": b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ",
    "B": b"POST /api/inject/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
         b"Content-Length: 8192\r\n\r\n{",
    "X": b"GET /console/uplot.js HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "R": b"GET /console/uplot.js HTTP/1.1\r\nHost: localhost\r\nRange: bytes=1-1,1-2\r\n\r\n",
}


class SlowHttp(BlackBox):
    def setUp(self):
        super().setUp()
        if shutil.which("slowhttptest") is None:
            self.skipTest("slowhttptest is not installed: tools/setup test")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 2 * CROWD:
            self.skipTest(f"only {hard} descriptors for each process")
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * CROWD, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.mta = self.server(Config())
        self.http = address_of(self.mta.ready["http"])

    def ask(self, path):
        """The status; 0 when there was none in time. Who is turned away in a rush comes again."""
        ends = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < ends:
            connection = http.client.HTTPConnection(*self.http, timeout=ANSWER_SECONDS)
            try:
                connection.request("GET", path)
                return connection.getresponse().status
            except OSError:
                time.sleep(0.05)
            finally:
                connection.close()
        return 0

    def crowd(self, kind):
        for _ in range(CROWD):
            client = socket.socket()
            self.addCleanup(client.close)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.settimeout(SECONDS)
            client.connect(self.http)
            client.sendall(CROWDS[kind])

    def attack(self, kind):
        self.crowd(kind)
        words = list(ATTACKS[kind])
        words[1] = "http://{}:{}{}".format(*self.http, words[1])
        slow = subprocess.Popen(
            ["slowhttptest", f"-{kind}", "-c", str(CONNECTIONS), "-r", str(CONNECTIONS), "-l",
             str(SECONDS), "-p", str(ANSWER_SECONDS), "-v", "1", *words],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        self.addCleanup(slow.stdout.close)
        self.addCleanup(lambda: slow.poll() is None and slow.kill())
        asked = []
        while slow.poll() is None:
            for path in ("/api/check-liveness/v1", "/metrics.json?prefix=ringpost_http"):
                asked.append((path, self.ask(path)))
            time.sleep(0.1)
        said = slow.stdout.read().decode("utf-8", "replace")
        self.assertIn("Exit status:", said)
        self.assertEqual([row for row in asked if row[1] != 200], [], said)
        self.assertGreater(len(asked), 2)
        self.assertIn("YES", said)
        self.assertEqual(self.ask("/api/check-liveness/v1"), 200)
        self.assertNotIn("event=bug", self.mta.errors())

    def ended(self):
        """All of them have gone, and a stop waits for nobody."""
        wait_until(lambda: self.ask("/api/check-readiness/v1") == 200, "readiness")
        counters = self.mta.stop()
        self.assertGreater(counters["http_connections"] + counters["http_turned_away"], CROWD)

    def test_h06_slow_headers_starve_nobody(self):
        self.attack("H")
        self.ended()

    def test_h06_slow_bodies_starve_nobody(self):
        self.attack("B")
        self.ended()

    def test_h06_slow_readers_starve_nobody(self):
        self.attack("X")
        self.ended()

    def test_h06_ranges_starve_nobody(self):
        self.attack("R")
        self.ended()


if __name__ == "__main__":
    unittest.main()
