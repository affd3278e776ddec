"""What the disk does wrong: errors, damage, delays. Nothing acknowledged is lost, nothing refused
is delivered, nothing is sent that is not what came."""
import os
import time

from disks import Disk, FaultyDisk, step
from harness import RINGPOSTD, BlackBox, Config, wait_until
from smtp_client import Client

WRITES = "write *segment-*"
LATER = "450 4.2.0 Later"


def content_of(number):
    return b"Subject: %d\r\n\r\n" % number + b"number %d\r\n" % number * 50


def number_of(mail):
    return int(mail.recipients[0][1:].partition("@")[0])


class Disks(BlackBox):
    """Sends numbered messages, one recipient each, and judges what arrives."""

    def setUp(self):
        super().setUp()
        self.accepted, self.next_number = set(), 0

    @staticmethod
    def config(sink, spool="spool", shards=1, **more):
        return Config(sink.port, node={"shards": shards}, spool={
            "path": spool, "min_free_space": 0, "segment_size": "4MiB", **more})

    def path(self, name):
        return os.path.join(self.folder, name)

    def touch(self, name):
        with open(self.path(name), "wb"):
            return self.path(name)

    def send(self, server, client=None):
        """One more message, on a connection of its own if none is given; the final reply."""
        number, self.next_number = self.next_number, self.next_number + 1
        owned = client is None
        client = client or Client(server.address)
        try:
            reply = client.submit(content_of(number), [f"n{number}@x.test"])
        finally:
            if owned:
                client.close()
        if reply.code == 250:
            self.accepted.add(number)
        return reply

    def send_until_taken(self, server):
        """Until one is answered 250 again; the connection may be refused meanwhile."""
        def taken():
            try:
                return self.send(server).code == 250
            except (OSError, AssertionError):
                return False
        wait_until(taken, "mail to be taken again")

    def assert_intake_off(self, server):
        """What it says to who connects, once nothing can be stored; then it hangs up."""
        client = self.client(server, greet=False)
        self.assert_refused(client.reply(), "421 4.3.0")
        self.assertTrue(client.at_end())

    def fail_until_off(self, server):
        """The second failure in a row turns intake off. What else is stored, outcomes and the
        event log's cursor, fails as well: so a message is refused once or twice at its end."""
        client = self.client(server)
        for _ in range(3):
            reply = client.command("MAIL FROM:<a@b.test>")
            if reply.code == 421:
                break
            self.assertEqual(client.command("RCPT TO:<n@x.test>").code, 250)
            self.assertEqual(client.command("DATA").code, 354)
            client.send(b"Subject: x\r\n\r\n.\r\n")
            self.assert_refused(client.reply(), "451 4.3.0")
        self.assert_refused(reply, "421 4.3.0")
        self.assertTrue(client.at_end())
        self.assert_intake_off(server)

    def assert_refused(self, reply, *starts):
        self.assertTrue(repr(reply).startswith(starts), reply)

    def assert_judged(self, server, sink, held=(), lost=()):
        """After a restart and a drain: exactly what was accepted has arrived, once, as it was."""
        wanted = self.accepted - set(held) - set(lost)
        sink.wait_for(lambda: wanted <= {number_of(mail) for mail in sink.mails}, "all accepted")
        if server.process is not None:
            server.stop()
        server.start()
        if int(server.ready["queued"]) != len(held):
            wait_until(lambda: self.queued_again(server) == len(held), "an empty queue")
        numbers = sorted(number_of(mail) for mail in sink.mails)
        self.assertEqual(numbers, sorted(wanted))
        for mail in sink.mails:
            self.assertEqual(mail.body, content_of(number_of(mail)))
        server.stop()

    @staticmethod
    def queued_again(server):
        server.stop()
        server.start()
        return int(server.ready["queued"])

    def with_waiting_mail(self, server, sink, count=5):
        """So many messages that the sink has put off, so that they are read back from the disk
        after a start."""
        sink.on_mail = lambda mail: LATER
        server.start()
        for _ in range(count):
            self.assertEqual(self.send(server).code, 250)
        server.wait_events("TransientFailure", count)
        server.stop()
        sink.on_mail = lambda mail: None


