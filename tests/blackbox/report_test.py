"""SIGUSR1: a line for every queue, with the word for what holds it back."""
import datetime
import re
import signal
import time

from harness import BlackBox, Config, pairs

CONTENT = b"Subject: test\r\n\r\nhello\r\n"


class Report(BlackBox):
    def report(self, server):
        """Asks for one and waits for it: all of its lines, as dicts."""
        with server.changed:
            before = len(server.lines)
        server.signal(signal.SIGUSR1)
        with server.changed:
            self.assertTrue(server.changed.wait_for(
                lambda: any(re.match("event=report_end ", line or "")
                            for line in server.lines[before:]), 30), server.errors())
            return [pairs(line) for line in server.lines[before:]]

    def queues(self, server, kind="scheduled"):
        return [line for line in self.report(server)
                if line["event"] == "queue" and line["kind"] == kind]

    def until(self, server, **wanted):
        """Asks until a queue has such a line; that line."""
        for _ in range(300):
            for line in self.queues(server):
                if wanted.items() <= line.items():
                    return line
        raise AssertionError(f"no line with {wanted}: {server.errors()[-2000:]}")

    def test_l08_sigusr1_tells_what_every_queue_waits_for(self):
        sink = self.sink()
        server = self.server(Config(
            sink.port, node={"shards": 1}, queue={"retry_interval": "1h"},
            extra='[queues.queue."slow.test"]\nmax_message_rate = "1/h"\n'))
        client = self.client(server)
        for recipient in ("a@done.test", "a@slow.test", "b@slow.test"):
            client.submit(CONTENT, [recipient])
        sink.wait(2)
        slow = self.until(server, name="slow.test", reason="queue_rate", count="1")
        self.assertEqual((slow["state"], slow["due"]), ("waiting", "1"))
        self.assertLess(3500000, int(slow["retry_in_ms"]))
        since = datetime.datetime.fromisoformat(slow["since"].replace("Z", "+00:00"))
        age = datetime.datetime.now(datetime.timezone.utc) - since
        self.assertLess(abs(age.total_seconds()), 60)
        self.until(server, name="done.test", reason="empty", state="empty", count="0")
        lines = self.report(server)
        self.assertEqual((lines[0]["event"], lines[0]["scheduled"], lines[0]["ready"]),
                         ("report", "2", "1"))
        ready = [line for line in lines if line.get("kind") == "ready"]
        self.assertEqual({line["event"] for line in ready}, {"reason", "queue"})
        self.assertEqual(slow["site"], ready[-1]["name"])
        limits = {line["kind"]: line for line in lines if line["event"] == "limit"}
        self.assertEqual((limits["max_message_rate"]["name"], limits["max_message_rate"]["limit"]),
                         ("slow.test", "1/h"))
        self.assertEqual(limits["connection_limit"]["limit"], "50")
        self.assertEqual(lines[-1]["left_out"], "0")
        time.sleep(0.01)  # a time of less than a millisecond is not told
        again = self.until(server, name="slow.test", reason="queue_rate")
        self.assertEqual(again["since"], slow["since"])
        self.assertRegex(again["time_by_reason_ms"], r"(^|,)queue_rate:\d+$")
        server.stop()

    def test_l14_mail_waits_for_the_hours_of_its_queue(self):
        sink = self.sink()
        days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        today = datetime.datetime.now(datetime.timezone.utc).isoweekday()
        hours = 'tz = "America/Phoenix"\nstart = "00:00:00"\nend = "24:00:00"\n'
        server = self.server(Config(
            sink.port, node={"shards": 1},
            extra=f'[queues.queue."later.test"]\ndow = "{days[(today + 3) % 7]}"\n{hours}'
                  f'[queues.queue."now.test"]\ndow = "{",".join(days)}"\n{hours}'))
        client = self.client(server)
        for recipient in ("a@later.test", "a@now.test"):
            client.submit(CONTENT, [recipient])
        sink.wait(1)
        later = self.until(server, name="later.test", reason="quiet_hours", count="1")
        self.assertEqual((later["state"], later["due"]), ("waiting", "1"))
        # Three days from today there, which is today here or yesterday.
        self.assertTrue(2 * 86400e3 <= int(later["retry_in_ms"]) <= 4 * 86400e3, later)
        server.stop()

    def test_l08_many_at_once_are_one_and_a_stop_does_not_wait(self):
        server = self.server(Config(2626))
        for _ in range(50):
            server.signal(signal.SIGUSR1)
        self.report(server)
        server.signal(signal.SIGUSR1)
        server.stop()
