"""`ringpost spool`: what it says of the spool of a server that is stopped, whole and damaged."""
import glob
import json
import os
import re
import shutil
import subprocess
from collections import Counter

from harness import RINGPOST, SECONDS, BlackBox, Config, wait_until

CONTENT = b"Subject: test\r\n\r\n.a dot\r\nhello\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 40000  # in pieces
LATER = "450 4.2.0 Later"
SEGMENTS_MAX = 16384  # files of a lane


class Spool(BlackBox):
    def run_tool(self, *arguments):
        done = subprocess.run([RINGPOST, "spool", *arguments], cwd=self.folder, check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS)
        return done.returncode, done.stdout, done.stderr.decode()

    def lines(self, part, *arguments, code=0):
        """The JSON lines it says of the test's spool."""
        got, out, errors = self.run_tool(part, "--spool", "spool", "--json", *arguments)
        self.assertEqual(got, code, (out, errors))
        return [json.loads(line) for line in out.splitlines()]

    def filled(self, messages=3, stop=True):
        """A stopped server: `messages` of one size and a large one are queued, one is delivered;
        all of one lane."""
        def on_rcpt(_, recipient):
            return None if recipient.startswith("ok") else LATER
        sink = self.sink(on_rcpt=on_rcpt)
        server = self.server(Config(sink.port, node={"shards": 1},
                                    queue={"retry_interval": "1h"}))
        client = self.client(server)
        self.ids = [client.submit(CONTENT, [f"later{i}@x.test", f"ok{i}@y.test"]).ids[0]
                    for i in range(messages)]
        self.ids.append(client.submit(LARGE, ["large@x.test"]).ids[0])
        client.submit(CONTENT, ["ok@z.test"])
        sink.wait(messages + 1)
        server.wait_events("Delivery", messages + 1)
        server.wait_events("TransientFailure", messages + 1)
        if stop:
            server.stop()
        return server

    def segment(self, content):
        """The segment file that holds these bytes, and where."""
        for path in sorted(glob.glob(os.path.join(self.folder, "spool/lane-000/segment-*"))):
            with open(path, "rb") as file:
                at = file.read().find(content)
            if at >= 0:
                return path, at
        raise AssertionError("it is in no segment")

    def touch(self, name):
        with open(os.path.join(self.folder, name), "wb"):
            pass

    def spoil(self, content):
        path, at = self.segment(content)
        with open(path, "r+b") as file:
            file.seek(at)
            file.write(bytes([content[0] ^ 0x20]))

    def test_a_whole_spool_is_fine(self):
        self.filled()
        lane, = self.lines("check")
        self.assertEqual((lane["type"], lane["lane"], lane["damages"]), ("lane", 0, 0))
        self.assertEqual((lane["queued_messages"], lane["queued_recipients"]), (4, 4))
        code, out, errors = self.run_tool("check", "-c", "t.toml")
        self.assertEqual((code, errors), (0, ""))
        self.assertIn(b"4 queued (4 recipients)", out)

    def test_queued_mail_is_listed(self):
        self.filled()
        listed = self.lines("list")
        self.assertEqual([message["id"][:28] for message in listed],
                         [number[:28] for number in self.ids])
        for i, message in enumerate(listed[:3]):
            open_one, = message["recipients"]
            self.assertEqual((open_one["address"], open_one["attempts"]),
                             (f"later{i}@x.test", 1))
            self.assertGreater(open_one["due_s"] * 1000, message["created_ms"])
        self.assertEqual(listed[3]["body_bytes"], len(LARGE))
        self.assertEqual(self.lines("list", "--domain", "y.test"), [])
        code, out, _ = self.run_tool("list", "--spool", "spool", "--domain", "x.test")
        self.assertEqual((code, out.count(b"attempts 1 due")), (0, 4))

    def test_a_message_is_taken_out_by_hand(self):
        self.filled()
        for number, content in ((self.ids[1], CONTENT), (self.ids[3], LARGE)):
            code, out, errors = self.run_tool("dump", "--spool", "spool", "--message", number)
            self.assertEqual((code, errors), (0, ""))
            self.assertTrue(out.startswith(b"Received: from "))
            self.assertTrue(out.endswith(b"\r\n" + content), out[-200:])
        code, out, errors = self.run_tool("dump", "--spool", "spool", "--message", "0" * 32)
        self.assertEqual((code, out), (1, b""))
        self.assertEqual(errors, "ringpost: the spool holds no such message\n")

    def test_every_record_is_dumped(self):
        self.filled()
        records = self.lines("dump")
        kinds = [record["type"] for record in records]
        self.assertEqual(kinds.count("message"), 5)
        self.assertGreater(kinds.count("body"), 1)
        delivered = sum(result["disposition"] == "delivered" for record in records
                        if record["type"] == "outcome" for result in record["recipients"])
        self.assertEqual(delivered, 4)
        places = [(record["segment"], record["offset"]) for record in records]
        self.assertEqual(places, sorted(places))
        self.assertEqual(self.lines("dump", "--segment", "1", "--lane", "0"), records)
        code, out, _ = self.run_tool("dump", "--spool", "spool")
        self.assertEqual((code, out.count(b"\n")), (0, len(records)))

    def test_a_spoiled_body_is_named(self):
        self.filled()
        record = [record for record in self.lines("dump") if record["type"] == "message"][0]
        self.spoil(b".a dot")
        *damages, lane = self.lines("check", code=1)
        self.assertEqual({(damage["type"], damage["lane"], damage["segment"], damage["offset"])
                          for damage in damages},
                         {("damage", 0, record["segment"], record["offset"])})
        self.assertEqual(lane["damages"], len(damages))
        code, out, errors = self.run_tool("dump", "--spool", "spool", "--message", self.ids[0])
        self.assertEqual((code, errors), (1, "ringpost: the body is not what was received\n"))
        self.assertIn(b"\r\n\x0ea dot", out)

    def test_a_spoiled_record_is_named(self):
        self.filled()
        self.spoil(b"later1@x.test")
        *damages, lane = self.lines("check", code=1)
        self.assertEqual(lane["damages"], len(damages))
        damage, = [damage for damage in damages if damage["what"] == "records are lost: 1"]
        code, out, _ = self.run_tool("check", "--spool", "spool")
        self.assertEqual(code, 1)
        self.assertIn(f"lane 0 segment {damage['segment']} offset {damage['offset']}: damaged"
                      .encode(), out)

    def test_f28_what_was_copied_aside_is_listed(self):
        server = self.filled(stop=False)
        server.kill()
        self.spoil(b"later1@x.test")
        server.start()
        wait_until(lambda: "copied to" in server.errors(), "the copy")
        server.stop()
        name, = os.listdir(os.path.join(self.folder, "spool/quarantine"))
        self.touch("spool/quarantine/of-somebody-else")
        code, out, _ = self.run_tool("check", "--spool", "spool", "--json")
        copy, = [line for line in map(json.loads, out.splitlines())
                 if line["type"] == "quarantine"]
        self.assertEqual((copy["file"], copy["lane"]), (name, 0))
        self.assertEqual(name, f"lane-000-segment-{copy['segment']:06}-offset-"
                               f"{copy['offset']:010}-bytes-{copy['bytes']}-{copy['what']}")
        again, out, _ = self.run_tool("check", "--spool", "spool")
        self.assertEqual(again, code)
        self.assertIn(f"damaged bytes ({copy['what']}) were copied to quarantine/{name}\n",
                      out.decode())

    def test_a_spoiled_checkpoint_is_named_and_the_log_read_instead(self):
        self.filled()
        listed = self.lines("list")
        for path in glob.glob(os.path.join(self.folder, "spool/lane-000/checkpoint-*")):
            with open(path, "r+b") as file:
                if len(file.read()) > 65536:
                    file.seek(65536 + 100)
                    file.write(b"x")
        for part in ("list", "check"):
            damage = self.lines(part, code=1)[0]
            self.assertEqual((damage["type"], damage["offset"]), ("damage", 65536))
            self.assertRegex(damage["what"], "^checkpoint-[01] cannot be used$")
        again = [line for line in self.lines("list", code=1) if line["type"] == "message"]
        self.assertEqual(again, listed)

    def test_what_is_listed_is_what_a_start_finds(self):
        """After kills, over checkpoints and segments that were used again."""
        def on_rcpt(_, recipient):
            return None if recipient.startswith("ok") else LATER
        sink = self.sink(on_rcpt=on_rcpt)
        server = self.server(Config(sink.port, node={"shards": 2},
                                    spool={"segment_size": "1MiB"},
                                    queue={"retry_interval": "1h"}))
        content = b"Subject: test\r\n\r\n" + b"0123456789abcdef\r\n" * 2000
        queued = 0
        for _ in range(3):
            client = self.client(server)
            for i in range(60):
                later = i % 10 == 0
                to = ["later@x.test", "ok@y.test"] if later else ["ok@y.test"]
                self.assertEqual(client.submit(content, to).code, 250)
                queued += later
            server.kill()
            lanes = [line for line in self.lines("check") if line["type"] == "lane"]
            self.assertEqual(sum(lane["damages"] for lane in lanes), 0)
            listed = self.lines("list")
            found = sum(message["recipient_count"] for message in listed)
            self.assertEqual(sum(lane["queued_recipients"] for lane in lanes), found)
            self.assertGreaterEqual(found, queued)
            server.start()
            self.assertEqual(server.ready["queued"], str(found))
        server.stop()
        listed = self.lines("list", "--domain", "x.test")
        self.assertEqual(len(listed), queued)

    def adopted(self):
        """A stopped server of one thread; mail of three stands where it was received. What the
        tool listed before, without places."""
        sink = self.sink(on_rcpt=lambda *_: LATER)
        config = Config(sink.port, node={"shards": 3}, queue={"retry_interval": "1h"})
        server = self.server(config)
        self.ids = []
        for i in range(24):
            content = LARGE if i % 4 == 0 else CONTENT
            reply = self.client(server).submit(content, [f"later{i}@x.test", f"more{i}@x.test"])
            self.ids.append((reply.ids[0], content))
        server.wait_events("TransientFailure", 48)
        server.stop()
        before = self.queued()
        self.assertEqual({message["lane"] for message in self.lines("list")}, {0, 1, 2})
        config.node["shards"] = 1
        server.configure(config)
        server.start()
        self.assertEqual(server.ready["queued"], "48")
        return server, before

    def queued(self):
        listed = [message for message in self.lines("list") if message["type"] == "message"]
        for message in listed:
            for key in ("lane", "segment", "offset"):
                del message[key]
        return sorted(listed, key=lambda message: message["id"])

    def test_f27_mail_in_segments_of_adopted_lanes_is_found(self):
        server, before = self.adopted()
        server.kill()
        for end in ("kill", "stop"):
            with self.subTest(after=end):
                self.assertEqual(self.queued(), before)
                lane, = self.lines("check")
                self.assertEqual((lane["lane"], lane["damages"], lane["queued_messages"],
                                  lane["queued_recipients"]), (0, 0, 24, 48))
                records = self.lines("dump")
                self.assertNotIn("damage", [record["type"] for record in records])
                self.assertEqual(sum(record["type"] == "message" for record in records), 24)
                places = {(record["segment"], record["offset"]) for record in records
                          if record["type"] == "message"}
                self.assertEqual({(record["message"]["segment"], record["message"]["offset"])
                                  for record in records if record["type"] == "outcome"}, places)
                for number, content in self.ids:
                    code, out, errors = self.run_tool("dump", "--spool", "spool", "--message",
                                                      number)
                    self.assertEqual((code, errors), (0, ""))
                    self.assertTrue(out.endswith(b"\r\n" + content))
            server.start()
            server.stop()

    def test_f27_a_segment_of_an_adopted_lane_that_is_gone_is_named(self):
        server, _ = self.adopted()
        server.stop()
        segments = Counter(message["segment"] for message in self.lines("list"))
        for path in glob.glob(os.path.join(self.folder, "spool/lane-002/segment-*")):
            os.rename(path, path + ".away")
        *damages, lane = self.lines("check", code=1)
        segment = damages[0]["segment"]
        self.assertIn("is not there or holds another segment: its messages are lost",
                      damages[0]["what"])
        self.assertEqual(lane["queued_messages"], 24 - segments[segment])
        server.start()
        self.assertEqual(server.ready["queued"], str(lane["queued_recipients"]))
        server.stop()

    def test_nothing_is_changed_and_a_server_at_work_is_left_alone(self):
        server = self.filled()

        def contents():
            found = {}
            for path in glob.glob(os.path.join(self.folder, "spool", "**"), recursive=True):
                if os.path.isfile(path):
                    with open(path, "rb") as file:
                        found[path] = (file.read(), os.stat(path).st_mtime_ns)
            return found
        before = contents()
        for part in ("check", "list", "dump"):
            self.assertEqual(self.run_tool(part, "--spool", "spool")[0], 0)
        self.assertEqual(contents(), before)
        server.start()
        for part in ("check", "list", "dump"):
            code, out, errors = self.run_tool(part, "--spool", "spool")
            self.assertEqual((code, out), (1, b""))
            self.assertEqual(errors, "ringpost: spool: spool: in use by another process: "
                                     "stop the server first\n")
        server.stop()

    def test_a_disk_is_measured(self):
        os.mkdir(os.path.join(self.folder, "spool"))
        cells = self.lines("measure", "--seconds", "1")
        choice = cells.pop()
        self.assertEqual(choice["type"], "choice")
        self.assertIn(choice["method"], ("dsync", "fdatasync"))
        self.assertIn([4096, 16384, 65536, 262144],
                      [[cell["bytes"] for cell in cells if cell["method"] == method]
                       for method in ("dsync", "fdatasync")])
        for cell in cells:
            self.assertGreater(cell["commits_per_s"], 0)
            self.assertGreaterEqual(cell["p99_us"], cell["p50_us"])
        self.assertEqual(os.listdir(os.path.join(self.folder, "spool")), [])

    def odd_files(self):
        """Makes each kind of file that no spool has among the segments, one after another: what is
        said of it."""
        lane = os.path.join(self.folder, "spool/lane-000")
        first, odd = os.path.join(lane, "segment-000000"), os.path.join(lane, "segment-000099")
        other = os.path.join(self.folder, "other")
        os.rename(first, other)
        os.symlink(other, first)
        yield first, "a symbolic link"
        os.remove(first)
        os.link(other, first)
        yield first, "has other names (hard links)"
        os.remove(other)
        os.chmod(first, 0o666)
        yield first, "belongs to another user, or others may write to it"
        os.chmod(first, 0o640)
        if os.geteuid() == 0:
            os.chown(first, 1, -1)
            yield first, "belongs to another user, or others may write to it"
            os.chown(first, 0, -1)
        os.mkfifo(odd)
        yield odd, "no regular file"
        os.remove(odd)
        os.mkdir(odd)
        yield odd, "a directory"
        os.rmdir(odd)
        with open(odd, "wb") as file:
            os.truncate(file.fileno(), 1 << 40)
        yield odd, "larger than any segment"
        os.remove(odd)

    def test_b10_more_segments_than_a_lane_may_have_are_refused_in_a_line(self):
        server = self.filled(messages=1)
        lane = os.path.join(self.folder, "spool/lane-000")
        had = os.listdir(lane)
        for count in (SEGMENTS_MAX + 1, 2 * SEGMENTS_MAX):
            for slot in range(count):
                with open(os.path.join(lane, f"segment-{slot:06}"), "ab"):
                    pass
            code, said = self.run_daemon("-c", "t.toml")
            self.assertEqual((code, said), (1, "ringpostd: spool: spool/lane-000 holds more than "
                                               f"{SEGMENTS_MAX} segments\n"))
        for name in set(os.listdir(lane)) - set(had):
            os.remove(os.path.join(lane, name))
        server.start()
        self.assertEqual(server.ready["queued"], "2")
        server.stop()

    def test_b01_a_segment_that_was_cut_is_read_up_to_the_cut(self):
        server = self.filled(stop=False)
        server.kill()
        records = self.lines("dump")
        path, _ = self.segment(LARGE[:1000])
        ends = {}
        for record in records:
            end = record["offset"] + record["bytes"]
            ends[record["group"]] = max(end, ends.get(record["group"], 0))

        def queued(cut):
            """Recipients that groups wholly before the cut leave open."""
            rows = set()
            for record in records:
                if ends[record["group"]] > cut:
                    break
                if record["type"] == "message":
                    rows |= {(record["offset"], i) for i in range(record["recipient_count"])}
                elif record["type"] == "outcome":
                    rows -= {(record["message"]["offset"], result["index"])
                             for result in record["recipients"]
                             if result["disposition"] != "deferred"}
            return len(rows)
        kept = os.path.join(self.folder, "kept")
        shutil.copytree(os.path.join(self.folder, "spool"), kept)
        cuts = [cut for end in sorted(ends.values())[::2] for cut in (end, end - 9)]
        for cut in [100, 4096, *cuts]:
            with self.subTest(cut=cut):
                shutil.rmtree(os.path.join(self.folder, "spool"))
                shutil.copytree(kept, os.path.join(self.folder, "spool"))
                os.truncate(path, cut)
                listed = sum(message["recipient_count"] for message in self.lines("list"))
                self.assertEqual(listed, queued(cut))
                server.start()
                self.assertEqual(server.ready["queued"], str(listed))
                server.kill()

    def test_b09_odd_files_among_the_segments_are_refused(self):
        server = self.filled()
        for path, reason in self.odd_files():
            with self.subTest(reason=reason):
                status = os.lstat(path)
                code, errors = self.run_daemon("-c", "t.toml")
                self.assertEqual(code, 1)
                relative = os.path.relpath(path, self.folder)
                self.assertRegex(errors, f"spool: \\S*{relative}: cannot be used: "
                                         + re.escape(reason))
                code, out, errors = self.run_tool("check", "--spool", "spool")
                self.assertEqual((code, out), (1, b""))
                self.assertIn(f"lane-000/{os.path.basename(path)}", errors)
                self.assertIn(reason, errors)
                self.assertEqual(os.lstat(path)[:7], status[:7])
        server.start()
        self.assertEqual(server.ready["queued"], "4")
        server.stop()

    def test_b11_a_newer_version_is_refused(self):
        self.filled()
        with open(os.path.join(self.folder, "spool/manifest"), "r+b") as file:
            file.write(b"ringpost-spool 9")
        for run in (lambda: self.run_daemon("-c", "t.toml"),
                    lambda: self.run_tool("check", "--spool", "spool")[::2]):
            code, errors = run()
            self.assertEqual(code, 1)
            self.assertIn("format version 9, this program knows 2", errors)

    def test_wrong_usage_and_missing_spools(self):
        for arguments, code in ((("check", "--spool", "none"), 1), (("look",), 2), ((), 2),
                                (("check", "--message", "0" * 32), 2),
                                (("dump", "--message", "xyz"), 2),
                                (("list", "--lane", "x"), 2), (("check", "more"), 2),
                                (("check", "-c", "none.toml"), 3)):
            with self.subTest(arguments=arguments):
                got, out, errors = self.run_tool(*arguments)
                self.assertEqual((got, out), (code, b""))
                self.assertNotEqual(errors, "")
