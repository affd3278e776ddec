"""Clients that want more than there is, or do nothing with what they have. What is on its way out
goes on, everybody else is told so, and when they are gone all is as before."""
import re
import resource
import threading

from harness import BlackBox, Config

HEADER = b"Subject: test\r\n\r\n"
LATER = "451 4.2.0 Later"
SMALL = '[memory]\nlimit = "64MiB"\nstaging = "4MiB"\n'


IDLE = 1500
IDLE_BYTES_MAX = 4096  # of the process, each; what the kernel keeps for a socket is not in it


def resident_bytes(server):
    """Its own memory, without files."""
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        return int(re.search(r"RssAnon:\s+(\d+) kB", status.read())[1]) * 1024


class Idle(BlackBox):
    def setUp(self):
        super().setUp()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = IDLE + 256
        if soft < wanted:
            if hard != resource.RLIM_INFINITY and hard < wanted:
                self.skipTest(f"{wanted} descriptors are not allowed")
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def test_an_idle_connection_costs_4_kib_of_memory_at_most(self):
        server = self.server(Config(self.sink().port, node={"shards": 1}))
        warm = self.client(server)
        for _ in range(2000):  # every receive buffer has been used once
            warm.command("NOOP")
        before = resident_bytes(server)
        clients = [self.client(server) for _ in range(IDLE)]
        clients.append(warm)
        self.assertEqual(clients[0].command("NOOP").code, 250)
        each = (resident_bytes(server) - before) / IDLE
        self.assertLessEqual(each, IDLE_BYTES_MAX)
        for client in clients:
            client.close()
        self.assertEqual(server.stop()["connections_in"], IDLE + 1)


class Stalled(BlackBox):
    def stall(self, server, count, octets):
        """So many clients, stopped in the middle of their content when they were let in."""
        begun = []
        for number in range(count):
            client = self.client(server)
            replies = client.envelope("a@b.test", [f"s{number}@x.test"])
            if replies[0].code != 250:
                self.assertTrue(repr(replies[0]).startswith("452 4.3.1"), replies)
                continue
            self.assertEqual(client.command("DATA").code, 354)
            client.send(HEADER + b"a line of content\r\n" * (octets // 19))
            begun.append(client)
        return begun

    def test_f08_clients_stopped_in_their_content_never_hold_up_deliveries(self):
        ready = threading.Event()
        sink = self.sink(on_mail=lambda *_: None if ready.is_set() else LATER)
        server = self.server(Config(sink.port, node={"shards": 1}, queue={
            "retry_interval": "2s", "max_retry_interval": "2s"}, extra=SMALL))
        sender = self.client(server)
        body = HEADER + b"what has to be read back from the spool\r\n" * 2500
        for number in range(4):
            self.assertEqual(sender.submit(body, [f"n{number}@x.test"]).code, 250)
            server.wait_events("TransientFailure", number + 1)
        begun = self.stall(server, 80, 31 * 1024)
        self.assertGreaterEqual(len(begun), 16)
        self.assertTrue(repr(sender.envelope("a@b.test", ["b@x.test"])[0]).startswith("452 4.3.1"))
        ready.set()
        mails = sink.wait(4, seconds=9)
        self.assertEqual({mail.recipients[0] for mail in mails},
                         {f"n{number}@x.test" for number in range(4)})
        for mail in mails:
            self.assertEqual(mail.body, body)
        for client in begun:
            client.close()
        server.stop()