class Errors(Disks):
    def test_f03_who_is_in_a_failed_group_is_refused_and_the_lane_comes_back(self):
        sink, bad = self.sink(), self.path("bad")
        server = self.faulty(self.config(sink),
                             f"{WRITES} 1+ error=EIO if={bad}").start()
        self.assertEqual(self.send(server).code, 250)
        sink.wait(1)
        idle = self.client(server)
        self.touch("bad")
        self.fail_until_off(server)
        server.wait_line("fault")
        time.sleep(2)  # trials
        self.assert_intake_off(server)
        self.assertEqual(idle.command("NOOP").code, 250)
        os.unlink(bad)
        self.send_until_taken(server)
        self.assert_judged(server, sink)

    def test_f03_while_nothing_can_be_stored_nothing_is_delivered(self):
        sink, bad = self.sink(), self.path("bad")
        server = self.faulty(self.config(sink),
                             f"{WRITES} 1+ error=EIO if={bad}")
        self.with_waiting_mail(server, sink)
        self.touch("bad")
        sink.on_mail = lambda mail: LATER
        server.start()
        self.fail_until_off(server)
        seen = sum(session.transactions for session in sink.sessions)
        time.sleep(3)  # each of the five is due every second
        self.assertEqual(sum(session.transactions for session in sink.sessions), seen)
        sink.on_mail = lambda mail: None
        os.unlink(bad)
        self.assert_judged(server, sink)

    def test_f03_one_lane_fails_and_the_others_go_on(self):
        sink, bad = self.sink(), self.path("bad")
        server = self.faulty(self.config(sink, shards=2),
                             f"write *lane-000/segment-* 1+ error=EIO if={bad}").start()
        self.touch("bad")
        failed, refused = 0, 0
        for _ in range(40):
            client = self.client(server, greet=False)
            banner = client.reply()
            if banner.code == 220:
                client.command("EHLO client.test")
                failed += self.send(server, client).code == 451
            else:
                self.assert_refused(banner, "421 4.3.0")
                refused += 1
            client.close()
        self.assertEqual(failed, 2)
        self.assertGreater(refused, 0)
        self.assertEqual(len(self.accepted), 38 - refused)
        sink.wait(len(self.accepted))
        os.unlink(bad)
        for _ in range(10):
            self.send_until_taken(server)
        self.assert_judged(server, sink)

    def test_f03_a_short_write_is_continued(self):
        """What is read back after a kill is whole, though each write brought one page only."""
        sink = self.sink(on_mail=lambda mail: LATER)
        server = self.faulty(self.config(sink), f"{WRITES} 1+ short=4096").start()
        contents = {f"n{number}@x.test": b"Subject: long\r\n\r\n" + b"%d\r\n" % number * 5000
                    for number in range(10)}
        for recipient, content in contents.items():
            self.assertEqual(self.client(server).submit(content, [recipient]).code, 250)
        server.wait_line("fault")
        server.kill()
        sink.on_mail = lambda mail: None
        server.start()
        self.assertEqual({mail.recipients[0]: mail.body for mail in sink.wait(10)}, contents)
        server.stop()

    def test_f04_what_stands_on_the_disk_but_was_refused_is_never_delivered(self):
        """The write is done, its sync fails: the bytes may be there after a crash."""
        sink = self.sink()
        server = self.faulty(self.config(sink), f"{WRITES} 2 after=EIO")
        server.start()
        replies = [self.send(server) for _ in range(4)]
        self.assertEqual(sorted(reply.code for reply in replies)[-2:], [250, 451], replies)
        server.wait_line("fault")
        server.wait_events("Delivery", len(self.accepted))
        server.kill()
        server.program, server.environment = RINGPOSTD, None
        server.start()
        self.assert_judged(server, sink)

    def test_f04_a_disk_that_failed_and_says_yes_again_is_not_believed(self):
        disk = FaultyDisk(self, make=("-O", "^has_journal"))
        sink = self.sink()
        server = self.server(self.config(sink, "disk/spool", store_deadline="1s"))
        self.assertEqual(self.send(server).code, 250)
        self.touch("bad-writes")
        self.fail_until_off(server)
        os.unlink(disk.bad_writes)
        self.send_until_taken(server)
        for _ in range(5):
            self.assertEqual(self.send(server).code, 250)
        server.kill()
        disk.unmount()  # with it goes what only memory had
        disk.mount()
        server.start()
        sink.wait_for(lambda: self.accepted <= {number_of(mail) for mail in sink.mails}, "all")
        self.assertEqual({number_of(mail) for mail in sink.mails}, self.accepted)
        server.stop()


