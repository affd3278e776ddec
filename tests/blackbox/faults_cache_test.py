"""Power cuts that take the cache of the disk with them, on the real ring: a server works on a disk
that writes down what reaches it; then copies of the disk are made as they may be after a cut at
some moment: all up to the last flush, and of what came after it some sectors. A server that starts
on a copy has everything that was answered 250 by then.

STATES=200 SEED=7 asks for more copies of each kind than make test does.
"""
import bisect
import os
import random
import sys
import threading
import time
import zlib

from disks import Disk, RecordedDisk
from harness import BlackBox, Config, wait_until
from ledger import Ledger, Load, recipients_of
from recording import Recording
from smtp_sink import EVERYTHING, Sink

STATES = int(os.environ.get("STATES", "0"))
SEED = int(os.environ.get("SEED", "0")) or random.randrange(1, 1 << 31)
MESSAGES = 400


class Moment:
    """What was so at a moment of the recording, asked in this order: what was answered 250 stands
    in the journal, and what the journal says was delivered was."""

    def __init__(self, ledger, disk):
        self.accepted = len(ledger.accepted)  # the first so many
        self.journal = disk.recorded()
        self.at = time.monotonic()


class Copy(Disk):
    """A disk that is there already, at the place of another one."""

    def __init__(self, test, path, image):
        self.test, self.path, self.image = test, path, image
        self.mounted = False
        self.mount()


class CacheLost(BlackBox):
    def config(self, sink, sync):
        return Config(sink.port, node={"state_dir": "disk/state", "shards": 1},
                      log={"path": "disk/log"}, queue={"retry_interval": "1s"},
                      spool={"path": "disk/spool", "min_free_space": 0, "segment_size": "1MiB",
                             "recovery_spread": "100ms", "sync": sync})

    def record(self, sync, **disk_options):
        """A server at work until it has taken MESSAGES; its ledger, the moments, and the disk."""
        disk = RecordedDisk(self, **disk_options)
        ledger, moments, asked = Ledger(), [], set()

        def on_rcpt(_, recipient):
            if zlib.crc32(recipient.encode()) % 10 or recipient in asked:
                return None
            asked.add(recipient)
            return f"450 4.2.0 Not now, {recipient}"
        sink = Sink(EVERYTHING, on_content=ledger.on_content, on_rcpt=on_rcpt)
        self.addCleanup(sink.close)
        server = self.server(self.config(sink, sync))
        moments.append(Moment(ledger, disk))  # the thread below may come late: the load is quick
        load = Load(self, ledger, lambda: server.address)
        enough = threading.Event()

        def look():
            while not enough.wait(0.005):
                moments.append(Moment(ledger, disk))
        watcher = threading.Thread(target=look)
        self.addCleanup(enough.set)
        watcher.start()
        wait_until(lambda: len(ledger.accepted) >= MESSAGES, "mail to be accepted", 120)
        enough.set()
        watcher.join()
        moments.append(Moment(ledger, disk))
        server.kill()
        load.stop()
        disk.unmount()
        return server, ledger, moments, disk

    @staticmethod
    def promised(ledger, moments, cut):
        """Who was promised a message when the journal was so long, and had not got it; a doubt is
        no promise."""
        after = bisect.bisect_left(moments, cut, key=lambda moment: moment.journal)
        accepted = moments[max(after - 1, 0)].accepted
        until = moments[min(after, len(moments) - 1)].at
        return [recipient for number in list(ledger.accepted)[:accepted]
                for recipient in recipients_of(number)
                if not any(at <= until for at in ledger.delivered.get(recipient, ()))]

    def lost(self, server, disk, image, promised, sync):
        """Starts on this copy and waits until it is empty: who of `promised` got nothing."""
        found = Ledger()
        sink = Sink(EVERYTHING, on_content=found.on_content)
        self.addCleanup(sink.close)
        copy = Copy(self, disk.path, image)
        self.addCleanup(copy.unmount)
        server.configure(self.config(sink, sync))
        server.start()
        queued = int(server.ready["queued"])
        wait_until(lambda: found.copies() >= queued, f"{queued} queued")
        said = server.errors()
        server.kill()
        copy.unmount()
        sink.close()
        self.assertEqual(found.altered, [])
        return [recipient for recipient in promised if recipient not in found.delivered], said

    @staticmethod
    def chosen(number, source):
        """For one copy: which sectors of each write came. The first copy has none."""
        whole = source.choice((0, 0.2, 0.5, 0.8, 1)) if number else 0
        torn = source.choice((0, 0.1, 0.5)) if number else 0

        def choose(sectors):
            if source.random() < torn:
                return [i for i in range(sectors) if source.random() < 0.5]
            return range(sectors) if source.random() < whole else []
        return choose

    def states(self, sync, count, choose, **disk_options):
        """(what the disk lost in sectors, who is missing, what the server said) of each."""
        server, ledger, moments, disk = self.record(sync, **disk_options)
        recording = Recording(disk.journal, os.stat(disk.plain).st_size, self.folder)
        self.addCleanup(recording.close)
        source = random.Random(SEED)
        image = os.path.join(self.folder, "state.image")
        cuts = recording.cuts(moments[0].journal, moments[-1].journal)
        self.assertGreaterEqual(len(cuts), count, "the disk was hardly written to")
        for number, cut in enumerate(sorted(source.sample(cuts, count))):
            lost = recording.state(cut, choose(number, source), image)
            promised = self.promised(ledger, moments, cut)
            missing, said = self.lost(server, disk, image, promised, sync)
            print(f"sync={sync}: {len(promised)} recipients promised, {lost} sectors lost, "
                  f"{len(missing)} missing (SEED={SEED})", file=sys.stderr)
            yield lost, missing, said

    def loses_nothing(self, count, **disk_options):
        sectors = 0
        for lost, missing, said in self.states("commit", STATES or count, self.chosen,
                                               **disk_options):
            self.assertEqual(missing, [], f"SEED={SEED}")
            self.assertNotIn("damage", said, f"SEED={SEED}")
            sectors += lost
        self.assertGreater(sectors, 0, "no state was without anything")

    def test_f01c_on_ext4_a_disk_that_loses_its_cache_loses_nothing_acknowledged(self):
        self.loses_nothing(16, kind="ext4", size=96 << 20)

    def test_f01c_on_xfs_a_disk_that_loses_its_cache_loses_nothing_acknowledged(self):
        self.loses_nothing(8, kind="xfs", size=320 << 20)

    def test_f01c_without_syncs_a_disk_that_loses_its_cache_loses_mail(self):
        """The control: the same judge finds losses."""
        for _, missing, _ in self.states("none", STATES or 6, lambda *_: lambda sectors: [],
                                         size=96 << 20):
            if missing:
                return
        self.fail(f"nothing was lost, SEED={SEED}")
