"""`ringpost top` on a terminal of tmux: what it shows is kept in build/test-output."""
import json
import os
import shutil
import subprocess

from harness import RINGPOST, ROOT, BlackBox, Config, free_port, wait_until

CONTENT = b"Subject: test\r\n\r\nhello\r\n"
OUTPUT = os.path.join(ROOT, "build", "test-output")
SECONDS = 60


class Screen:
    """A terminal with a program on it."""

    def __init__(self, name, columns, lines, endpoint):
        self.socket = f"ringpost-{os.getpid()}"
        self.name = name
        self.tmux("-f", "/dev/null", "new-session", "-d", "-s", name, "-x", str(columns), "-y",
                  str(lines), "-e", f"RINGPOST_ENDPOINT={endpoint}", f"exec {RINGPOST} top")
        self.tmux("set-option", "-g", "window-size", "manual", check=False)

    def tmux(self, *arguments, check=True):
        done = subprocess.run(["tmux", "-u", "-L", self.socket, *arguments], capture_output=True,
                              check=False, timeout=SECONDS)
        if check and done.returncode != 0:
            raise AssertionError(f"tmux {arguments}: {done.stderr.decode()}")
        return done.stdout.decode()

    def show(self):
        return self.tmux("capture-pane", "-p", "-t", self.name, check=False)

    def wait(self, part):
        """What is on it, once it has this text."""
        try:
            return wait_until(lambda: part in self.show() and self.show(), part)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.show()}") from None

    def keep(self, file):
        os.makedirs(OUTPUT, exist_ok=True)
        with open(os.path.join(OUTPUT, file), "w", encoding="utf-8") as kept:
            kept.write(self.show())

    def keys(self, *keys):
        self.tmux("send-keys", "-t", self.name, *keys)

    def resize(self, columns, lines):
        self.tmux("resize-window", "-t", self.name, "-x", str(columns), "-y", str(lines))

    def has_ended(self):
        return self.name not in self.tmux("list-sessions", check=False)

    def close(self):
        self.tmux("kill-session", "-t", self.name, check=False)


class Top(BlackBox):
    def deferring(self):
        """A server on a port that it will have again; x.test has 30 recipients, the others one."""
        sink = self.sink(on_rcpt=lambda *_: "451 4.7.1 Later")
        server = self.unstarted(Config(sink.port, queue={"retry_interval": "1h"}))
        self.options = ["--set", f"http_listener.0.listen=127.0.0.1:{free_port()}"]
        server.start(*self.options)
        client = self.client(server)
        client.submit(CONTENT, [f"u{i}@x.test" for i in range(30)])
        for i in range(20):
            client.submit(CONTENT, [f"u@d{i}.test"])
        server.wait_events("TransientFailure", 50)
        client.close()
        return server

    def screen(self, server, columns, lines):
        if shutil.which("tmux") is None:
            self.skipTest("tmux is not installed: tools/setup test")
        screen = Screen(self._testMethodName[5:25], columns, lines,
                        f"http://{server.ready['http']}")
        self.addCleanup(screen.close)
        return screen

    def test_one_frame_is_printed_as_text(self):
        server = self.deferring()
        done = subprocess.run([RINGPOST, "top", "--once", "--endpoint", server.ready["http"]],
                              stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=SECONDS)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        lines = done.stdout.decode().splitlines()
        os.makedirs(OUTPUT, exist_ok=True)
        with open(os.path.join(OUTPUT, "top-once.txt"), "wb") as kept:
            kept.write(done.stdout)
        self.assertTrue(lines[0].startswith(f"ringpost top  {server.ready['http']}"), lines)
        self.assertRegex(lines[1], r"^in +0\.0/s")
        self.assertIn("50 recipients in 21 queues: 50 not_due", lines)
        self.assertRegex("\n".join(lines), r"(?m)^x\.test +30 +0 +waiting +not_due +\S+s$")
        self.assertEqual(sum(".test " in line for line in lines), 21)
        server.stop()

    def test_readings_are_lines_of_json_with_every_thread(self):
        server = self.deferring()
        done = subprocess.run([RINGPOST, "top", "--once", "--json", "--endpoint",
                               server.ready["http"]], stdin=subprocess.DEVNULL,
                              capture_output=True, check=False, timeout=SECONDS)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        reading = json.loads(done.stdout)
        self.assertEqual((reading["queued"], reading["in"], reading["shards"]), (50, 0, 2))
        self.assertEqual([thread["name"] for thread in reading["threads"]], ["shard-0", "shard-1"])
        for thread in reading["threads"]:
            self.assertLessEqual(thread["busy_percent"], 100)
        with subprocess.Popen([RINGPOST, "top", "--json", "--endpoint", server.ready["http"]],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as running:
            for _ in range(2):
                self.assertEqual(json.loads(running.stdout.readline())["queued"], 50)
            server.kill()
            self.assertEqual(running.wait(SECONDS), 1)

    def test_it_is_for_terminals(self):
        done = subprocess.run([RINGPOST, "top"], stdin=subprocess.DEVNULL, capture_output=True,
                              check=False, timeout=SECONDS)
        self.assertEqual((done.returncode, done.stdout), (2, b""))
        self.assertEqual(done.stderr.decode(),
                         "ringpost top: this is no terminal; --once prints one frame\n")

    def test_keys_and_sizes(self):
        server = self.deferring()
        screen = self.screen(server, 100, 24)
        shown = screen.wait("x.test")
        self.assertIn("scheduled queues by count", shown)
        self.assertIn("50 recipients in 21 queues", shown)
        screen.wait("in             0.0/s")
        screen.keep("top-100x24.txt")
        screen.keys("End")
        screen.wait("of 21")
        screen.wait("-21 of 21")
        screen.keys("/", "X", ".", "T")
        shown = screen.wait("with /X.T_")
        self.assertNotIn("d10.test", shown)
        screen.keys("Escape")
        screen.wait("d10.test")
        screen.keys("s")
        screen.wait("queues by due")
        screen.keys("r")
        screen.wait("ready queues by due")
        screen.wait("unspecified->")
        screen.keep("top-ready.txt")
        screen.keys("r")
        screen.wait("scheduled queues")
        screen.keys("t")
        screen.wait("shard-1")
        screen.keep("top-threads.txt")
        screen.keys("t")
        screen.wait("scheduled queues")
        screen.resize(40, 10)
        shown = screen.wait("queue     count  reason")
        self.assertLessEqual(len(shown.splitlines()), 10)
        screen.wait("x.test")
        screen.keep("top-40x10.txt")
        screen.resize(120, 30)
        screen.wait("state")
        screen.keep("top-120x30.txt")
        screen.keys("q")
        wait_until(screen.has_ended, "the end of top")
        server.stop()

    def test_a_server_goes_away_and_returns(self):
        server = self.deferring()
        screen = self.screen(server, 90, 20)
        screen.wait("x.test")
        server.kill()
        shown = screen.wait("NO ANSWER for ")
        self.assertIn("nobody listens on 127.0.0.1:", shown)
        self.assertIn("x.test", shown)  # what was known
        screen.keep("top-lost.txt")
        server.start(*self.options)
        screen.wait("ringpost top  127.0.0.1:")
        self.assertIn("50 recipients in 21 queues", screen.wait("50 recipients"))
        screen.keys("q")
        wait_until(screen.has_ended, "the end of top")
        server.stop()
