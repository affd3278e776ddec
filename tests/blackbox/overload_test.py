"""Clients that want more than there is, or do nothing with what they have. What is on its way out
goes on, everybody else is told so, and when they are gone all is as before."""
import threading

from harness import BlackBox, Config

HEADER = b"Subject: test\r\n\r\n"
LATER = "451 4.2.0 Later"
SMALL = '[memory]\nlimit = "64MiB"\nstaging = "4MiB"\n'


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
