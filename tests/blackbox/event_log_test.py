"""The event log over trouble of its disk and over kills: nothing is missing, mail never waits."""
import json
import os
import subprocess
import time

from harness import RINGPOST, BlackBox, Config, wait_until

CONTENT = b"Subject: test\r\n\r\nhello\r\n"
WIDE = 1000  # recipients of a message: two of them fill a batch of records


class EventLog(BlackBox):
    def setUp(self):
        super().setUp()
        self.recipients = []
        self.refused = 0

    def begin(self, **log):
        self.sink_ = self.sink()
        # A new file each second: trouble of the directory is met at once.
        config = Config(self.sink_.port, node={"shards": 1},
                        log={"max_segment_duration": "1s", **log},
                        spool={"recovery_spread": "0s"})
        return self.server(config)

    def put(self, server, messages, width=WIDE):
        client = self.client(server)
        for number in range(messages):
            recipients = [f"r{n}.m{len(self.recipients)}@d{number % 5}.test"
                          for n in range(width)]
            if client.submit(CONTENT, recipients).code == 250:
                self.recipients += recipients
            else:
                self.refused += 1
                break
        client.close()

    def wait_delivered(self):
        wait_until(lambda: sum(len(mail.recipients) for mail in self.sink_.mails) >=
                   len(self.recipients), "all delivered", 60)

    def spoil(self, server):
        """A file stands where the directory was."""
        log = os.path.join(server.folder, "log")
        os.rename(log, log + ".away")
        with open(log, "w", encoding="utf-8"):
            pass

        def failing():
            self.put(server, 1, 1)
            return "event=event_log_failing" in server.errors()
        wait_until(failing, "the open file to end", 30)

    def mend(self, server):
        log = os.path.join(server.folder, "log")
        os.unlink(log)
        os.rename(log + ".away", log)

    def judge(self, server, repeats):
        """Each recipient has its Reception and its Delivery; ids are unlike, repeats alike."""
        wanted, known, copies = set(self.recipients), {}, 0

        def missing():
            told = {"Reception": set(), "Delivery": set()}
            for record in server.events():
                told.setdefault(record["type"], set()).add(record["recipient"])
            return not wanted - told["Reception"] and not wanted - told["Delivery"]
        wait_until(missing, "all records", 60)
        for record in server.events():
            copies += record["event_id"] in known
            self.assertEqual(known.setdefault(record["event_id"], record), record)
        self.assertEqual(len(known), 2 * len(wanted))
        if not repeats:
            self.assertEqual(copies, 0)

    def test_f34_mail_flows_while_the_log_cannot_be_written_and_it_catches_up(self):
        server = self.begin()
        self.put(server, 1)
        server.wait_events("Delivery", WIDE)
        self.spoil(server)
        self.put(server, 8)  # 16,000 records: more than all buffers hold
        self.wait_delivered()
        self.mend(server)
        server.wait_line("event_log_well")
        self.judge(server, repeats=False)
        counters = server.stop()
        self.assertGreater(counters["events_replayed"], 0)
        self.assertEqual((counters["events_unknown"], counters["events_dropped"]), (0, 0))
        server.start()
        self.assertEqual(server.stop()["events_replayed"], 0)  # nothing was left
        self.judge(server, repeats=False)

    def test_f34_a_kill_while_the_log_is_behind_loses_no_record(self):
        server = self.begin()
        self.put(server, 1)
        server.wait_events("Delivery", WIDE)
        self.spoil(server)
        self.put(server, 8)
        self.wait_delivered()
        # The last outcomes are stored 5 ms after their replies; what is not is sent once more.
        time.sleep(0.2)
        server.kill()
        self.mend(server)
        for pause in (0, 0.03, 0.1):  # while it is being caught up
            server.start()
            time.sleep(pause)
            server.kill()
        server.start()
        self.judge(server, repeats=True)
        server.stop()

    def test_a_stop_while_the_log_cannot_be_written_leaves_the_rest_to_the_next_start(self):
        server = self.begin()
        self.put(server, 1)
        server.wait_events("Delivery", WIDE)
        self.spoil(server)
        self.put(server, 3)
        self.wait_delivered()
        begun = time.monotonic()
        server.stop()
        self.assertLess(time.monotonic() - begun, 10)
        self.assertIn("event=event_log_unwritten", server.errors())
        self.mend(server)
        server.start()
        self.judge(server, repeats=True)
        server.stop()

    def test_above_max_backlog_mail_waits_and_deliveries_go_on(self):
        server = self.begin(max_backlog="1MiB")
        self.put(server, 1, 1)
        server.wait_events("Delivery", 1)
        self.spoil(server)

        def too_far():
            self.put(server, 1)
            return self.refused > 0
        wait_until(too_far, "452", 60)
        client = self.client(server)
        reply = client.command("MAIL FROM:<a@b.test>")
        self.assertEqual((reply.code, reply.text[:5]), (452, "4.3.1"))
        client.close()
        server.wait_line("event_log_behind")
        self.wait_delivered()
        self.mend(server)
        server.wait_line("event_log_caught_up")
        self.put(server, 1, 1)
        self.wait_delivered()
        self.judge(server, repeats=False)
        server.stop()

    def test_old_files_leave_and_a_follower_misses_nothing(self):
        server = self.begin(retention="2s")
        self.put(server, 1, 1)
        server.wait_events("Delivery", 1)
        tool = subprocess.Popen([RINGPOST, "events", "-c", server.config_path, "--json",
                                 "--follow"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            for _ in range(30):
                self.put(server, 1, 1)
                time.sleep(0.2)
            told = []
            while len(told) < 2 * len(self.recipients):
                told.append(json.loads(tool.stdout.readline()))
        finally:
            tool.kill()
            _, said = tool.communicate()
        self.assertEqual({record["recipient"] for record in told}, set(self.recipients))
        self.assertEqual(len({record["event_id"] for record in told}), len(told))
        self.assertEqual(said, b"")
        server.wait_line("event_log_removed")
        self.assertLess(len(server.events()), len(told))
        self.assertGreater(server.stop()["event_files_removed"], 0)
