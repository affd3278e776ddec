"""Disks of a test's own: an image file, a file system on a loop device, mounted in its folder.

Needs root and what tools/setup installs for tests; where something is missing the test is skipped
with the reason. All is undone when the test ends, whatever happened; nothing that was there before
is touched.
"""
import fcntl
import os
import subprocess

from harness import wait_until

EXT4_IOC_SHUTDOWN = 0x8004587D  # XFS has the same number for the same thing
NO_LOG_FLUSH = 2
MAKE = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}


def step(*command):
    """Runs it; what it said when it failed, else None."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=30)
    except FileNotFoundError:
        return f"no {command[0]} here"
    if done.returncode == 0:
        return None
    said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [""]
    return f"{command[0]} may not be used here: {said[-1]}"


def need(test, *command):
    reason = step(*command)
    if reason:
        test.skipTest(reason)


class Disk:
    """A file system of `size` bytes at `path`, a folder of the test's named `name`."""

    def __init__(self, test, name="disk", size=64 << 20, kind="ext4", make=()):
        self.test, self.kind = test, kind
        self.path = os.path.join(test.folder, name)
        self.image = self.backing(name, size)
        os.mkdir(self.path)
        need(test, *MAKE[kind], *make, self.image)
        self.mounted = False
        test.addCleanup(self.unmount)
        need(test, "mount", "-o", "loop", self.image, self.path)
        self.mounted = True
        self.settle()

    def backing(self, name, size):
        """The file that is the disk."""
        path = os.path.join(self.test.folder, f"{name}.image")
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def settle(self):
        """What a disk of this kind needs after each mount."""

    def mount(self):
        """Again: what could be done once is no reason to skip."""
        self.test.assertIsNone(step("mount", "-o", "loop", self.image, self.path))
        self.mounted = True
        self.settle()

    def unmount(self):
        """A killed process may hold files for a moment, until its ring is gone."""
        if self.mounted:
            wait_until(lambda: step("umount", self.path) is None, f"umount {self.path}", 10)
            self.mounted = False

    @property
    def device(self):
        """loop0, or whichever it is."""
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            found = [line.split() for line in mounts if line.split()[1] == self.path]
        return os.path.basename(found[-1][0])

    def cut_power(self):
        """From here on nothing reaches the disk, and what was not synced is lost."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH.to_bytes(4, "little"))
        except OSError as error:
            self.test.skipTest(f"{self.kind} has no shutdown here: {error}")
        finally:
            os.close(folder)

    def fill(self, pieces=(1 << 20,)):
        """A file that leaves no room for any such piece; to be removed by who wants it back."""
        path = os.path.join(self.path, "filler")
        with open(path, "wb") as file:
            for piece in pieces:
                try:
                    while True:
                        os.write(file.fileno(), bytes(piece))
                except OSError:
                    pass
        return path


class NbdDisk(Disk):
    """A disk whose reads and writes all go through nbdkit."""

    def nbdkit(self, image):
        """Arguments of nbdkit that serve this file."""
        raise NotImplementedError

    def backing(self, name, size):
        self.plain = image = super().backing(name, size)
        folder = os.path.join(self.test.folder, f"{name}.nbd")
        os.mkdir(folder)
        command = ["nbdfuse", folder, "--command", "nbdkit", "-s", *self.nbdkit(image)]
        with open(os.path.join(self.test.folder, f"{name}.log"), "wb") as log:
            try:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=log, start_new_session=True)
            except FileNotFoundError:
                self.test.skipTest("no nbdfuse here")
        self.test.addCleanup(self.end, process, folder)
        file = os.path.join(folder, "nbd")
        wait_until(lambda: os.path.exists(file) or process.poll() is not None, "nbdfuse")
        if process.poll() is not None:
            self.test.skipTest("nbdfuse may not be used here")
        return file

    def settle(self):
        """No cache may be between nbdkit and the loop device."""
        need(self.test, "losetup", "--direct-io=on", f"/dev/{self.device}")

    @staticmethod
    def end(process, folder):
        if process.poll() is None:
            if step("fusermount3", "-u", folder) is not None:
                process.terminate()
            process.wait(30)


class FaultyDisk(NbdDisk):
    """A disk whose reads and writes fail while the files `bad_reads` and `bad_writes` exist, and
    whose writes take `delay` more."""

    def __init__(self, test, *arguments, delay=None, **options):
        self.bad_reads = os.path.join(test.folder, "bad-reads")
        self.bad_writes = os.path.join(test.folder, "bad-writes")
        self.delay = delay
        super().__init__(test, *arguments, **options)

    def nbdkit(self, image):
        filters = ["--filter=error", *(["--filter=delay"] if self.delay else [])]
        return [*filters, "file", image,
                "error=EIO", "error-pread-rate=100%", f"error-pread-file={self.bad_reads}",
                "error-pwrite-rate=100%", f"error-pwrite-file={self.bad_writes}",
                *([f"delay-write={self.delay}"] if self.delay else [])]


class RecordedDisk(NbdDisk):
    """A disk that writes down in `journal` what reached it, in order: see recording.py."""

    def __init__(self, test, *arguments, **options):
        self.journal = os.path.join(test.folder, "journal")
        super().__init__(test, *arguments, **options)

    def nbdkit(self, image):
        return ["python", os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                       "nbd_recorder.py"),
                f"image={image}", f"journal={self.journal}"]

    def recorded(self):
        """Length of the journal."""
        return os.stat(self.journal).st_size
