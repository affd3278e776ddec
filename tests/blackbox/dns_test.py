"""Mail goes where DNS says: by NSD and Unbound, which are stopped and come back, and by a server
that says anything at all. Hosts are sinks on addresses of loopback, one port for all."""
import collections
import getpass
import os
import socket
import struct
import subprocess
import time

from bench_load import BenchSink, BenchSource
from harness import SECONDS, BlackBox, Config, free_port, wait_until
from name_server import (A, CNAME, FORMERR, MX, NXDOMAIN, SERVFAIL, TRUNCATED, NameServer,
                         address, mx, name, record)

CONTENT = b"Subject: test\r\n\r\nhello\r\n"
KNOWN = "stu" "b"  # what Unbound calls a zone whose server it is told
AWAY_S = int(os.environ.get("AWAY", "4"))  # how long DNS is dead under load
LOAD_RATE = 300  # messages a second, meanwhile
LOAD_DOMAINS = 500  # whose records are known for a second
LARGE = 60  # hosts of a domain: no datagram holds them

ZONE = """$ORIGIN test.
$TTL 60
@ SOA ns.test. admin.test. 1 3600 600 86400 1
@ NS ns.test.
ns A 127.0.0.1
one MX 10 mx1
two MX 20 mx2
two MX 10 dead
order MX 20 mx2
order MX 10 mx1
plain A 127.0.0.2
alias CNAME one
null MX 0 .
none TXT "no mail here"
bare MX 10 nothing
nothing TXT "no address"
mx1 A 127.0.0.2
mx2 A 127.0.0.3
dead A 127.0.0.9
"""


class Dns(BlackBox):
    def sinks(self):
        first = self.sink(address="127.0.0.2")
        return first, self.sink(address="127.0.0.3", port=first.port)

    def mta(self, sink, *servers, attempts=2):
        """A server that asks these ports."""
        listed = ", ".join(f'"127.0.0.1:{port}"' for port in servers)
        config = Config(None, shaping={"smtp_port": sink.port, "prohibited_hosts": []},
                        queue={"retry_interval": "1s"},
                        extra=f"[dns]\nservers = [{listed}]\ntimeout = \"300ms\"\n"
                              f"attempts = {attempts}\n")
        return self.server(config)

    def submit(self, server, *domains):
        self.assertEqual(self.client(server).submit(CONTENT, [f"a@{one}" for one in domains]).code,
                         250)

    def recipients(self, sink):
        return sorted(to for mail in sink.mails for to in mail.recipients)

    def replies(self, server, kind, count):
        found = {}
        for event in server.wait_events(kind, count):
            code = event["response"]["enhanced_code"]
            text = ".".join(str(code[part]) for part in ("class", "subject", "detail"))
            found.setdefault(event["recipient"], (event["response"]["code"], text))
        return found


