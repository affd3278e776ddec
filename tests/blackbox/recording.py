"""What a disk may hold after a power cut that takes its cache with it.

A journal of nbd_recorder.py says what was written in which order, and when it was asked to be on
stable storage. Cut off at any length it gives the states that the disk may be in then: all that was
written before the last flush, and of what came after it anything, by sectors.
"""
import os
import shutil
import struct

SECTOR = 512
RECORD = struct.Struct("<cQI")  # as nbd_recorder.py has it, which only nbdkit can import


class Recording:
    """The journal of a disk of `size` bytes, which was full of zeros when it began."""

    def __init__(self, journal, size, folder):
        self.journal = open(journal, "rb")
        self.durable = os.path.join(folder, "durable.image")  # all up to `durable_to`
        self.durable_to = 0
        with open(self.durable, "wb") as image:
            image.truncate(size)

    def close(self):
        self.journal.close()

    def records(self, begin, end):
        """(where it ends, offset, bytes) of each whole write, (where it ends, None, None) of each
        flush; in order."""
        self.journal.seek(begin)
        at = begin
        while at + RECORD.size <= end:
            kind, offset, size = RECORD.unpack(self.journal.read(RECORD.size))
            at += RECORD.size + size
            if at > end:
                return
            if kind == b"F":
                yield at, None, None
            else:
                yield at, offset, self.journal.read(size)

    def cuts(self, begin, end):
        """Where the journal may be cut off so that the disk has something to lose: behind each
        write. `begin` and `end` are lengths that were seen while it grew: maybe within a record."""
        return [at for at, offset, _ in self.records(0, end) if offset is not None and at > begin]

    def cache(self, end):
        """What the disk may lose when the journal ends there: the writes since the last flush."""
        writes = []
        for _, offset, octets in self.records(self.durable_to, end):
            if offset is None:
                writes = []
            else:
                writes.append((offset, octets))
        return writes

    def settle(self, end):
        """Everything up to the last flush before `end` is on the durable image from here on."""
        waiting = []
        with open(self.durable, "r+b") as image:
            for at, offset, octets in self.records(self.durable_to, end):
                if offset is not None:
                    waiting.append((offset, octets))
                    continue
                for offset, octets in waiting:
                    os.pwrite(image.fileno(), octets, offset)
                waiting, self.durable_to = [], at

    def state(self, end, choose, path):
        """Makes an image as the disk may be when the journal ends there; from call to call `end`
        only grows. choose(sectors) says of each write in the cache which of its sectors came. How
        many did not."""
        self.settle(end)
        shutil.copyfile(self.durable, path)
        lost = 0
        with open(path, "r+b") as image:
            for offset, octets in self.cache(end):
                sectors = [(at, octets[at:at + SECTOR]) for at in range(0, len(octets), SECTOR)]
                came = choose(len(sectors))
                for at, sector in (sectors[i] for i in came):
                    os.pwrite(image.fileno(), sector, offset + at)
                lost += len(sectors) - len(came)
        return lost
