"""What a server was writing when it was killed, read off its spool, as docs/spool-format.md has it.

The same looks serve to choose the moment of a kill while the server runs. Files are read past the
page cache, so that a look changes nothing for who writes them.
"""
import glob
import mmap
import os
import struct
import time

PAGE = 4096
BLOCK = 65536          # of a checkpoint
GROUP_BYTES_MAX = 4 << 20
SEGMENT_MAGIC, GROUP_MAGIC, CHECKPOINT_MAGIC = b"Rpotseg1", b"Rpg1", b"Rpotckp1"
MESSAGE_HEAD = b"rR\x01"  # of a record, behind its checksum: kind 1
MESSAGE_MOVED = 16


class DirectFile:
    """Reads of whole pages from the disk itself."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)

    def read(self, offset, size):
        with mmap.mmap(-1, -(-size // PAGE) * PAGE) as pages:
            return bytes(pages[:min(os.preadv(self.fd, [pages], offset), size)])

    def close(self):
        os.close(self.fd)


class Checkpoints:
    """The two checkpoint files of a lane. One is being written while its HEAD is made of zeros."""

    def __init__(self, lane):
        self.files = {}
        for number in (0, 1):
            path = os.path.join(lane, f"checkpoint-{number}")
            if os.path.exists(path):
                self.files[path] = DirectFile(path)

    def written_since(self, wall_ns):
        """Is one half written, and was that begun after this wall time?"""
        return any(not any(file.read(0, PAGE)) and self.was_used(file, wall_ns)
                   for file in self.files.values())

    @staticmethod
    def was_used(file, wall_ns):
        """A file that holds no checkpoint yet is one block of zeros; and what an earlier kill left
        half written says nothing of this one."""
        state = os.fstat(file.fd)
        return state.st_size > BLOCK and state.st_mtime_ns > wall_ns

    def close(self):
        for file in self.files.values():
            file.close()


class LaneLog:
    """The end of a lane's log: follows its groups from the newest segment on."""

    def __init__(self, lane):
        self.lane = lane
        self.files = {}      # path: DirectFile
        self.heads = {}      # path: (when it was written to, number of its segment)
        self.segment = 0     # number of the one that is followed; 0: none
        self.file = None
        self.offset = 0
        self.moved = False   # does the newest group hold a message that was written again?

    def number_of(self, path):
        """Of the segment in a file; read again only when the file has changed."""
        if path not in self.files:
            self.files[path] = DirectFile(path)
        changed = os.fstat(self.files[path].fd).st_mtime_ns
        if self.heads.get(path, (None,))[0] != changed:
            head = self.files[path].read(0, 64)
            number = struct.unpack_from("<I", head, 12)[0] if head[:8] == SEGMENT_MAGIC else 0
            self.heads[path] = (changed, number)
        return self.heads[path][1]

    def newest(self):
        numbers = {}
        for path in glob.glob(os.path.join(self.lane, "segment-*")):
            try:
                numbers[self.number_of(path)] = path
            except FileNotFoundError:
                pass  # gone between the listing and now
        return max(numbers.items(), default=(0, None))

    def skip_to_newest(self):
        """What stands there is not looked at: a start begins a segment of its own."""
        self.segment, _ = self.newest()

    def look(self):
        """Follows to the end; whether the newest group holds a message that was written again."""
        if self.file is not None:
            self.follow()
        segment, path = self.newest()
        if segment > self.segment:
            self.segment, self.file, self.offset = segment, self.files[path], PAGE
            self.follow()
        return self.moved

    def follow(self):
        while True:
            head = self.file.read(self.offset, PAGE)
            if head[:4] != GROUP_MAGIC:
                return
            segment, size = struct.unpack_from("<II", head, 8)
            if segment != self.segment or size > GROUP_BYTES_MAX:
                return
            self.moved = holds_moved(self.file.read(self.offset, size))
            self.offset += -(-size // PAGE) * PAGE

    def close(self):
        for file in self.files.values():
            file.close()


def holds_moved(group):
    """Does a MESSAGE of this group take the place of an earlier one?"""
    at = group.find(MESSAGE_HEAD)
    while at >= 0:
        if at % 64 == 8 and at + 50 <= len(group):
            if struct.unpack_from("<H", group, at - 8 + 56)[0] & MESSAGE_MOVED:
                return True
        at = group.find(MESSAGE_HEAD, at + 1)
    return False


class SpoolWatch:
    """All lanes of a spool from now on, to the end of one server process."""

    def __init__(self, spool):
        self.wall_ns = time.time_ns()
        lanes = sorted(glob.glob(os.path.join(spool, "lane-*")))
        self.logs = [LaneLog(lane) for lane in lanes]
        self.checkpoints = [Checkpoints(lane) for lane in lanes]
        for log in self.logs:
            log.skip_to_newest()

    def in_checkpoint(self):
        return any(files.written_since(self.wall_ns) for files in self.checkpoints)

    def in_compaction(self):
        return any([log.look() for log in self.logs])

    def close(self):
        for part in self.logs + self.checkpoints:
            part.close()
