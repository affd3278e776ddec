"""Content arrives byte for byte below our Received field, whatever stands in it, or is refused."""
import os
import random

from harness import BlackBox, Config
from smtp_client import Client
from smtp_sink import EVERYTHING, PLAIN

HEADER = b"Subject: test\r\n\r\n"
SEED = int(os.environ.get("SEED", "0")) or random.randrange(1, 1 << 31)
LIMIT = 20 << 20
HUGE = HEADER + b"".join(b"%0998d\r\n" % line for line in range(100_000))  # 100 MB


def lines_of(total):
    """Content of exactly this size, in lines of 66 octets and a last one."""
    line = b"0123456789abcdef" * 4 + b"\r\n"
    room = total - len(HEADER)
    count = max(room // len(line) - 1, 0)
    return HEADER + line * count + b"x" * (room - count * len(line) - 2) + b"\r\n"


def named_messages():
    """Each oddity by name."""
    yield "empty", b""
    yield "only a line end", b"\r\n"
    yield "header only", b"Subject: nothing below\r\n"
    yield "no header", b"\r\nthere is no header\r\n"
    yield "header and empty body", HEADER
    yield "one dot", b".\r\n"
    yield "dots only", b".\r\n" * 1000
    yield "growing dots", b"".join(b"." * n + b"\r\n" for n in range(1, 300))
    yield "leading dots", HEADER + b".a\r\n..b\r\n...c\r\n.\r\n..\r\nd.\r\n"
    yield "end mark look-alikes", HEADER + b".\0\r\n\r\n.\t\r\n. \r\n\0.\r\n"
    yield "longest lines", HEADER + (b"x" * 998 + b"\r\n") * 5
    yield "longest lines of dots", HEADER + (b"." * 998 + b"\r\n") * 5
    yield "every octet", HEADER + bytes(c for c in range(256) if c not in b"\r\n") + b"\r\n"
    yield "NULs", HEADER + b"\0" * 500 + b"\r\n\0\r\n"
    yield "8-bit", HEADER + bytes(range(128, 256)) * 3 + b"\r\n"
    yield "UTF-8 in the header", "Subject: Grüße \U0001f4e8\r\n\r\nжук\r\n".encode()
    yield "broken UTF-8", HEADER + b"\xff\xfe\xc3\x28\xed\xa0\x80\r\n"
    yield "folded first line", b" folded\r\nSubject: x\r\n\r\nx\r\n"
    yield "mailbox line", b"From someone Mon Jan  1\r\nSubject: x\r\n\r\nFrom here\r\n"
    yield "own Received already", b"Received: from a by b; x\r\n" * 30 + HEADER
    yield "many header fields", b"".join(b"X-%d: y\r\n" % n for n in range(2000)) + b"\r\nz\r\n"
    yield "line ends only", b"\r\n" * 5000
    for edge in (2 << 10, 4 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20):
        for size in range(edge - 2, edge + 3):
            yield f"{size} octets", lines_of(size)


def random_message(source):
    """Lines of every kind, of no particular size."""
    kinds = (
        lambda: b"." * source.randrange(1, 6),
        lambda: b"",
        lambda: source.randbytes(source.randrange(1, 300)).replace(b"\r", b"").replace(b"\n", b""),
        lambda: b"x" * source.choice((1, 77, 511, 997, 998)),
        lambda: b"." + b"y" * source.randrange(0, 997),
        lambda: "ünïcödé ".encode() * source.randrange(1, 40),
    )
    count = source.choice((1, 3, 10, 40, 150))
    return b"".join(source.choice(kinds)()[:998] + b"\r\n" for _ in range(count))


class Content(BlackBox):
    def relay(self, messages, mode, extensions, **configured):
        """Sends each (name, content, options) with its number as recipient, compares what came."""
        sink = self.sink(extensions=extensions)
        server = self.server(Config(sink.port, **configured))
        client = self.client(server)
        expected = {}
        for number, (name, content, options) in enumerate(messages):
            to = f"n{number}@example.com"
            expected[to] = (name, content)
            try:
                reply = client.submit(content, [to], mode=mode, **options)
            except OSError as error:
                raise AssertionError(f"{name}: {error}") from error
            self.assertEqual(reply.code, 250, f"{name}: {reply}")
        for mail in sink.wait(len(expected), seconds=120):
            name, content = expected.pop(mail.recipients[0])
            if mode == "data" or extensions == PLAIN:
                content += b"" if not content or content.endswith(b"\r\n") else b"\r\n"
            self.assertTrue(mail.body == content,
                            f"{name}: {difference(content, mail.body)} (SEED={SEED})")
        self.assertEqual(expected, {})
        client.quit()
        self.assertEqual(server.stop()["deliveries"], number + 1)

    def test_odd_messages_arrive_by_data(self):
        self.relay([(name, text, {}) for name, text in named_messages()], "data", PLAIN)

    def test_odd_messages_arrive_by_bdat(self):
        self.relay([(name, text, {}) for name, text in named_messages()], "bdat", EVERYTHING)

    def test_odd_messages_arrive_by_bdat_and_leave_by_data(self):
        self.relay([(name, text, {}) for name, text in named_messages()], "bdat", PLAIN)

    def test_b10_a_message_of_100_mb_arrives_beside_small_ones(self):
        messages = [("small", HEADER, {}), ("100 MB", HUGE, {}), ("after it", HEADER, {})]
        self.relay(messages, "data", PLAIN, listener={"max_message_size": len(HUGE)})

    def test_b10_a_message_of_100_mb_arrives_by_bdat(self):
        messages = [("100 MB", HUGE, {"chunk": 32 << 20})]
        self.relay(messages, "bdat", EVERYTHING, listener={"max_message_size": len(HUGE)})

    def test_a_thousand_random_messages_arrive(self):
        source = random.Random(SEED)
        messages = [(f"random {n}", random_message(source), {}) for n in range(1000)]
        self.relay(messages, "data", EVERYTHING)

    def test_random_chunks_arrive(self):
        source = random.Random(SEED)
        messages = []
        for number in range(200):
            text = random_message(source)
            size = source.choice((1000, 4096, 70000))
            messages.append((f"chunks {number}", text, {"chunk": size}))
        self.relay(messages, "bdat", EVERYTHING)

    def test_a_line_end_may_be_split_between_chunks(self):
        text = HEADER + b"one\r\ntwo\r\n"
        self.relay([(f"chunks of {size}", text, {"chunk": size}) for size in (1, 2, 3, 5, 7)],
                   "bdat", EVERYTHING)

    def test_no_final_line_end_stays_away_by_bdat(self):
        texts = (b"x", HEADER + b"no end", HEADER + b".", HEADER + b"a\r\n.b")
        self.relay([(repr(text), text, {}) for text in texts], "bdat", EVERYTHING)

    def test_no_final_line_end_is_added_when_the_next_hop_has_no_chunking(self):
        texts = (b"x", HEADER + b"no end", HEADER + b".", HEADER + b"a\r\n.b")
        self.relay([(repr(text), text, {}) for text in texts], "bdat", PLAIN)

    def test_a_thousand_recipients_get_one_copy_each(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        client = self.client(server)
        recipients = [f"r{n}@d{n % 7}.test" for n in range(1000)]
        reply = client.submit(HEADER + b"to many\r\n", recipients)
        self.assertEqual((reply.code, reply.ids[1]), (250, 1000))
        sink.wait_for(lambda: sum(len(mail.recipients) for mail in sink.mails) >= 1000, "copies")
        got = [to for mail in sink.mails for to in mail.recipients]
        self.assertEqual(sorted(got), sorted(recipients))
        self.assertTrue(all(mail.body == HEADER + b"to many\r\n" for mail in sink.mails))
        self.assertTrue(all(len(mail.recipients) <= 100 for mail in sink.mails))
        self.assertEqual(server.stop()["deliveries"], 1000)

    def test_smtputf8_goes_through_as_it_is(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        reply = self.client(server).submit("Subject: ж\r\n\r\nж\r\n".encode(), ["жук@пример.test"],
                                           "отправитель@пример.test", parameters=" SMTPUTF8")
        self.assertEqual(reply.code, 250, reply)
        mail = sink.wait(1)[0]
        self.assertEqual((mail.sender, mail.recipients), ("отправитель@пример.test",
                                                          ["жук@пример.test"]))
        self.assertIn("SMTPUTF8", mail.parameters.split())
        self.assertIn(b"with UTF8SMTP", mail.trace)
        server.wait_events("Delivery", 1)

    def test_smtputf8_bounces_where_the_next_hop_lacks_it(self):
        sink = self.sink(extensions=("PIPELINING", "8BITMIME"))
        server = self.server(Config(sink.port))
        reply = self.client(server).submit(HEADER, ["жук@example.com"], parameters=" SMTPUTF8")
        self.assertEqual(reply.code, 250, reply)
        bounce = server.wait_events("Bounce", 1)[0]
        self.assertTrue(bounce["response"]["content"].startswith("Ringpost internal: "), bounce)
        self.assertEqual(sink.mails, [])

    def test_the_size_limit_is_exact(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        client = self.client(server)
        self.assertIn(f"SIZE {LIMIT}", client.extensions)
        for mode, size, code in (("data", LIMIT, "250 2.0.0"), ("data", LIMIT + 1, "552 5.3.4"),
                                 ("bdat", LIMIT, "250 2.0.0"), ("bdat", LIMIT + 1, "552 5.3.4")):
            with self.subTest(mode=mode, size=size):
                reply = client.submit(lines_of(size), mode=mode)
                self.assertTrue(repr(reply).startswith(code), reply)
        reply = client.command(f"MAIL FROM:<a@b.test> SIZE={LIMIT + 1}")
        self.assertTrue(repr(reply).startswith("552 5.3.4"), reply)
        self.assertEqual([mail.body == lines_of(LIMIT) for mail in sink.wait(2)], [True, True])
        counters = server.stop()
        self.assertEqual((counters["deliveries"], counters["rejections"]), (2, 3))

    def refuse(self, client, text, mode):
        """One refusal, after the true end: the command behind it is answered by itself."""
        for reply in client.envelope("a@b.test", ["c@d.test"]):
            self.assertEqual(reply.code, 250)
        if mode == "data":
            client.command("DATA")
            client.send(text + b"\r\n.\r\nNOOP\r\n")
        else:
            client.send(b"BDAT %d LAST\r\n" % len(text) + text + b"NOOP\r\n")
        reply = client.reply()
        self.assertTrue(repr(reply).startswith("550 5.6.0"), f"{mode} {text}: {reply}")
        self.assertEqual(client.reply().code, 250)

    def test_s02_a_bare_cr_or_lf_is_refused_after_the_true_end(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        client = self.client(server)
        smuggled = b"MAIL FROM:<x@y.test>\r\nRCPT TO:<z@y.test>\r\nDATA\r\nhello"
        ends = (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r",
                b"\r\n\n.\r\n", b"\n\n.\r\n", b"\r\r\n.\r\r\n")
        for mode in ("data", "bdat"):
            for end in ends:
                self.refuse(client, HEADER + b"x" + end + smuggled, mode)
            for text in (b"a\nb", b"a\rb", b"\na", b"\ra", HEADER + b"x" * 70000 + b"\n",
                         HEADER + lines_of(300000) + b"\rx"):
                self.refuse(client, text, mode)
        self.assertEqual(client.submit(HEADER + b"clean\r\n").code, 250)
        self.assertEqual([mail.body for mail in sink.wait(1)], [HEADER + b"clean\r\n"])
        counters = server.stop()
        self.assertEqual((counters["messages_received"], counters["deliveries"]), (1, 1))

    def test_s09_a_line_over_998_octets_is_refused(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        client = self.client(server)
        for length, code in ((998, 250), (999, 550), (1000, 550), (100000, 550)):
            for mode in ("data", "bdat"):
                with self.subTest(length=length, mode=mode):
                    reply = client.submit(HEADER + b"x" * length + b"\r\n", mode=mode)
                    self.assertEqual(reply.code, code, reply)
                    self.assertTrue(code == 250 or "5.6.0" in reply.text, reply)
        sink.wait(2)
        self.assertEqual(server.stop()["deliveries"], 2)

    def test_many_clients_at_once(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        clients = [Client(server.address) for _ in range(200)]
        for number, client in enumerate(clients):
            client.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<n%d@c.test>\r\nBDAT 19 LAST\r\n"
                        b"Subject: x\r\n\r\nyes\r\n" % number)
        for client in clients:
            self.assertEqual([client.reply().code for _ in range(3)], [250] * 3)
            client.quit()
        got = sorted(mail.recipients[0] for mail in sink.wait(200))
        self.assertEqual(got, sorted(f"n{n}@c.test" for n in range(200)))
        self.assertEqual(server.stop()["connections_in"], 200)


def difference(expected, got):
    at = next((n for n, pair in enumerate(zip(expected, got)) if pair[0] != pair[1]),
              min(len(expected), len(got)))
    return (f"{len(expected)} octets became {len(got)}, differing at {at}: "
            f"{expected[at - 10:at + 20]!r} became {got[at - 10:at + 20]!r}")
