"""Clients of whom another says who they are: the PROXY protocol, and XCLIENT."""
import socket

from harness import BlackBox, Config

CONTENT = b"Subject: test\r\n\r\nhello\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def version_1(address):
    return f"PROXY TCP4 {address} 198.51.100.2 4567 25\r\n".encode()


def version_2(address):
    body = socket.inet_aton(address) + socket.inet_aton("198.51.100.2") + b"\x11\xd7\x00\x19"
    return SIGNATURE + b"\x21\x11" + len(body).to_bytes(2, "big") + body


class Introduced(BlackBox):
    def behind(self, **listener):
        sink = self.sink()
        return self.server(Config(sink.port, listener={
            "require_proxy_protocol": ["127.0.0.0/8"], "relay_hosts": ["192.0.2.0/24"],
            **listener}))

    def through(self, server, header):
        client = self.client(server, greet=False)
        client.send(header)
        self.assertEqual(client.reply().code, 220)
        self.assertEqual(client.command("EHLO client.test").code, 250)
        return client

    def test_p07_the_client_of_the_header_relays_and_both_addresses_are_logged(self):
        server = self.behind()
        for header in version_1("192.0.2.7"), version_2("192.0.2.8"):
            client = self.through(server, header)
            client.submit(CONTENT, ["a@x.test"])
            client.close()
        records = server.wait_events("Reception", 2)  # of two threads
        self.assertEqual(sorted(record["peer_address"]["addr"] for record in records),
                         ["192.0.2.7", "192.0.2.8"])
        for record in records:
            self.assertRegex(record["meta"]["orig_received_from"], r"^127\.0\.0\.1:\d+$")
        server.wait_events("Delivery", 2)

    def test_p07_a_stranger_of_the_header_may_not_relay(self):
        server = self.behind()
        client = self.through(server, version_2("203.0.113.9"))
        self.assertEqual(client.command("MAIL FROM:<a@client.test>").code, 250)
        self.assertEqual(client.command("RCPT TO:<a@x.test>").code, 550)
        record, = server.wait_events("Rejection", 1)
        self.assertEqual(record["peer_address"]["addr"], "203.0.113.9")
        self.assertIn("orig_received_from", record["meta"])

    def test_p02_without_a_header_there_is_no_banner(self):
        server = self.behind()
        client = self.client(server, greet=False)
        client.send(b"EHLO client.test\r\n")
        with self.assertRaises(OSError):
            client.reply()

    def test_p01_a_header_that_nobody_asked_for_is_junk(self):
        server = self.behind(require_proxy_protocol=["192.0.2.1"], relay_hosts=["127.0.0.1"])
        client = self.client(server, greet=False)
        client.send(version_1("192.0.2.7"))
        self.assertEqual(client.reply().code, 220)
        self.assertEqual(client.reply().code, 500)

    def test_s37_xclient_makes_the_client_another_one(self):
        server = self.behind(require_proxy_protocol=[], allow_xclient=["127.0.0.1"])
        client = self.client(server)
        self.assertIn("XCLIENT ADDR PORT DESTADDR DESTPORT", client.extensions)
        self.assertEqual(client.command("XCLIENT ADDR=192.0.2.7 PORT=4567").code, 220)
        self.assertEqual(client.command("MAIL FROM:<a@client.test>").code, 503)
        self.assertEqual(client.command("EHLO other.test").code, 250)
        client.submit(CONTENT, ["a@x.test"])
        record, = server.wait_events("Reception", 1)
        self.assertEqual(record["peer_address"], {"name": "other.test", "addr": "192.0.2.7"})
        self.assertRegex(record["meta"]["orig_received_from"], r"^127\.0\.0\.1:\d+$")
        server.wait_events("Delivery", 1)

    def test_s37_xclient_of_anybody_else_is_refused(self):
        server = self.behind(require_proxy_protocol=[], allow_xclient=["192.0.2.1"])
        client = self.client(server)
        self.assertFalse([each for each in client.extensions if "XCLIENT" in each])
        self.assertEqual(client.command("XCLIENT ADDR=192.0.2.7").code, 550)
        self.assertEqual(client.command("MAIL FROM:<a@client.test>").code, 250)
        self.assertEqual(client.command("RCPT TO:<a@x.test>").code, 550)
