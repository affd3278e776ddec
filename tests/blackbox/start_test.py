"""Starting: what cannot work says so in one line and ends with the promised exit code."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile

from disks import Disk
from harness import RINGPOSTD, BlackBox, Config, wait_until

HEADER = b"Subject: test\r\n\r\n"


def tree(folder):
    """Every file below with its size and time of change: what a write would alter."""
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            status = os.stat(os.path.join(path, name))
            found[os.path.join(path, name)] = (status.st_size, status.st_mtime_ns)
    return found


class Start(BlackBox):
    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def refused(self, config, code, *words, arguments=()):
        """One line on standard error with these words, and this exit code."""
        path = self.write("t.toml", config if isinstance(config, str) else config.text())
        got, said = self.run_daemon("-c", path, *arguments)
        self.assertEqual(got, code, said)
        self.assertEqual(len(said.splitlines()), 1, said)
        for word in words:
            self.assertIn(word, said)

    def settled_tree(self, name):
        """The files of the folder once the running server writes nothing any more."""
        folder = os.path.join(self.folder, name)
        seen = []

        def settled():
            seen.append(tree(folder))
            # Longer than the second after which what the event log has is told to the spool.
            return len(seen) > 250 and seen[-1] == seen[-250]
        wait_until(settled, "the spool to settle")
        return seen[-1]

    # ---- usage and configuration

    def test_version_names_the_program(self):
        code, said = self.run_daemon("--version")
        self.assertEqual(code, 0)
        self.assertRegex(said, r"^ringpostd \d+\.\d+\.\d+\n$")

    def test_wrong_usage_ends_with_2(self):
        for arguments in (["--nonsense"], ["surplus"], ["-c"], ["--set"]):
            code, said = self.run_daemon(*arguments)
            self.assertEqual(code, 2, f"{arguments}: {said}")
        self.assertEqual(os.listdir(self.folder), [])

    def test_an_unknown_key_is_told_with_its_place_and_the_nearest(self):
        self.refused('[node]\nhostname = "a.test"\n[spool]\n  min_fre_space = "1MiB"\n', 3,
                     "t.toml:4:3", "min_fre_space", "min_free_space")

    def test_a_bad_value_is_told_with_its_place(self):
        self.refused('[log]\nflush_interval = "soon"\n', 3, "t.toml:2:", "flush_interval")

    def test_bad_toml_is_told_with_its_place(self):
        self.refused("[node\n", 3, "t.toml:1:")

    def test_a_missing_file_is_told(self):
        code, said = self.run_daemon("-c", "nowhere.toml")
        self.assertEqual((code, len(said.splitlines())), (3, 1), said)
        self.assertIn("nowhere.toml", said)

    def test_the_same_key_in_two_files_is_an_error(self):
        self.write("more.toml", '[node]\nhostname = "b.test"\n')
        self.refused('include = ["more.toml"]\n[node]\nhostname = "a.test"\n', 3, "hostname")

    def test_g06_what_others_may_write_is_refused(self):
        more = self.write("more.toml", '[node]\nhostname = "b.test"\n')
        good = 'include = ["more.toml"]\n'
        os.chmod(more, 0o666)
        self.refused(good, 3, "more.toml", "others may write to it")
        os.chmod(more, 0o664)  # a group is the administrator's business
        path = self.write("t.toml", good)
        self.assertEqual(self.run_daemon("-c", path, "--check")[0], 0)
        os.chmod(path, 0o602)
        self.refused(good, 3, "t.toml", "others may write to it")
        os.chmod(path, 0o600)
        os.chmod(self.folder, 0o777)
        self.refused(good, 3, "t.toml", "others may write to its folder")
        os.chmod(self.folder, 0o1777)
        self.assertEqual(self.run_daemon("-c", path, "--check")[0], 0)

    def test_g06_a_link_out_of_the_folder_of_the_configuration_is_refused(self):
        named = 'include = ["more.toml"]\n'
        os.mkdir(os.path.join(self.folder, "in"))
        inner = self.write("in/inner.toml", '[node]\nhostname = "b.test"\n')
        with tempfile.TemporaryDirectory() as elsewhere:
            outer = os.path.join(elsewhere, "outer.toml")
            shutil.copy(inner, outer)
            for name, target, path in (("more.toml", outer, "more.toml"),
                                       ("out", elsewhere, "out/outer.toml"),
                                       ("twice.toml", os.path.join(self.folder, "more.toml"),
                                        "twice.toml")):
                os.symlink(target, os.path.join(self.folder, name))
                self.refused(f'include = ["{path}"]\n', 3, path, "leads out of the folder")
            # What is named where it lies is the operator's word, and so is the main file.
            path = self.write("t.toml", f'include = ["{outer}"]\n')
            self.assertEqual(self.run_daemon("-c", path, "--check")[0], 0)
            os.symlink(path, os.path.join(elsewhere, "main.toml"))
            self.assertEqual(self.run_daemon("-c", os.path.join(elsewhere, "main.toml"),
                                             "--check")[0], 0)
            os.remove(os.path.join(self.folder, "more.toml"))
            os.symlink("in/inner.toml", os.path.join(self.folder, "more.toml"))
            path = self.write("t.toml", named)
            self.assertEqual(self.run_daemon("-c", path, "--check")[0], 0)
            os.chmod(os.path.join(self.folder, "in"), 0o777)
            self.refused(named, 3, "more.toml", "others may write to its folder")

    def test_g06_files_include_no_further_ones(self):
        self.refused('include = ["gone.toml"]\n', 3, "t.toml:1:", "gone.toml",
                     "No such file or directory")
        self.write("more.toml", 'include = ["t.toml"]\n')
        self.refused('include = ["more.toml"]\n', 3, "more.toml:1:1", "include")
        self.refused('include = ["t.toml"]\n', 3, "include")
        self.refused(f'include = {["more.toml"] * 100}\n', 3, "t.toml:1:", "at most")
        os.symlink("round.toml", os.path.join(self.folder, "round.toml"))
        self.refused('include = ["round.toml"]\n', 3, "round.toml", "symbolic links")

    def test_what_is_not_built_is_a_named_error(self):
        for name, lines in (("tls", '[[smtp_listener]]\nlisten = "127.0.0.1:0"\ntls = "starttls"'),
                            ("redis", '[redis]\nnode = "redis://127.0.0.1"')):
            with self.subTest(name=name):
                self.refused(lines + "\n", 3, name)

    def test_check_validates_and_touches_nothing(self):
        good = self.write("good.toml", Config(2626).text())
        bad = self.write("bad.toml", "[nodes]\n")
        before = sorted(os.listdir(self.folder))
        self.assertEqual(self.run_daemon("-c", good, "--check")[0], 0)
        self.assertEqual(self.run_daemon("-c", bad, "--check")[0], 3)
        self.assertEqual(self.run_daemon("-c", good, "--check", "--set", "node.shards=x")[0], 3)
        self.assertEqual(sorted(os.listdir(self.folder)), before)

    def test_set_beats_the_file(self):
        config = Config(2626, listener={"listen": "127.0.0.1:1"})
        server = self.unstarted(config)
        server.start("--set", "smtp_listener.0.listen=127.0.0.1:0", "--set",
                     "node.hostname=other.test")
        self.assertEqual(self.client(server).banner.text.split()[0], "other.test")
        server.stop()

    def test_no_file_at_all_runs_on_the_defaults(self):
        with socket.socket() as probe:
            if any(probe.connect_ex(("127.0.0.1", port)) == 0 for port in (2025, 8000)):
                self.skipTest("somebody listens on port 2025 or 8000")
        process = subprocess.Popen([RINGPOSTD], cwd=self.folder, stdin=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        try:
            line = process.stderr.readline().decode()
            self.assertRegex(line, r"event=ready smtp=127\.0\.0\.1:2025 http=127\.0\.0\.1:8000 "
                                   r"pid=\d+ queued=0 version=\d+\.\d+\.\d+")
            self.assertEqual(os.listdir(self.folder), ["var"])
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(30), 0)
        finally:
            process.kill()
            process.wait()
            process.stderr.close()

    def test_the_ready_line_names_several_listeners(self):
        extra = ('[[smtp_listener]]\nlisten = "[::1]:0"\n'
                 '[[http_listener]]\nlisten = "[::1]:0"\n')
        server = self.server(Config(2626, extra=extra))
        self.assertRegex(server.ready["smtp"], r"^127\.0\.0\.1:\d+,\[::1\]:\d+$")
        self.assertRegex(server.ready["http"], r"^127\.0\.0\.1:\d+,\[::1\]:\d+$")
        self.assertEqual(server.ready["queued"], "0")
        self.assertEqual(server.ready["pid"], str(server.process.pid))
        server.stop()

    # ---- the place it runs in

    def test_f30_a_second_process_on_one_spool_ends_and_writes_nothing(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        self.assertEqual(self.client(server).submit(HEADER).code, 250)
        sink.wait(1)
        before = self.settled_tree("spool")
        code, said = self.run_daemon("-c", server.config_path)
        self.assertEqual((code, len(said.splitlines())), (1, 1), said)
        self.assertIn("spool", said)
        self.assertEqual(tree(os.path.join(self.folder, "spool")), before)
        self.assertEqual(self.client(server).submit(HEADER).code, 250)
        sink.wait(2)
        server.stop()

    def test_f30_the_lock_of_a_killed_process_is_no_obstacle(self):
        server = self.server(Config(2626))
        server.kill()
        server.start()
        server.stop()

    def test_f27_another_number_of_shards_finds_all_mail_and_leaves_no_lane(self):
        sink = self.sink(on_mail=lambda mail: "450 4.2.0 Later")
        server = self.server(Config(sink.port, queue={"retry_interval": "1h"}))
        for number in range(8):
            self.assertEqual(self.client(server).submit(HEADER, [f"n{number}@x.test"]).code, 250)
        server.wait_events("TransientFailure", 8)
        server.stop()
        for shards, kept in ((5, 5), (1, 1), (3, 3), (2, 2)):
            for _ in range(2):
                server.start("--set", f"node.shards={shards}")
                self.assertEqual(server.ready["queued"], "8")
                server.stop()
            files = tree(os.path.join(self.folder, "spool"))
            with open(os.path.join(self.folder, "spool/manifest"), encoding="ascii") as file:
                text = file.read()
            lanes = text.split("lanes=")[1].strip().split(",")
            self.assertEqual(len(lanes), kept, text)
            for lane in lanes:
                self.assertTrue(any(f"lane-{int(lane):03}/" in name for name in files), files)

    def test_a_spool_that_cannot_be_made_is_told(self):
        self.write("file", "")
        self.refused(Config(2626, spool={"path": "file/spool"}), 1, "file/spool")

    def test_a_log_that_cannot_be_made_is_told(self):
        self.write("file", "")
        self.refused(Config(2626, log={"path": "file/log"}), 1, "file/log")

    def test_a_state_directory_that_cannot_be_made_is_told(self):
        self.write("file", "")
        self.refused(Config(2626, node={"state_dir": "file/state"}), 1, "file/state")

    def test_a_spool_of_another_owner_is_told(self):
        code, said = self.as_nobody("spool", 0o700)
        self.assertEqual((code, len(said.splitlines())), (1, 1), said)
        self.assertRegex(said, r"spool.*owner or mode")

    def test_a_taken_port_is_told(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            self.refused(Config(2626, listener={"listen": address}), 1, address)

    def test_an_address_of_another_host_is_told(self):
        self.refused(Config(2626, listener={"listen": "192.0.2.1:25"}), 1, "192.0.2.1:25")

    def test_a_process_that_could_not_start_leaves_the_spool_usable(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            self.refused(Config(2626, listener={"listen": address}), 1, address)
        server = self.server(Config(2626, listener={"listen": address}))
        server.stop()

    def test_a_log_without_permission_is_told(self):
        code, said = self.as_nobody("log", 0o755)
        self.assertEqual((code, len(said.splitlines())), (1, 1), said)
        self.assertRegex(said, r"log: .*[Pp]ermission")

    def as_nobody(self, owned, mode):
        """A start as somebody else, where one folder is root's. All of it, with a copy of the
        program, stands in /tmp: the folders above this one may be closed to others."""
        if os.getuid() != 0:
            self.skipTest("needs root to become somebody else")
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            os.chmod(folder, 0o1777)
            os.mkdir(os.path.join(folder, owned), mode)
            program = shutil.copy(RINGPOSTD, folder)
            path = os.path.join(folder, "t.toml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(Config(2626).text())
            done = subprocess.run([program, "-c", path], cwd=folder, capture_output=True,
                                  check=False, timeout=30, user=65534, group=65534,
                                  extra_groups=[])
        return done.returncode, done.stderr.decode()

    # ---- space

    def test_f02_below_the_reserve_mail_is_refused(self):
        server = self.server(Config(2626, spool={"min_free_space": "1000000GiB"}))
        reply = self.client(server).submit(HEADER)
        self.assertTrue(repr(reply).startswith("452 4.3.1"), reply)
        server.stop()

    def test_f02_below_the_reserve_deliveries_go_on(self):
        opened = []
        sink = self.sink(on_mail=lambda mail: None if opened else "450 4.2.0 Later")
        server = self.server(Config(sink.port))
        self.assertEqual(self.client(server).submit(HEADER).code, 250)
        server.wait_events("TransientFailure", 1)
        server.stop()
        opened.append(True)
        server.configure(Config(sink.port, spool={"min_free_space": "1000000GiB"}))
        server.start()
        self.assertEqual(len(sink.wait(1)), 1)
        server.stop()

    def test_f02_a_full_disk_refuses_until_it_has_room_again(self):
        filler = Disk(self, "small").fill()
        sink = self.sink()
        server = self.server(Config(sink.port, spool={"path": "small/spool", "min_free_space": 0,
                                                      "segment_size": "4MiB"}))
        client = self.client(server)
        reply = client.submit(HEADER)
        self.assertTrue(repr(reply).startswith("452 4.3.1"), reply)
        os.unlink(filler)
        wait_until(lambda: client.submit(HEADER).code == 250, "room to be seen")
        sink.wait(1)
        server.stop()

    def test_f02_a_disk_that_fills_up_loses_nothing(self):
        Disk(self, "small")
        opened = []
        sink = self.sink(on_mail=lambda mail: None if opened else "450 4.2.0 Later")
        server = self.server(Config(sink.port, spool={"path": "small/spool", "min_free_space": 0,
                                                      "segment_size": "4MiB"}))
        client = self.client(server)
        content = HEADER + (b"x" * 76 + b"\r\n") * 12000
        taken = 0
        for number in range(200):
            reply = client.submit(content, [f"n{number}@x.test"])
            if reply.code != 250:
                break
            taken += 1
        self.assertTrue(repr(reply).startswith("452 4.3.1"), reply)
        opened.append(True)
        got = {mail.recipients[0] for mail in sink.wait(taken) if mail.body == content}
        self.assertEqual(got, {f"n{number}@x.test" for number in range(taken)})
        wait_until(lambda: client.submit(HEADER).code == 250, "room to be made")
        server.stop()