class Shipped(Disks):
    def test_the_program_for_users_obeys_no_rules(self):
        sink = self.sink()
        server = self.unstarted(self.config(sink))
        server.environment = {**os.environ, "RINGPOST_FAULTS": f"{WRITES} 1+ error=EIO; nonsense"}
        server.start()
        self.assertEqual(self.send(server).code, 250)
        server.environment = None
        self.assert_judged(server, sink)


class Damage(Disks):
    def change(self, wanted, instead):
        """Writes `instead` over the only place in the spool where `wanted` stands."""
        found = 0
        for folder, _, names in os.walk(self.path("spool")):
            for name in names:
                with open(os.path.join(folder, name), "r+b") as file:
                    at = file.read().find(wanted)
                    if at >= 0:
                        file.seek(at)
                        file.write(instead)
                        found += 1
        self.assertEqual(found, 1)

    def copies(self):
        """What was copied aside of damage, by name."""
        found, folder = {}, self.path("spool/quarantine")
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            with open(os.path.join(folder, name), "rb") as file:
                found[name] = file.read()
        return found

    def once(self, name):
        """A hook that makes this file when it is called first: recovery has read what it needs,
        and the first message is about to be sent."""
        first = iter([name])

        def hook(_):
            for name in first:
                self.touch(name)
        return hook

    def test_f05_a_damaged_body_is_held_and_named_and_the_others_go(self):
        sink = self.sink()
        server = self.unstarted(self.config(sink))
        self.with_waiting_mail(server, sink)
        self.change(content_of(2)[:20], b"T")  # one bit
        server.start()
        sink.wait(4)
        wait_until(lambda: "damaged, a message is held" in server.errors(), "the alarm")
        wait_until(lambda: "damaged bytes are copied to" in server.errors(), "the copy")
        (name, copy), = self.copies().items()
        self.assertRegex(name, r"^lane-000-segment-\d{6}-offset-\d{10}-bytes-\d+-message$")
        self.assertIn(b"T" + content_of(2)[1:], copy)
        self.assert_judged(server, sink, held=[2])
        self.assertEqual(self.copies(), {name: copy})

    def test_f05_a_read_error_at_delivery_costs_an_attempt_and_no_mail(self):
        sink = self.sink()
        server = self.faulty(self.config(sink))
        self.with_waiting_mail(server, sink)
        bad = self.path("bad")
        server.environment["RINGPOST_FAULTS"] = f"read *segment-* 1+ error=EIO if={bad}"
        sink.on_banner = self.once("bad")
        server.start()
        server.wait_line("fault")
        wait_until(lambda: "cannot be read" in server.errors(), "the alarm")
        os.unlink(bad)
        self.assert_judged(server, sink)

    def test_f05_while_the_device_cannot_be_read_nothing_wrong_is_sent(self):
        disk = FaultyDisk(self, make=("-O", "^has_journal"))
        sink = self.sink()
        server = self.unstarted(self.config(sink, "disk/spool"))
        self.with_waiting_mail(server, sink)
        sink.on_banner = self.once("bad-reads")
        server.start()
        wait_until(lambda: server.errors().count("cannot be read") >= 2, "the alarm")
        os.unlink(disk.bad_reads)
        self.assert_judged(server, sink)

    def test_f28_a_damaged_segment_starts_with_an_alarm_and_delivers_the_rest(self):
        """The record is named when it is met: at the start, or when it is to be delivered."""
        sink = self.sink()
        server = self.unstarted(self.config(sink))
        self.with_waiting_mail(server, sink)
        self.change(b"n2@x.test", b"n3")
        server.start()
        sink.wait(4)
        wait_until(lambda: "damaged bytes are copied to" in server.errors(), "the copy")
        (name, copy), = self.copies().items()
        self.assertRegex(name, r"^lane-000-segment-\d{6}-offset-\d{10}-bytes-\d+-(record|message)$")
        self.assertIn(content_of(2), copy)
        server.stop()
        server.start()
        self.assertEqual(self.copies(), {name: copy})
        self.assertIn(server.ready["queued"], ("0", "1"))
        server.stop()
        self.assertEqual({number_of(mail) for mail in sink.mails}, {0, 1, 3, 4})


