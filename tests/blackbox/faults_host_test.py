"""What the host does wrong: no descriptors, no io_uring, no memory, other clocks, a stuck thread, a
second signal. The server says so, loses nothing, and comes back alone."""
import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import threading
import time

from harness import BlackBox, Config, wait_until
from ledger import Ledger, Load
from smtp_client import Client
from smtp_sink import EVERYTHING, Sink

HEADER = b"Subject: test\r\n\r\n"
LATER = "450 4.2.0 Later"
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
IO_URING_SETUP = 425  # on every architecture
CLONE_NEWTIME = 0x80
PTRACE_PEEKTEXT, PTRACE_POKETEXT, PTRACE_ATTACH, PTRACE_DETACH, PTRACE_PEEKUSER = 1, 4, 16, 17, 3
RIP = 16 * 8  # in struct user


def without_io_uring(error):
    """For a child before it executes: io_uring_setup ends with this error."""
    def instruction(code, true, false, value):
        return struct.pack("HBBI", code, true, false, value)
    program = (instruction(0x20, 0, 0, 0) +                      # the number of the system call
               instruction(0x15, 0, 1, IO_URING_SETUP) +
               instruction(0x06, 0, 0, 0x00050000 | error) +     # fails
               instruction(0x06, 0, 0, 0x7FFF0000))              # is allowed
    memory = ctypes.create_string_buffer(program)
    head = struct.pack("HxxxxxxP", 4, ctypes.addressof(memory))

    def forbid():
        LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        assert LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, head, 0, 0) == 0 and memory
    return forbid


class RingRefused(BlackBox):
    def refused(self, words, prepare):
        path = os.path.join(self.folder, "t.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(Config(2626).text())
        code, said = self.run_daemon("-c", path, preexec_fn=prepare)
        self.assertEqual((code, len(said.splitlines())), (1, 1), said)
        self.assertIn(words, said)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "spool")))

    def test_f24_without_io_uring_one_line_says_why_and_nothing_is_touched(self):
        for error, words in ((errno.EPERM, "io_uring is forbidden"),
                             (errno.ENOSYS, "io_uring is forbidden"),
                             (errno.ENOMEM, "no memory for an io_uring"),
                             (errno.EINVAL, "too old")):
            with self.subTest(errno.errorcode[error]):
                self.refused(words, without_io_uring(error))

    def test_f24_without_descriptors_one_line_says_so(self):
        for limit in (4, 8):
            with self.subTest(limit):
                self.refused("Too many open files", lambda: resource.setrlimit(
                    resource.RLIMIT_NOFILE, (limit, limit)))


