"""Power cuts on real file systems, and kills at named operations of the ring: what was answered 250
arrives, whole and unaltered."""
import signal
import time
import zlib

from disks import Disk
from harness import FAULTS, RINGPOSTD, BlackBox, Config, address_of, wait_until
from ledger import Ledger, Load
from smtp_sink import EVERYTHING, Sink

# Right before the n-th of these, counted on each ring. A send is often a reply "250" whose message
# has just become durable, or the content on its way out.
POINTS = [f"{operation} {count} kill" for operation, counts in (
    ("write *segment-*", (1, 2, 3, 10, 50)), ("send socket:*", (1, 2, 5, 20, 100, 101, 102, 103)),
    ("accept socket:*", (1,)), ("recv socket:*", (1, 3)), ("connect socket:*", (1, 3)),
    ("read *segment-*", (1, 2, 3))) for count in counts]


class Judged(BlackBox):
    def begin(self, **sections):
        """A ledger, a sink that asks every tenth to come again, and an unstarted server."""
        self.ledger, asked = Ledger(), set()

        def on_rcpt(_, recipient):
            if zlib.crc32(recipient.encode()) % 10 or recipient in asked:
                return None
            asked.add(recipient)
            return f"450 4.2.0 Not now, {recipient}"
        sink = Sink(EVERYTHING, on_content=self.ledger.on_content, on_rcpt=on_rcpt)
        self.addCleanup(sink.close)
        return self.unstarted(Config(sink.port, **sections))

    def assert_judged(self, server):
        wait_until(lambda: not self.ledger.missing(), "all that was accepted", 60)
        causes, _ = self.ledger.duplicates()
        self.assertEqual(self.ledger.altered, [])
        self.assertEqual(causes["unexplained"], 0)
        for _ in range(10):  # what was stored and never answered leaves as well
            server.stop()
            copies = self.ledger.copies()
            server.start()
            queued = int(server.ready["queued"])
            if queued == 0:
                break
            wait_until(lambda: self.ledger.copies() >= copies + queued, f"{queued} queued")
        self.assertEqual(queued, 0)
        self.assertEqual(self.ledger.altered, [])
        server.stop()


class PowerCut(Judged):
    def cut(self, kind, size, cuts=4):
        disk = Disk(self, kind=kind, size=size)
        server = self.begin(
            node={"state_dir": "disk/state"}, log={"path": "disk/log"}, spool={
                "path": "disk/spool", "min_free_space": 0, "segment_size": "1MiB",
                "recovery_spread": "200ms"})
        server.start()
        load = Load(self, self.ledger, lambda: server.address)
        for _ in range(cuts):
            wanted = len(self.ledger.accepted) + 100
            wait_until(lambda: len(self.ledger.accepted) >= wanted, "mail to be accepted")
            cut_at = time.monotonic()
            disk.cut_power()
            server.kill()
            disk.unmount()
            disk.mount()
            server.start()
            self.ledger.kills.append((cut_at, time.monotonic()))
        load.stop()
        self.assert_judged(server)

    def test_f01c_a_power_cut_on_ext4_loses_nothing_acknowledged(self):
        self.cut("ext4", 128 << 20)

    def test_f01c_a_power_cut_on_xfs_loses_nothing_acknowledged(self):
        self.cut("xfs", 320 << 20)


class Kills(Judged):
    def start_under(self, server, rule):
        """True when it becomes ready under this rule, false when it is killed before."""
        server.environment["RINGPOST_FAULTS"] = rule
        server.launch()
        wait_until(lambda: server.process.poll() is not None or
                   any(line and "event=ready" in line for line in server.lines), "a start")
        if server.process.poll() is None:
            server.address = address_of(server.wait_line("ready")["smtp"])
            return True
        self.assert_killed(server, rule)
        return False

    def assert_killed(self, server, rule):
        """By the rule. What was under way in the kernel then may still be read for a moment."""
        alive_at = begun = time.monotonic()
        while server.process.poll() is None:
            alive_at = time.monotonic()
            self.assertLess(alive_at - begun, 30, rule)
            time.sleep(0.005)
        self.assertEqual(server.wait_exit(), -signal.SIGKILL, rule)
        self.ledger.kills.append((alive_at, time.monotonic() + 0.1))

    def kill(self, server):
        killed_at = time.monotonic()
        server.kill()
        self.ledger.kills.append((killed_at, time.monotonic() + 0.1))

    def test_f01_a_kill_at_each_kind_of_operation_loses_nothing(self):
        config = {"node": {"shards": 1}, "spool": {"segment_size": "4MiB",
                                                   "recovery_spread": "100ms"}}
        server = self.begin(**config)
        server.environment, server.program = {"RINGPOST_FAULTS": ""}, FAULTS
        server.start()
        load = Load(self, self.ledger, lambda: server.address)
        wait_until(lambda: len(self.ledger.accepted) >= 20, "mail to be accepted")
        self.kill(server)
        for rule in POINTS:
            if self.start_under(server, rule):
                self.assert_killed(server, rule)
        server.program = RINGPOSTD
        server.start()
        load.stop()
        self.assert_judged(server)

    def test_f01b_a_kill_at_each_operation_of_recovery_and_a_crash_after_it(self):
        server = self.begin(node={"shards": 1}, spool={
            "segment_size": "4MiB", "recovery_spread": "100ms"})
        server.environment, server.program = {"RINGPOST_FAULTS": ""}, FAULTS
        server.start()
        for number in range(30):
            self.ledger.send_one(self.client(server), ("data", "bdat")[number % 2])
        self.kill(server)
        points = 1
        while not self.start_under(server, f"* * {points} kill"):
            server.environment["RINGPOST_FAULTS"] = ""
            server.start()  # and once more after something new was appended
            self.ledger.send_one(self.client(server), "data")
            self.kill(server)
            points += 1 + points // 3
        self.kill(server)
        self.assertGreater(points, 3)
        server.environment["RINGPOST_FAULTS"] = ""
        server.start()
        self.assert_judged(server)
