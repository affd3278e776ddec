"""Event files: KumoMTA's records, one for each recipient, readable while they are written."""
import os
import re
import signal
import stat
import subprocess
import time

from harness import RINGPOST, SECONDS, BlackBox, Config, wait_until, zstdcat

CONTENT = b"Subject: test\r\n\r\nhello\r\n"
TEXT, WHOLE, OBJECT, NOTHING = str, int, dict, type(None)
# What every record has. A list gives the types a field may have.
ALWAYS = {
    "type": [TEXT], "id": [TEXT], "sender": [TEXT], "recipient": [TEXT], "queue": [TEXT],
    "site": [TEXT], "size": [WHOLE], "response": [OBJECT], "peer_address": [OBJECT, NOTHING],
    "timestamp": [WHOLE], "timestamp_ms": [WHOLE], "event_time": [TEXT], "created": [WHOLE],
    "created_time": [TEXT], "queue_age_ms": [WHOLE], "num_attempts": [WHOLE],
    "delivery_protocol": [TEXT, NOTHING], "reception_protocol": [TEXT, NOTHING],
    "egress_pool": [TEXT, NOTHING], "egress_source": [TEXT, NOTHING],
    "source_address": [OBJECT, NOTHING], "class": [TEXT], "feedback_report": [OBJECT, NOTHING],
    "meta": [OBJECT], "headers": [OBJECT], "nodeid": [TEXT],
}
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