class Slow(Disks):
    def test_f07_on_a_slow_disk_replies_wait_and_nothing_else_does(self):
        sink = self.sink()
        server = self.faulty(self.config(sink),
                             f"{WRITES} 1+ late=700ms").start()
        client, other = self.client(server), self.client(server)
        client.envelope("a@b.test", ["n0@x.test"])
        client.command("DATA")
        begun = time.monotonic()
        client.send(content_of(0) + b".\r\n")
        served = 0
        client.socket.setblocking(False)
        while True:
            self.assertEqual(other.command("NOOP").code, 250)
            served += 1
            try:
                client.socket.recv(1)
                break
            except BlockingIOError:
                time.sleep(0.01)
        self.assertGreaterEqual(time.monotonic() - begun, 0.7)
        self.assertGreater(served, 3)
        self.accepted.add(0)
        self.assert_judged(server, sink)

    def test_f07_after_the_store_deadline_the_client_is_told_and_nobody_gets_it(self):
        sink = self.sink()
        server = self.faulty(self.config(sink, store_deadline="1s"),
                             f"{WRITES} 1 late=3s").start()
        self.assert_refused(self.send(server), "451 4.3.0")
        server.wait_line("fault")
        self.send_until_taken(server)  # behind it in the log, and its refusal as well
        server.wait_events("Delivery", 1)
        server.kill()
        server.environment = None
        server.start()
        self.assert_judged(server, sink)

    def test_f07_a_device_with_slow_writes(self):
        FaultyDisk(self, delay="10ms", make=("-O", "^has_journal"))
        sink = self.sink()
        server = self.server(self.config(sink, "disk/spool", segment_size="1MiB"))
        begun = time.monotonic()
        for _ in range(5):
            self.assertEqual(self.send(server).code, 250)
        self.assertGreaterEqual(time.monotonic() - begun, 0.05)
        self.assert_judged(server, sink)


class ReadOnly(Disks):
    def test_f06_a_file_system_that_turns_read_only_takes_nothing_and_loses_nothing(self):
        disk = Disk(self)
        trigger = f"/sys/fs/ext4/{disk.device}/trigger_fs_error"
        sink = self.sink()
        server = self.unstarted(self.config(sink, "disk/spool"))
        self.with_waiting_mail(server, sink)
        reason = step("mount", "-o", "remount,errors=remount-ro", disk.path)
        if reason or not os.access(trigger, os.W_OK):
            self.skipTest(reason or "no trigger_fs_error here")
        sink.on_mail = lambda mail: LATER
        server.start()
        with open(trigger, "w", encoding="ascii") as file:
            file.write("made read-only by a test")
        client = self.client(server)
        self.fail_until_off(server)
        seen = sum(session.transactions for session in sink.sessions)
        time.sleep(2)  # each of the five is due every second
        self.assertEqual(sum(session.transactions for session in sink.sessions), seen)
        self.assertEqual(client.command("NOOP").code, 250)
        server.stop()
        disk.unmount()
        disk.mount()
        sink.on_mail = lambda mail: None
        server.start()
        self.assert_judged(server, sink)
