"""The listener: who may relay, who is told to go, and what is not offered."""
import socket

from harness import BlackBox, Config

CONTENT = b"Subject: test\r\n\r\nhello\r\n"
STRANGERS = {"relay_hosts": []}


class Listener(BlackBox):
    def starts(self, reply, text):
        self.assertTrue(repr(reply).startswith(text), reply)

    def test_the_greeting_and_the_extensions(self):
        server = self.server(Config(2626))
        client = self.client(server)
        self.assertEqual(client.banner.code, 220)
        self.assertTrue(client.banner.text.startswith("mta.test "))
        self.assertEqual(set(client.extensions), {
            "PIPELINING", "SIZE 20971520", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN",
            "ENHANCEDSTATUSCODES"})
        server.stop()

    def test_strangers_may_not_relay(self):
        server = self.server(Config(2626, listener=STRANGERS))
        client = self.client(server)
        replies = client.envelope("a@b.test", ["c@d.test"])
        self.assertEqual(replies[0].code, 250)
        self.starts(replies[1], "550 5.7.1")
        self.starts(client.command("DATA"), "503 5.5.1")
        server.wait_events("Rejection", 1)
        server.stop()

    def test_a_recipient_at_an_address_of_our_own_is_refused(self):
        server = self.server(Config())
        self.starts(self.client(server).envelope("a@b.test", ["c@[127.0.0.1]"])[1], "550 5.4.4")
        server.stop()

    def test_required_tls_defers(self):
        sink = self.sink()
        server = self.server(Config(sink.port, shaping={"enable_tls": "Required"},
                                    queue={"retry_interval": "1h"}))
        self.client(server).submit(CONTENT)
        response = server.wait_events("TransientFailure", 1)[0]["response"]
        self.assertEqual((response["code"], response["enhanced_code"]),
                         (451, {"class": 4, "subject": 7, "detail": 5}))
        self.assertEqual(sink.mails, [])
        server.stop()

    def test_s05_an_early_talker_is_refused_unless_trusted(self):
        for trusted in (True, False):
            with self.subTest(trusted=trusted):
                server = self.server(Config(2626, listener={} if trusted else STRANGERS))
                client = self.client(server, greet=False)
                client.send(b"EHLO early.test\r\nNOOP\r\nQUIT\r\n")
                if trusted:
                    codes = [client.reply().code for _ in range(4)]
                    self.assertEqual(codes, [220, 250, 250, 221])
                else:
                    self.starts(client.reply(), "554 5.5.1")
                self.assertTrue(client.at_end())
                server.stop()

    def test_a_whole_session_in_one_flight_is_served_in_order(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        client = self.client(server, greet=False)
        one = b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n" + CONTENT + b".\r\n"
        client.send(b"EHLO x.test\r\n" + one * 20 + b"QUIT\r\n")
        codes = [client.reply().code for _ in range(2 + 20 * 4 + 1)]
        self.assertEqual(codes, [220, 250] + [250, 250, 354, 250] * 20 + [221])
        sink.wait(20)
        server.stop()

    def test_what_is_not_offered_is_refused(self):
        server = self.server(Config(2626))
        client = self.client(server)
        for command, reply in (("STARTTLS", "502 5.5.1"), ("AUTH PLAIN AGEAYg==", "502 5.5.1"),
                               ("EXPN list", "502 5.5.1"), ("TURN", "50"), ("XYZZY", "500 5.5."),
                               ("MAIL FROM:<a@b.test> AUTH=<>", "555 5.5.4"),
                               ("MAIL FROM:<a@b.test> REQUIRETLS", "555 5.5.4"),
                               ("MAIL FROM:<a@b.test> BODY=FOO", "501 5.5.4"),
                               ("RCPT TO:<a@b.test>", "503 5.5.1"), ("DATA", "503 5.5.1"),
                               ("BDAT 0 LAST", "503 5.5.1"), ("RSET", "250"), ("NOOP", "250"),
                               ("VRFY user", "25"), ("HELP", "2")):
            got = client.command(command)
            if command in ("VRFY user", "HELP"):
                self.assertIn(got.code, (252, 214, 502), command)
            else:
                self.starts(got, reply)
        self.starts(client.quit(), "221 2.0.0")
        server.stop()

    def test_s21_too_many_recipients(self):
        sink = self.sink()
        server = self.server(Config(sink.port, listener={"max_recipients_per_message": 100}))
        client = self.client(server)
        replies = client.envelope("a@b.test", [f"r{number}@x.test" for number in range(105)])
        self.assertEqual([reply.code for reply in replies], [250] * 101 + [452] * 5)
        self.starts(replies[-1], "452 4.5.3")
        self.assertEqual(client.data(CONTENT).ids[1], 100)
        sink.wait_for(lambda: sum(len(mail.recipients) for mail in sink.mails) == 100, "copies")
        server.stop()

    def test_max_connections(self):
        server = self.server(Config(2626, listener={"max_connections": 3}))
        clients = [self.client(server) for _ in range(3)]
        surplus = self.client(server, greet=False)
        self.starts(surplus.reply(), "421 4.3.2")
        self.assertTrue(surplus.at_end())
        clients[0].quit()
        self.assertGreaterEqual(server.stop()["connections_refused"], 1)

    def test_max_connections_per_host_spares_the_trusted(self):
        for trusted in (True, False):
            with self.subTest(trusted=trusted):
                options = {"max_connections_per_host": 2, **({} if trusted else STRANGERS)}
                server = self.server(Config(2626, listener=options))
                clients = [self.client(server, greet=False) for _ in range(6)]
                codes = sorted(client.reply().code for client in clients)
                self.assertEqual(codes, [220] * 6 if trusted else [220] * 2 + [421] * 4)
                server.stop()

    def test_max_messages_per_connection(self):
        sink = self.sink()
        server = self.server(Config(sink.port, listener={"max_messages_per_connection": 3}))
        client = self.client(server)
        codes = [client.submit(CONTENT).code for _ in range(3)]
        self.assertEqual(codes, [250] * 3)
        self.assertEqual(client.command("MAIL FROM:<a@b.test>").code, 421)
        self.assertTrue(client.at_end())
        server.stop()

    def test_an_idle_client_is_cut_off(self):
        server = self.server(Config(2626, listener={"client_timeout": "1s"}))
        client = self.client(server)
        reply = client.reply()
        self.assertEqual(reply.code, 421)
        self.assertTrue(client.at_end())
        server.stop()

    def test_a_client_that_resets_in_its_content_leaves_nothing(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        for size in (0, 100, 300000):
            client = self.client(server)
            client.envelope("a@b.test", ["c@d.test"])
            client.command("DATA")
            client.send(b"x" * 70 + b"\r\n" if size else b"")
            client.send((b"y" * 70 + b"\r\n") * (size // 72))
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        self.assertEqual(self.client(server).submit(CONTENT).code, 250)
        self.assertEqual([mail.body for mail in sink.wait(1)], [CONTENT])
        self.assertEqual(server.stop()["messages_received"], 1)
        server.start()
        self.assertEqual(server.ready["queued"], "0")
        server.stop()

    def test_the_received_field_can_be_left_out(self):
        sink = self.sink()
        server = self.server(Config(sink.port, listener={
            "trace_headers": {"received_header": False}}))
        self.client(server).submit(CONTENT)
        self.assertEqual(sink.wait(1)[0].content, CONTENT)
        server.stop()