class Real(Dns):
    """NSD knows, Unbound asks it, and ringpostd asks Unbound."""

    def setUp(self):
        super().setUp()
        self.programs = {}
        self.zone_port, self.port = free_port(), free_port()
        self.nsd, self.unbound = self.peer("nsd"), self.peer("unbound")
        self.start_nsd()
        self.start_unbound()

    def write(self, file_name, text):
        path = os.path.join(self.folder, file_name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def spawn(self, program, *arguments):
        log = open(os.path.join(self.folder, f"{os.path.basename(program)}.log"), "ab")
        self.addCleanup(log.close)
        process = subprocess.Popen([program, *arguments], cwd=self.folder, stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL)
        self.addCleanup(self.end, process)
        self.programs[program] = process

    def start_nsd(self):
        large = "".join(f"large MX 10 {'m' * 30}{n}\n{'m' * 30}{n} A 127.0.0.2\n"
                        for n in range(LARGE))
        load = "".join(f"load{n} 1 MX 10 mx1\n" for n in range(LOAD_DOMAINS))
        self.write("test.zone", ZONE + large + load)
        path = self.write("nsd.conf", f"""server:
 ip-address: 127.0.0.1
 port: {self.zone_port}
 do-ip6: no
 server-count: 1
 username: "{getpass.getuser()}"
 chroot: ""
 zonesdir: "{self.folder}"
 database: ""
 pidfile: "{self.folder}/nsd.pid"
 xfrdfile: "{self.folder}/nsd.xfrd"
 xfrdir: "{self.folder}"
 zonelistfile: "{self.folder}/nsd.zones"
 cookie-secret-file: "{self.folder}/nsd.cookies"
remote-control:
 control-enable: no
zone:
 name: "test"
 zonefile: "test.zone"
""")
        self.spawn(self.nsd, "-d", "-c", path)
        self.answers(self.zone_port)

    def start_unbound(self):
        path = self.write("unbound.conf", f"""server:
 interface: 127.0.0.1
 port: {self.port}
 do-ip6: no
 num-threads: 1
 username: ""
 chroot: ""
 directory: "{self.folder}"
 pidfile: "{self.folder}/unbound.pid"
 use-syslog: no
 module-config: "iterator"
 do-not-query-localhost: no
 local-zone: "test." transparent
 outgoing-range: 64
remote-control:
 control-enable: no
{KNOWN}-zone:
 name: "test."
 {KNOWN}-addr: 127.0.0.1@{self.zone_port}
{KNOWN}-zone:
 name: "lame.test."
 {KNOWN}-addr: 127.0.0.1@{free_port()}
""")
        self.spawn(self.unbound, "-d", "-c", path)
        self.answers(self.port)

    def end(self, process):
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()

    def answers(self, port):
        """Until a server on this port says something."""
        query = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + name("ns.test") + b"\0\1\0\1"

        def heard():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
                asker.settimeout(0.2)
                try:
                    asker.sendto(query, ("127.0.0.1", port))
                    return asker.recv(512)[3] & 15 == 0
                except OSError:
                    return False
        wait_until(heard, f"an answer from port {port}")

    def test_mail_goes_to_the_hosts_of_mx_records_by_preference(self):
        first, second = self.sinks()
        server = self.mta(first, self.port)
        self.submit(server, "one.test", "order.test", "two.test", "plain.test", "alias.test")
        server.wait_events("Delivery", 5)
        self.assertEqual(self.recipients(first), ["a@alias.test", "a@one.test", "a@order.test",
                                                  "a@plain.test"])
        self.assertEqual(self.recipients(second), ["a@two.test"])
        names = {event["recipient"]: event["peer_address"] for event in server.events("Delivery")}
        self.assertEqual(names["a@order.test"], {"name": "mx1.test", "addr": "127.0.0.2"})
        self.assertEqual(names["a@two.test"], {"name": "mx2.test", "addr": "127.0.0.3"})
        self.assertEqual(server.stop()["bounces"], 0)

    def test_what_takes_no_mail_bounces_and_trouble_does_not(self):
        first, _ = self.sinks()
        server = self.mta(first, self.port)
        self.submit(server, "null.test", "nosuch.test", "bare.test", "x.lame.test")
        self.assertEqual(self.replies(server, "Bounce", 2),
                         {"a@null.test": (556, "5.1.10"), "a@nosuch.test": (550, "5.1.2")})

        def both_deferred():
            found = self.replies(server, "TransientFailure", 1)
            return found if len(found) == 2 else None
        self.assertEqual(wait_until(both_deferred, "two deferred"),
                         {"a@bare.test": (451, "4.4.4"), "a@x.lame.test": (451, "4.4.3")})
        counters = server.stop()
        self.assertEqual((counters["bounces"], counters["deliveries"]), (2, 0))

    def test_a_large_answer_comes_by_tcp(self):
        first, _ = self.sinks()
        server = self.mta(first, self.port)
        self.submit(server, "large.test")
        self.assertEqual(server.wait_events("Delivery", 1)[0]["recipient"], "a@large.test")
        self.assertGreaterEqual(server.stop()["dns_queries_tcp"], 1)

    def test_mail_waits_for_dns_that_is_away(self):
        first, _ = self.sinks()
        server = self.mta(first, self.port)
        self.submit(server, "one.test")
        server.wait_events("Delivery", 1)
        self.end(self.programs[self.unbound])
        self.submit(server, "one.test", "order.test", "plain.test", "nosuch.test")
        server.wait_events("Delivery", 2)  # known from before
        time.sleep(3)
        self.assertEqual(server.events("Bounce"), [])
        self.start_unbound()
        server.wait_events("Delivery", 4)
        self.assertEqual(self.replies(server, "Bounce", 1), {"a@nosuch.test": (550, "5.1.2")})
        self.assertEqual(self.recipients(first),
                         ["a@one.test", "a@one.test", "a@order.test", "a@plain.test"])
        self.assertEqual(server.stop()["bounces"], 1)

    def test_f17_dns_that_is_dead_under_load_bounces_nothing_and_loses_nothing(self):
        """`AWAY=60` for as long. Half of the domains have never been asked for before."""
        sink = BenchSink(self, "sink", listen=f"127.0.0.2:{free_port()}")
        server = self.mta(sink, self.port)
        known = self.load(server, 0, 2)
        known.process.wait(SECONDS)
        self.end(self.programs[self.unbound])
        late = self.load(server, 1, AWAY_S + 4)
        time.sleep(AWAY_S)
        self.start_unbound()
        late.process.wait(SECONDS)
        promised = collections.Counter()
        for source in (known, late):
            code, said = source.end()
            entries = source.new_entries()
            self.assertEqual((code, said["messages"]), (0, len(entries)))
            promised.update(to for entry in entries for to in entry.recipients)
        taken = collections.Counter()

        def all_there():
            taken.update(to for entry in sink.new_entries() for to in entry.recipients)
            return taken.total() >= promised.total()
        wait_until(all_there, "all mail at the sink", 60 + 2 * AWAY_S)
        self.assertEqual(taken, promised)
        self.assertGreater(len(server.events("TransientFailure")), 0)
        counters = server.stop()
        self.assertEqual(server.events("Bounce", "Expiration"), [])
        self.assertEqual(counters["deliveries"], promised.total())

    def load(self, server, part, seconds):
        """To the first part of the domains, or to all."""
        path = self.write(f"domains{part}", "".join(
            f"load{n}.test\n" for n in range(LOAD_DOMAINS // (2 - part))))
        return BenchSource(self, f"source{part}", server.ready["smtp"].split(",")[0],
                           "--messages", str(LOAD_RATE * seconds), "--rate", str(LOAD_RATE),
                           "--domains", path, "--size", "1024", "--connections", "16")


def loops(question):
    pointer = struct.pack(">H", 0xC000 | 12 + len(question.bytes) + 12)
    return [question.answer(record(pointer, MX, b"\0\x0a" + pointer))]


def spoofed(question):
    """Wrong ids and questions first, by which mail would go to 127.0.0.3."""
    evil = mx(question.name, 1, "evil.test")
    other = name("other.test") + question.bytes[-4:]
    return [question.answer(evil, number=question.id ^ 1 + n) for n in range(20)] + \
        [question.answer(evil, question=other), question.answer(mx(question.name, 5, "mx1.test"))]


def chained(question):
    at, records = question.name, []
    for n in range(20):
        records.append(record(at, CNAME, name(f"c{n}.chain.test")))
        at = f"c{n}.chain.test"
    return [question.answer(*records, mx(at, 1, "mx1.test"))]


# What is said of the MX of a domain; what has `True` is good enough for mail to arrive.
HOSTILE = {
    "junk.test": (lambda q: [b"", b"x", os.urandom(40), q.answer()[:11]], False),
    "loop.test": (loops, False),
    "spoof.test": (spoofed, True),
    "short0.test": (lambda q: [q.answer(record(q.name, MX, b""))], False),
    "short2.test": (lambda q: [q.answer(record(q.name, MX, b"\0\1"))], False),
    "cut.test": (lambda q: [q.answer(mx(q.name, 1, "mx1.test"))[:-4]], False),
    "count.test": (lambda q: [q.answer(mx(q.name, 1, "mx1.test"), count=65535)], False),
    "long.test": (lambda q: [q.answer(mx(q.name, 1, ".".join(["x" * 63] * 5)))], False),
    "chain.test": (chained, False),
    "circle.test": (lambda q: [q.answer(record(q.name, CNAME, name(q.name)))], False),
    "servfail.test": (lambda q: [q.answer(flags=SERVFAIL)], False),
    "silent.test": (lambda q: [], False),
    "old.test": (lambda q: [q.answer(mx(q.name, 1, "mx1.test")) if q.plain
                            else q.answer(flags=FORMERR)], True),
    "cuttcp.test": (lambda q: [] if q.stream else [q.answer(flags=TRUNCATED)], False),
    "tcp.test": (lambda q: [q.answer(mx(q.name, 1, "mx1.test")) if q.stream
                            else q.answer(flags=TRUNCATED)], True),
    "many.test": (lambda q: [q.answer(*[mx(q.name, 9 - n % 5, "mx1.test") for n in range(100)])
                             if q.stream else q.answer(flags=TRUNCATED)], True),
    "ttl.test": (lambda q: [q.answer(record(q.name, MX, b"\0\1" + name("mx1.test"), 2 ** 31))],
                 True),
    "zero.test": (lambda q: [q.answer(record(q.name, MX, b"\0\1" + name("mx1.test"), 0))], True),
}


def hostile(question):
    if question.kind == MX and question.name in HOSTILE:
        return HOSTILE[question.name][0](question)
    if question.kind == A and question.name == "mx1.test":
        return [question.answer(address("mx1.test", "127.0.0.2"))]
    if question.kind == A and question.name == "evil.test":
        return [question.answer(address("evil.test", "127.0.0.3"))]
    return [question.answer(flags=NXDOMAIN if question.name == "gone.test" else 0)]


class Hostile(Dns):
    def test_f19_junk_is_never_a_no_and_never_leads_astray(self):
        first, second = self.sinks()
        names = NameServer(hostile)
        self.addCleanup(names.close)
        server = self.mta(first, names.port, attempts=1)
        good = sorted(f"a@{domain}" for domain, (_, arrives) in HOSTILE.items() if arrives)
        bad = sorted(f"a@{domain}" for domain, (_, arrives) in HOSTILE.items() if not arrives)
        for domain in HOSTILE:
            self.submit(server, domain)
        server.wait_events("Delivery", len(good))

        def all_deferred():
            return set(self.replies(server, "TransientFailure", 1)) >= set(bad)
        wait_until(all_deferred, "everything else deferred")
        self.assertEqual(self.recipients(first), good)
        self.assertEqual(self.recipients(second), [])
        self.assertEqual(server.events("Bounce"), [])
        self.submit(server, "gone.test")
        self.assertEqual(self.replies(server, "Bounce", 1), {"a@gone.test": (550, "5.1.2")})
        counters = server.stop()
        self.assertGreaterEqual(counters["dns_ignored"], 20)
        self.assertEqual((counters["bounces"], counters["deliveries"]), (1, len(good)))
