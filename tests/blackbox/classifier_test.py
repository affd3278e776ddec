"""What replies mean, by the rules that are shipped and by one's own: in records of every kind, and
changed by a reload, which is all or nothing."""
import os
import shutil
import signal

from harness import BlackBox, Config, ROOT, pairs

CONTENT = b"Subject: test\r\n\r\nhello\r\n"
SECONDS = 20
RULES = "[bounce_classifier]\nfiles = [\"ours.toml\", \"iana.toml\"]\n"
OURS = "[rules]\nSeventeen = ['\\[code 1[0-9]\\]', '(?<!not )seventeen']\n"
REPLIES = {
    "gone@a.test": ("550-5.1.1 no such user\r\n550 5.1.1 at all", "InvalidRecipient"),
    "full@a.test": ("552 5.2.2 Mailbox is full", "QuotaIssues"),
    "ours@a.test": ("554 5.7.1 you have [code 17]", "Seventeen"),
    "look@a.test": ("554 5.7.1 not seventeen", "PolicyRelated"),
    "list@a.test": ("554 5.7.1 blocked", "PolicyRelated"),
    "none@a.test": ("554 go away", "Uncategorized"),
    "wait@a.test": ("450 4.2.2 Mailbox is full", "QuotaIssues"),
}


class Classifier(BlackBox):
    def setUp(self):
        super().setUp()
        shutil.copy(os.path.join(ROOT, "packaging/etc/iana.toml"), self.folder)
        self.write("ours.toml", OURS)

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            file.write(text)

    def start(self):
        sink = self.sink(on_rcpt=lambda mail, to: REPLIES.get(to, (None,))[0])
        return self.server(Config(sink.port, queue={"retry_interval": "1h"}, extra=RULES))

    def labels(self, records):
        return {record["recipient"]: record["bounce_classification"] for record in records}

    def test_records_have_the_word_of_the_first_rule_that_matches(self):
        server = self.start()
        client = self.client(server)
        client.submit(CONTENT, [*REPLIES, "good@a.test"])
        client.command("MAIL FROM:<bad sender@>")
        records = server.wait_events("Bounce", len(REPLIES) - 2) + \
            server.wait_events("TransientFailure", 2)
        self.assertEqual(self.labels(records), {to: label for to, (_, label) in REPLIES.items()})
        rejection = server.wait_events("Rejection", 1)[0]
        self.assertEqual(rejection["response"]["enhanced_code"]["subject"], 1)
        self.assertEqual(rejection["bounce_classification"], "InvalidSender")
        for record in server.events("Reception") + server.wait_events("Delivery", 1):
            self.assertNotIn("bounce_classification", record)
        server.stop()

    def reload(self, server):
        """SIGHUP; the lines from then on, the last of which says what became of it."""
        with server.changed:
            before = len(server.lines)
        server.signal(signal.SIGHUP)
        with server.changed:
            def found():
                return any((line or "").startswith("event=reload applied=")
                           for line in server.lines[before:])
            self.assertTrue(server.changed.wait_for(found, SECONDS), server.errors())
        with server.changed:
            return [pairs(line) for line in server.lines[before:]
                    if (line or "").startswith("event=reload")]

    def test_a_reload_takes_other_rules_or_none(self):
        server = self.start()
        client = self.client(server)
        client.submit(CONTENT, ["ours@a.test"])
        self.assertEqual(self.labels(server.wait_events("Bounce", 1)),
                         {"ours@a.test": "Seventeen"})
        self.write("ours.toml", "[rules]\nGood = ['fine']\nBad = [\n  'a(b',\n]\n")
        lines = self.reload(server)
        self.assertEqual(lines[0]["applied"], "no")
        self.write("ours.toml", OURS)  # what shows events reads it, too
        client.submit(CONTENT, ["ours@a.test"])
        records = server.wait_events("Bounce", 2)
        self.assertEqual([one["bounce_classification"] for one in records], ["Seventeen"] * 2)
        self.assertIn("ours.toml:4:3: error: [bounce_classifier]", server.errors())
        self.write("ours.toml", "[rules]\nOther = ['code']\n")
        self.assertEqual(self.reload(server)[0]["applied"], "yes")
        client.submit(CONTENT, ["ours@a.test"])
        self.assertEqual(server.wait_events("Bounce", 3)[2]["bounce_classification"], "Other")
        for _ in range(50):
            self.reload(server)
        server.stop()

    def test_a_start_refuses_a_pattern_without_bounds(self):
        self.write("ours.toml", "[rules]\nA = ['fine', '((x{900}){900}){900}']\n")
        self.write("t.toml", Config(2626, extra=RULES).text())
        code, said = self.run_daemon("--check", "-c", "t.toml")
        self.assertEqual(code, 3)
        self.assertIn("ours.toml:2:14: error: [bounce_classifier]: with its repeats written out",
                      said)