class Exhausted(BlackBox):
    def settled(self, number):
        """The value once it has been the same for a while: what is made ahead of need is made."""
        seen = []

        def same():
            seen.append(number())
            return len(seen) > 50 and len(set(seen[-50:])) == 1
        wait_until(same, "it to settle")
        return seen[-1]

    def used_descriptors(self, server):
        """By a server that is at rest, with one client."""
        server.start()
        client = Client(server.address)
        self.assertEqual(client.submit(HEADER, ["n4@x.test"]).code, 250)
        used = self.settled(lambda: len(os.listdir(f"/proc/{server.process.pid}/fd")))
        client.close()
        server.stop()
        return used

    @staticmethod
    def cpu_seconds(server):
        with open(f"/proc/{server.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def test_f23_without_descriptors_sessions_go_on_and_accepting_comes_back(self):
        sink = self.sink()
        server = self.unstarted(Config(sink.port, node={"shards": 1}, spool={
            "min_free_space": 0, "segment_size": "1MiB"}))
        # The next life has another segment, two checkpoints and a log file to open, too: whoever
        # comes first has them, and one for a client must be left when the clients have gone.
        limit = self.used_descriptors(server) + 5
        server.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
        folder = f"/proc/{server.process.pid}/fd"
        first = self.client(server)
        waiting = [self.client(server, greet=False) for _ in range(20)]
        wait_until(lambda: len(os.listdir(folder)) == limit, "no descriptor left")
        banners = [client.reply() for client in waiting]
        refused = [client for client, banner in zip(waiting, banners) if banner.code != 220]
        self.assertGreaterEqual(len(refused), len(waiting) - 6)
        self.assertEqual({repr(banner) for banner in banners if banner.code != 220},
                         {"421 4.3.2 Too many open files"})
        for client in refused:
            self.assertTrue(client.at_end())
        used = self.cpu_seconds(server)
        for number in range(3):
            self.assertEqual(first.submit(HEADER, [f"n{number}@x.test"]).code, 250)
        time.sleep(2)  # without a descriptor all the time, and nobody who waits
        self.assertLess(self.cpu_seconds(server) - used, 1)
        for client in waiting:
            client.close()

        def served():
            try:
                client = Client(server.address, timeout=1)
            except OSError:
                return False
            code = client.submit(HEADER, ["n3@x.test"]).code
            client.close()
            return code == 250
        wait_until(served, "accepting to come back")
        sink.wait_for(lambda: {mail.recipients[0] for mail in sink.mails} ==
                      {f"n{number}@x.test" for number in range(5)}, "all mail")
        self.assertEqual(server.events("Bounce"), [])
        server.stop()

    def test_f23_a_spool_may_have_more_segments_than_the_process_descriptors(self):
        messages, limit = 150, 130
        sink = self.sink(on_rcpt=lambda *_: LATER)
        server = self.server(Config(sink.port, node={"shards": 1}, queue={"retry_interval": "1h"},
                                    spool={"min_free_space": 0, "segment_size": "1MiB"}))
        client = self.client(server)
        content = HEADER + (98 * b"x" + b"\r\n") * 9000  # one a segment
        for number in range(messages):
            self.assertEqual(client.submit(content, [f"n{number}@x.test"]).code, 250)
        for prepare in (server.kill, server.stop):
            prepare()
            lane = os.listdir(os.path.join(self.folder, "spool/lane-000"))
            self.assertGreaterEqual(sum(name.startswith("segment-") for name in lane), messages)
            server.start(preexec_fn=lambda: resource.setrlimit(
                resource.RLIMIT_NOFILE, (limit, limit)))
            self.assertEqual(server.ready["queued"], str(messages))
            messages += 1
            self.assertEqual(self.client(server).submit(content, ["more@x.test"]).code, 250)
        server.stop()

    def test_f08_more_content_at_once_than_memory_holds_is_refused_or_taken_whole(self):
        gate = threading.Event()
        sink = self.sink(on_data=lambda mail: gate.wait(30) and None)
        self.addCleanup(gate.set)
        server = self.server(Config(sink.port, node={"shards": 1}, extra=(
            '[memory]\nlimit = "64MiB"\nstaging = "4MiB"\n')))
        replies = {}

        def send(number):
            client = Client(server.address)
            replies[number] = client.submit(HEADER + b"%d\r\n" % number * 30000, sender="a@b.test",
                                            recipients=[f"n{number}@x.test"])
            client.close()
        senders = [threading.Thread(target=send, args=(number,)) for number in range(60)]
        for sender in senders:
            sender.start()
        wait_until(lambda: len(replies) >= 10, "replies")
        gate.set()  # until here no content was delivered
        for sender in senders:
            sender.join()
        self.assertEqual(len(replies), 60)
        taken = {f"n{number}@x.test" for number, reply in replies.items() if reply.code == 250}
        for reply in replies.values():
            self.assertTrue(repr(reply).startswith(("250 ", "452 4.3.1")), reply)
        self.assertGreater(len(taken), 0)
        mails = sink.wait(len(taken))
        self.assertEqual({mail.recipients[0] for mail in mails}, taken)
        for mail in mails:
            number = int(mail.recipients[0][1:].partition("@")[0])
            self.assertEqual(mail.body, HEADER + b"%d\r\n" % number * 30000)
        self.assertEqual(self.client(server).submit(HEADER).code, 250)
        sink.wait(len(taken) + 1)
        server.stop()


class Clocks(BlackBox):
    @staticmethod
    def shifted(seconds):
        """For a child before it executes: the monotonic clock is that much ahead."""
        def shift():
            assert LIBC.unshare(CLONE_NEWTIME) == 0
            with open("/proc/self/timens_offsets", "w", encoding="ascii") as file:
                file.write(f"monotonic {seconds} 0\nboottime {seconds} 0\n")
            space = os.open("/proc/self/ns/time_for_children", os.O_RDONLY)
            assert LIBC.setns(space, CLONE_NEWTIME) == 0
            os.close(space)
        return shift

    def test_f25_another_monotonic_clock_after_a_start_neither_hurries_nor_delays_mail(self):
        pid = os.fork()
        if pid == 0:
            try:
                self.shifted(1)()
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(pid, 0)[1] != 0:
            self.skipTest("no time namespaces here")
        sink = self.sink(on_mail=lambda mail: LATER)
        server = self.server(Config(sink.port, queue={"retry_interval": "2s"}))
        self.assertEqual(self.client(server).submit(HEADER).code, 250)
        tried = server.wait_events("TransientFailure", 1)[0]["timestamp"]
        server.stop()
        sink.on_mail = lambda mail: None
        server.start(preexec_fn=self.shifted(400 * 86400))
        sink.wait(1)
        self.assertGreater(time.time(), tried + 1)
        server.stop()
        sink.on_mail = lambda mail: LATER
        server.start(preexec_fn=self.shifted(300 * 86400))
        self.assertEqual(self.client(server).submit(HEADER).code, 250)
        tried = server.wait_events("TransientFailure", 2)[-1]["timestamp"]
        server.stop()
        sink.on_mail = lambda mail: None
        server.start()  # 300 days earlier
        sink.wait(2)
        self.assertGreater(time.time(), tried + 1)
        server.stop()


class Stuck(BlackBox):
    def spin(self, task):
        """Lets a thread run in a circle where it stands: it burns its CPU and does nothing."""
        LIBC.ptrace.restype = ctypes.c_long
        LIBC.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)

        def ptrace(request, address=0, data=0):
            ctypes.set_errno(0)
            result = LIBC.ptrace(request, task, address, data)
            if ctypes.get_errno() != 0:
                self.skipTest(f"no ptrace here: {os.strerror(ctypes.get_errno())}")
            return result
        ptrace(PTRACE_ATTACH)
        os.waitpid(task, 0x40000000)  # __WALL
        at = ptrace(PTRACE_PEEKUSER, RIP)
        word = ptrace(PTRACE_PEEKTEXT, at) & ~0xFFFF
        ptrace(PTRACE_POKETEXT, at, word | 0xFEEB)  # jmp to itself
        ptrace(PTRACE_DETACH)

    def test_f32_a_stuck_shard_ends_the_process_and_a_start_delivers(self):
        if platform.machine() != "x86_64":
            self.skipTest("knows the instructions of x86_64 only")
        sink = self.sink(on_mail=lambda mail: LATER)
        server = self.server(Config(sink.port, node={"shards": 1}))
        self.assertEqual(self.client(server).submit(HEADER).code, 250)
        server.wait_events("TransientFailure", 1)
        tasks = f"/proc/{server.process.pid}/task"
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/comm", encoding="ascii") as file:
                if file.read().startswith("shard-0"):
                    self.spin(int(task))
        self.assertEqual(server.wait_exit(60), -signal.SIGABRT)
        sink.on_mail = lambda mail: None
        server.start()
        self.assertEqual(len(sink.wait(1)), 1)
        server.stop()


class Stops(BlackBox):
    def test_f33_a_second_signal_under_load_is_fast_and_loses_nothing(self):
        ledger = Ledger()
        sink = Sink(EVERYTHING, on_content=ledger.on_content)
        self.addCleanup(sink.close)
        server = self.server(Config(sink.port, spool={"segment_size": "4MiB"}))
        load = Load(self, ledger, lambda: server.address)
        for pause in (0, 0.001, 0.01, 0.05):
            wanted = len(ledger.accepted) + 50
            wait_until(lambda: len(ledger.accepted) >= wanted, "mail to be accepted")
            server.signal(signal.SIGTERM)
            time.sleep(pause)
            cut_at = time.monotonic()
            if server.process.poll() is None:
                server.signal(signal.SIGTERM)
            self.assertEqual(server.wait_exit(10), 0)
            server.start()
            # Connections were cut: what had no answer yet may come twice.
            ledger.kills.append((cut_at, time.monotonic()))
        load.stop()
        wait_until(lambda: not ledger.missing(), "the rest", 60)
        causes, _ = ledger.duplicates()
        self.assertEqual((causes["unexplained"], ledger.altered), (0, []))
        server.stop()