class Events(BlackBox):
    def check(self, record, kind, **expected):
        """Types of all fields, what hangs together, and the values given."""
        for name, types in ALWAYS.items():
            self.assertIn(type(record.get(name, ...)), types, f"{name} of {record}")
        self.assertEqual(record["type"], kind)
        self.assertEqual(record["timestamp"], record["timestamp_ms"] // 1000)
        self.assertLess(abs(time.time() - record["timestamp"]), 60)
        self.assertRegex(record["event_time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
        self.assertRegex(record["nodeid"], f"^{UUID}$")
        self.assertEqual(record["class"], "bulk")
        response = record["response"]
        self.assertEqual(set(response), {"code", "enhanced_code", "content", "command"}, record)
        self.assertEqual("event_id" in record, kind != "Rejection", record)
        if kind != "Rejection":
            self.assertRegex(record["event_id"], r"^[0-9a-f]{32}$")
            self.assertRegex(record["id"], r"^[0-9a-f]{32}$")
        if kind in ("Delivery", "TransientFailure", "Bounce"):
            self.assertEqual(type(record["delivery_ms"]), int)
            self.assertEqual(record["delivery_protocol"], "ESMTP")
            self.assertEqual((record["egress_pool"], record["egress_source"]),
                             ("unspecified", "unspecified"))
            self.assertRegex(record["site"], r"^unspecified->.+@smtp_client$")
        if "session_id" in record:
            self.assertRegex(record["session_id"], f"^{UUID}$")
        for name, value in expected.items():
            self.assertEqual(record[name], value, f"{name} of {record}")

    def reply_of(self, record):
        """code, enhanced code as text or None, content, command"""
        response = record["response"]
        code = response["enhanced_code"]
        text = code and f"{code['class']}.{code['subject']}.{code['detail']}"
        return response["code"], text, response["content"], response["command"]

    def test_reception_and_delivery(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        client = self.client(server)
        first, count = client.submit(CONTENT, [f"R{n}@Example.COM" for n in range(3)]).ids
        recipients = [f"R{n}@example.com" for n in range(3)]  # domains are in lower case inside
        self.assertEqual(count, 3)
        ids = [f"{int(first, 16) + n:032x}" for n in range(3)]
        server.wait_events("Delivery", 3)
        content = sink.wait(1)[0].content
        for kind in ("Reception", "Delivery"):
            records = sorted(server.events(kind), key=lambda record: record["recipient"])
            self.assertEqual([record["recipient"] for record in records], recipients)
            self.assertEqual([record["id"] for record in records], ids)
            for record in records:
                self.check(record, kind, sender="from@sender.test", size=len(content),
                           queue="example.com")
        for record in server.events("Reception"):
            self.check(record, "Reception", site="", num_attempts=0, reception_protocol="ESMTP",
                       delivery_protocol=None, queue_age_ms=0)
            self.assertEqual(record["peer_address"], {"name": "client.test", "addr": "127.0.0.1"})
            self.assertEqual(record["response"]["code"], 250)
        for record in server.events("Delivery"):
            self.check(record, "Delivery", num_attempts=1)
            self.assertEqual(self.reply_of(record), (250, "2.0.0", "Taken", "."))
            self.assertEqual(record["peer_address"]["addr"], "127.0.0.1")
            self.assertNotIn("uncertain", record)
        server.stop()

    def test_transient_failure_and_bounce(self):
        replies = {"later@a.test": "451 4.7.1 Come back", "never@a.test": "550 5.1.1 Unknown",
                   "plain@a.test": "554 No code"}
        sink = self.sink(on_rcpt=lambda mail, to: replies.get(to))
        server = self.server(Config(sink.port, queue={"retry_interval": "1h"}))
        reply = self.client(server).submit(CONTENT, [*replies, "good@a.test"])
        self.assertEqual(reply.ids[1], 4)
        self.check(server.wait_events("Delivery", 1)[0], "Delivery", recipient="good@a.test")
        transient = server.wait_events("TransientFailure", 1)[0]
        self.check(transient, "TransientFailure", recipient="later@a.test", num_attempts=1)
        self.assertEqual(self.reply_of(transient),
                         (451, "4.7.1", "Come back", "RCPT TO:<later@a.test>"))
        for bounce in server.wait_events("Bounce", 2):
            self.check(bounce, "Bounce", num_attempts=1)
            self.assertEqual(type(bounce["bounce_classification"]), str)
            expected = {"never@a.test": (550, "5.1.1", "Unknown"),
                        "plain@a.test": (554, None, "No code")}[bounce["recipient"]]
            self.assertEqual(self.reply_of(bounce)[:3], expected)
        counters = server.stop()
        self.assertEqual([counters[name] for name in ("deliveries", "transient_failures",
                                                      "bounces")], [1, 1, 2])

    def test_expiration(self):
        sink = self.sink(on_rcpt=lambda mail, to: "450 4.2.2 Full")
        server = self.server(Config(sink.port, queue={"retry_interval": "1s", "max_age": "3s"}))
        self.client(server).submit(CONTENT)
        record = server.wait_events("Expiration", 1)[0]
        failures = server.events("TransientFailure")
        self.check(record, "Expiration", num_attempts=len(failures))
        self.assertGreater(record["queue_age_ms"], 2000)  # due times are whole seconds
        self.assertLess(record["queue_age_ms"], 8000)
        self.assertEqual(server.stop()["expirations"], 1)
        server.start()
        self.assertEqual(server.ready["queued"], "0")
        server.stop()

    def test_rejection(self):
        server = self.server(Config(2626))
        client = self.client(server)
        client.command("MAIL FROM:<bad sender@>")
        client.command("MAIL FROM:<from@b.test>")
        client.command("RCPT TO:<a@b@c>")
        client.command("RCPT TO:<good@b.test>")
        client.data(b"bare\nline")
        client.command("DATA")  # 503: no record
        client.command("NONSENSE")  # 500: refuses no mail, no record
        records = server.wait_events("Rejection", 3)
        self.assertEqual(server.stop()["rejections"], 3)
        records = server.events()
        self.assertEqual([record["type"] for record in records], ["Rejection"] * 3)
        codes = [self.reply_of(record)[:2] for record in records]
        self.assertEqual(codes, [(501, "5.1.7"), (501, "5.1.3"), (550, "5.6.0")])
        for record in records:
            self.check(record, "Rejection")
            self.assertEqual(record["peer_address"], {"name": "client.test", "addr": "127.0.0.1"})
        self.assertEqual([record["sender"] for record in records[1:]], ["from@b.test"] * 2)

    def test_event_ids_are_unique_over_a_restart(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        for run in range(3):
            client = self.client(server)
            for number in range(40):
                self.assertEqual(client.submit(CONTENT, [f"n{number}@d{number}.test"]).code, 250)
            server.wait_events("Delivery", 40 * (run + 1))
            server.stop()
            server.start()
        server.stop()
        records = server.events()
        self.assertEqual(len(records), 240)
        self.assertEqual(len({record["event_id"] for record in records}), 240)
        self.assertEqual(len({record["id"] for record in records}), 120)

    # ---- files

    def test_files_are_readable_while_they_are_written(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        client = self.client(server)
        for number in range(20):
            client.submit(CONTENT)
            server.wait_events("Delivery", number + 1)
            lines, _ = zstdcat(server.log_files())
            self.assertGreaterEqual(len(lines), 2 * number + 2)
            self.assertTrue(all(line.startswith(b"{") and line.endswith(b"}") for line in lines))
        self.assertEqual(len(server.log_files()), 1)
        server.stop()

    def test_a_file_is_finished_at_a_stop(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        self.client(server).submit(CONTENT)
        sink.wait(1)
        server.stop()
        path, = server.log_files()
        self.assertRegex(os.path.basename(path), r"^\d{8}-\d{6}\.\d{6}$")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o440)
        self.assertEqual((len(zstdcat([path])[0]), zstdcat([path])[1]), (2, 0))

    def test_after_a_crash_a_new_file_is_begun(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        for run in range(3):
            self.client(server).submit(CONTENT, [f"r{run}@example.com"])
            wait_until(lambda: any(record["recipient"] == f"r{run}@example.com"
                                   for record in server.events("Delivery")), "its Delivery")
            server.kill()
            server.start()
        server.stop()
        paths = server.log_files()
        # What is not known to be durable comes once more: then the last start has a file, too.
        self.assertIn(len(paths), (3, 4))
        self.assertEqual({stat.S_IMODE(os.stat(path).st_mode) for path in paths}, {0o440})
        records = {}
        for record in server.events():
            self.assertEqual(records.setdefault(record["event_id"], record), record)
        types = [record["type"] for record in records.values()]
        self.assertEqual((types.count("Reception"), types.count("Delivery")), (3, 3))

    def test_a_file_is_changed_when_it_is_old_enough(self):
        sink = self.sink()
        server = self.server(Config(sink.port, log={"max_segment_duration": "1s"}))
        client = self.client(server)

        def several():
            client.submit(CONTENT)
            return len(server.log_files()) >= 3 if server.events() else False
        wait_until(several, "three files")
        modes = [stat.S_IMODE(os.stat(path).st_mode) for path in server.log_files()]
        self.assertEqual(modes[:-1], [0o440] * (len(modes) - 1))
        server.stop()
        events = server.events()
        self.assertEqual(len({record["event_id"] for record in events}), len(events))

    def test_the_tool_follows(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        self.client(server).submit(CONTENT)
        server.wait_events("Delivery", 1)
        tool = subprocess.Popen([RINGPOST, "events", "-c", server.config_path, "--json",
                                 "--follow", "--type", "Delivery"], stdout=subprocess.PIPE)
        try:
            self.assertIn(b'"recipient":"user@example.com"', tool.stdout.readline())
            self.client(server).submit(CONTENT, ["next@example.com"])
            self.assertIn(b'"recipient":"next@example.com"', tool.stdout.readline())
        finally:
            tool.send_signal(signal.SIGKILL)
            tool.wait()
            tool.stdout.close()
        server.stop()

    def test_the_tool_names_all_types(self):
        done = subprocess.run([RINGPOST, "events", "--type", "x"], stderr=subprocess.PIPE,
                              check=False, timeout=SECONDS)
        self.assertEqual((done.returncode, done.stderr.decode()), (
            2, "ringpost events: x is no type of event: Reception, Delivery, TransientFailure, "
               "Bounce, Expiration, AdminBounce, AdminRebind, OOB, Feedback, Rejection\n"))

    def test_hostile_texts_stay_inside_their_record(self):
        nasty = 'no "quotes" \\ \x1b[31m %s%n \x7f {"type":"Delivery"}'
        sink = self.sink(on_rcpt=lambda mail, to: f"550 5.1.1 {nasty}")
        server = self.server(Config(sink.port))
        self.client(server).submit(CONTENT, ['"a\\"b c"@x.test'])
        record = server.wait_events("Bounce", 1)[0]
        self.assertEqual(record["recipient"], '"a\\"b c"@x.test')
        lines, _ = zstdcat(server.log_files())
        self.assertEqual(len(lines), 2)
        self.assertFalse(re.search(rb"[\x00-\x1f\x7f]", b"".join(lines)))
        self.assertIn('no "quotes" \\', record["response"]["content"])
        shown = subprocess.run([RINGPOST, "events", "-c", server.config_path, "--type", "Bounce"],
                               capture_output=True, check=True, timeout=SECONDS).stdout.decode()
        self.assertIn('"a\\\\"b c"@x.test' + " " * 17 + "550 x.test" + " " * 19 + 'no "quotes" ',
                      shown)
        self.assertIn("\\u001b[31m %s%n \\u007f ", shown)
        self.assertTrue(shown[:-1].isprintable(), shown)
        server.stop()
