"""HTTP as clients speak it: probes, metrics, and what is no request at all."""
import gzip
import http.client
import json
import re
import socket
import subprocess
import unittest

from harness import BlackBox, Config, address_of

SECONDS = 20


class Http(BlackBox):
    def setUp(self):
        super().setUp()
        self.mta = self.server(Config())
        self.http = address_of(self.mta.ready["http"])

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(*self.http, timeout=SECONDS)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        return answer, said

    def raw(self, request):
        """Everything that is answered to these bytes, up to the end of the connection."""
        with socket.create_connection(self.http, timeout=SECONDS) as client:
            client.sendall(request)
            said = b""
            while True:
                part = client.recv(65536)
                if not part:
                    return said
                said += part

    def statuses(self, request):
        return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+) ", self.raw(request))]

    def test_probes_say_that_it_lives_and_is_ready(self):
        for path in ("/api/check-liveness/v1", "/api/check-readiness/v1"):
            answer, said = self.ask("GET", path)
            self.assertEqual((answer.status, said), (200, b"OK\n"))

    def test_metrics_are_counts_for_prometheus_and_as_json(self):
        client = self.client(self.mta)
        client.close()
        answer, said = self.ask("GET", "/metrics")
        self.assertEqual(answer.status, 200)
        self.assertIn("text/plain; version=0.0.4", answer.getheader("Content-Type"))
        lines = said.decode().splitlines()
        self.assertIn('total_connection_count{service="esmtp_listener"} 1', lines)
        self.assertIn("ringpost_connections_in_total 1", lines)
        self.assertIn("ringpost_lost_wakeups_total 0", lines)
        types = {}
        for line in lines:
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                self.assertNotIn(name, types)
                types[name] = kind
            elif not line.startswith("# HELP "):
                sample = re.fullmatch(r'([a-z_]+?)(_bucket|_sum|_count)?(\{[^{}]+\})? [0-9.]+',
                                      line)
                self.assertIsNotNone(sample, line)
                whole = sample[1] + (sample[2] or "")
                self.assertTrue(whole in types or types.get(sample[1]) == "histogram", line)
        answer, said = self.ask("GET", "/metrics.json")
        self.assertEqual(answer.getheader("Content-Type"), "application/json")
        found = json.loads(said)
        self.assertEqual({name: found[name]["type"] for name in found}, types)
        self.assertEqual(found["total_connection_count"]["value"]["service"]["esmtp_listener"], 1)
        self.assertEqual(found["ringpost_connections_in_total"]["value"], 1)
        answer, said = self.ask("GET", "/metrics.json?prefix=ringpost_http_req")
        self.assertEqual(list(json.loads(said)), ["ringpost_http_requests_total"])
        answer, said = self.ask("GET", "/metrics?prefix=%zz")
        self.assertEqual(answer.status, 400)

    def test_a_connection_is_kept_and_methods_are_told(self):
        connection = http.client.HTTPConnection(*self.http, timeout=SECONDS)
        for _ in range(3):
            for method, path, status in (("GET", "/metrics", 200), ("HEAD", "/metrics", 200),
                                         ("OPTIONS", "/metrics", 204), ("GET", "/nothing", 404),
                                         ("DELETE", "/metrics", 405)):
                connection.request(method, path)
                answer = connection.getresponse()
                said = answer.read()
                self.assertEqual(answer.status, status)
                self.assertEqual(len(said) > 0, method in ("GET", "DELETE"))
                if status in (204, 405):
                    self.assertEqual(answer.getheader("Allow"), "GET, HEAD, OPTIONS")
        connection.close()
        self.assertEqual(self.mta.stop()["http_connections"], 1)

    def test_h01_h03_smuggled_requests_are_not_answered(self):
        hidden = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        for fields in (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                       b"Content-Length: 5\r\nContent-Length: 6\r\n",
                       b"\rContent-Length: 5\r\n",
                       b" Content-Length: 5\r\n",
                       b"X-Abc: \rxTransfer-Encoding: chunked\r\n"):
            request = b"POST /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n" + fields + b"\r\n0\r\n\r\n"
            self.assertEqual(self.statuses(request + hidden), [400], fields)

    def test_h04_other_protocols_are_turned_away(self):
        for request, statuses in ((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505]),
                                  (b"GET /metrics\r\n\r\n", [400]),
                                  (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", [405]),
                                  (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400]),
                                  (b"EHLO a.test\r\n\r\n", [400])):
            self.assertEqual(self.statuses(request), statuses, request)

    def test_h05_pipelined_requests_are_answered_in_order(self):
        one = b"HEAD /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        two = b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        last = (b"GET /api/check-liveness/v1 HTTP/1.1\r\nHost: localhost\r\n"
                b"Connection: close\r\n\r\n")
        self.assertEqual(self.statuses((one + two) * 200 + last), [200, 404] * 200 + [200])

    def test_h08_bodies_are_not_taken_where_there_is_nothing_to_say(self):
        answer, _ = self.ask("POST", "/metrics", gzip.compress(b"0" * 10000000),
                             {"Content-Encoding": "gzip"})
        self.assertEqual(answer.status, 405)
        self.assertEqual(self.statuses(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                                       b"Content-Length: 100000\r\n\r\n" + b"0" * 100000), [413])

    def test_h17_pages_and_paths_from_elsewhere_are_refused(self):
        for headers, status in (({"Host": "evil.test"}, 403), ({"Host": "mta.test"}, 200),
                                ({"Host": "localhost:1"}, 200),
                                ({"Origin": "http://evil.test"}, 403), ({"Origin": "null"}, 403)):
            answer, _ = self.ask("GET", "/metrics", headers=headers)
            self.assertEqual(answer.status, status, headers)
        for path in ("//metrics", "/x/../metrics", "/%2e%2e/metrics", "/metrics%00", "/metrics;a"):
            answer, _ = self.ask("GET", path)
            self.assertEqual(answer.status, 404, path)

    def test_curl_is_content(self):
        url = f"http://{self.mta.ready['http']}"
        said = subprocess.run(["curl", "-sS", "--fail", "--max-time", str(SECONDS), "-w",
                               "%{http_code} %{num_connects}\n", "-o", "/dev/null",
                               f"{url}/metrics", "-o", "/dev/null", f"{url}/metrics.json"],
                              capture_output=True, text=True, check=True)
        self.assertEqual(said.stdout, "200 1\n200 0\n")

    def test_a_taken_port_is_named(self):
        config = Config(spool={"path": "spool-2"}, log={"path": "log-2"},
                        node={"state_dir": "state-2"})
        place = self.mta.ready["http"]
        path = f"{self.folder}/second.toml"
        with open(path, "w", encoding="utf-8") as file:
            file.write(config.text().replace("[[http_listener]]\nlisten = \"127.0.0.1:0\"",
                                             f"[[http_listener]]\nlisten = \"{place}\""))
        code, said = self.run_daemon("-c", path)
        self.assertEqual(code, 1)
        self.assertIn(f"cannot listen on {place}: Address already in use", said)

    def test_h16_a_stop_is_not_held_up_by_idle_clients(self):
        idle = socket.create_connection(self.http, timeout=SECONDS)
        half = socket.create_connection(self.http, timeout=SECONDS)
        half.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        self.assertEqual(self.ask("GET", "/metrics")[0].status, 200)
        self.mta.stop()
        self.assertEqual(idle.recv(100), b"")
        idle.close()
        half.close()


if __name__ == "__main__":
    unittest.main()
