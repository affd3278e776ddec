"""No room: mail is refused before its data, deliveries go on and make room, and mail is taken again
without anybody's help."""
import os

from disks import Disk
from harness import BlackBox, Config, wait_until

HEADER = b"Subject: test\r\n\r\n"
LONG = HEADER + (b"x" * 76 + b"\r\n") * 6000
LATER = "450 4.2.0 Later"


class Space(BlackBox):
    @staticmethod
    def config(sink, **more):
        return Config(sink.port, node={"shards": 1}, spool={
            "path": "disk/spool", "min_free_space": 0, "segment_size": "4MiB"}, **more)

    def send_until_refused(self, server):
        """Long messages, announced with their size; the recipients of those taken."""
        client, taken = self.client(server), []
        for number in range(100):
            recipient = f"n{number}@x.test"
            reply = client.submit(LONG, [recipient], parameters=f" SIZE={len(LONG)}")
            if reply.code != 250:
                self.assertTrue(repr(reply).startswith("452 4.3.1"), reply)
                # What came back was the answer to MAIL: no data was asked for.
                self.assertEqual(client.command("DATA").code, 503)
                return taken
            taken.append(recipient)
        raise AssertionError("all of it was taken")

    def assert_resumes(self, server, sink, taken):
        """Deliveries go on, and mail is taken again."""
        sink.on_mail = lambda mail: None
        got = [mail.recipients[0] for mail in sink.wait(len(taken)) if mail.body == LONG]
        self.assertEqual(sorted(got), sorted(taken))
        client = self.client(server)
        wait_until(lambda: client.submit(LONG, ["last@x.test"]).code == 250, "room again")
        sink.wait_for(lambda: sink.mails[-1].recipients == ["last@x.test"], "the last")
        server.stop()
        server.start()
        self.assertEqual(server.ready["queued"], "0")
        server.stop()

    def test_f02_another_file_fills_the_disk_and_goes(self):
        disk = Disk(self)
        sink = self.sink(on_mail=lambda mail: LATER)
        server = self.server(self.config(sink))
        self.assertEqual(self.client(server).submit(LONG, ["first@x.test"]).code, 250)
        filler = disk.fill()
        taken = ["first@x.test", *self.send_until_refused(server)]
        # A short one may still fit, a long one may not.
        reply = self.client(server).envelope("a@b.test", [], " SIZE=9000000")[0]
        self.assertTrue(repr(reply).startswith("452 4.3.1"), reply)
        os.unlink(filler)
        self.assert_resumes(server, sink, taken)

    def test_f02_without_inodes_mail_is_refused_until_there_are_some(self):
        disk = Disk(self, make=("-N", "64"))
        sink = self.sink(on_mail=lambda mail: LATER)
        server = self.server(self.config(sink))
        self.assertEqual(self.client(server).submit(LONG, ["first@x.test"]).code, 250)
        made = []
        while True:
            path = os.path.join(disk.path, f"file{len(made)}")
            try:
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            except OSError:
                break
            made.append(path)
        self.assertGreater(len(made), 10)
        taken = ["first@x.test", *self.send_until_refused(server)]
        for path in made:
            os.unlink(path)
        self.assert_resumes(server, sink, taken)

    def test_f02_a_full_log_disk_blocks_no_mail_and_misses_no_event(self):
        disk = Disk(self, "log", size=4 << 20, make=("-O", "^has_journal"))
        sink = self.sink()
        filler = disk.fill(pieces=(1 << 20, 1 << 12))
        server = self.server(Config(sink.port))
        clients = [self.client(server) for _ in range(4)]
        for number in range(60):
            reply = clients[number % 4].submit(HEADER, [f"n{number}@x.test"])
            self.assertEqual(reply.code, 250, reply)
        sink.wait(60)
        self.assertEqual(server.events("Delivery"), [])
        os.unlink(filler)
        for kind in ("Reception", "Delivery"):
            server.wait_events(kind, 60)
            told = {record["recipient"] for record in server.events(kind)}
            self.assertEqual(told, {f"n{number}@x.test" for number in range(60)})
        server.stop()
