"""The operator's command and a running server: what it says, and with which exit code."""
import json
import os
import subprocess

from harness import RINGPOST, BlackBox, Config, free_port

CONTENT = b"Subject: test\r\n\r\nhello\r\n"
SECONDS = 60


class Command(BlackBox):
    def run_verb(self, server, *arguments, **options):
        """Exit code, standard output and standard error; no terminal anywhere."""
        environment = {**os.environ, "LC_ALL": "C"}
        environment.pop("RINGPOST_ENDPOINT", None)
        if server is not None:
            environment["RINGPOST_ENDPOINT"] = f"http://{server.ready['http']}"
        environment.update(options.pop("environment", {}))
        done = subprocess.run([RINGPOST, *arguments], env=environment, cwd=self.folder,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=SECONDS, **options)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def ask(self, server, *arguments):
        """What it prints when all is well."""
        code, said, errors = self.run_verb(server, *arguments)
        self.assertEqual((code, errors), (0, ""), said)
        return said

    def refused(self, server, code, *arguments):
        """The one line that it says instead."""
        got, said, errors = self.run_verb(server, *arguments)
        self.assertEqual((got, said), (code, ""), errors)
        self.assertEqual(errors.count("\n"), 1, errors)
        self.assertTrue(errors.startswith(f"ringpost {arguments[0]}: "), errors)
        return errors

    def deferring(self, **queue):
        """A server whose mail stays: its sink defers all recipients."""
        sink = self.sink(on_rcpt=lambda *_: "451 4.7.1 Later \x1b[31mred")
        return self.server(Config(sink.port, queue={"retry_interval": "1h", **queue}))

    # ---- explain

    def test_explain_says_why_mail_waits(self):
        server = self.deferring()
        first, _ = self.client(server).submit(CONTENT, ["a@x.test", "b@x.test"]).ids
        server.wait_events("TransientFailure", 2)
        for arguments in (["x.test"], ["--queue", "x.test"], ["--domain", "X.test"]):
            said = self.ask(server, "explain", *arguments)
            self.assertIn(f"{arguments[-1]}: waiting for ", said)
            self.assertRegex(said, r"(?m)^  reason +not_due: all of it is deferred")
            self.assertRegex(said, r"(?m)^  recipients +2, 0 of them due$")
            self.assertRegex(said, r"(?m)^  next attempt +\S+Z, in (1h|5\d)")
        said = self.ask(server, "explain", first)
        self.assertRegex(said, r"(?m)^  attempts +1$")
        self.assertRegex(said, r"(?m)^  last said +451 4\.7\.1 Later \\u001b\[31mred$")
        self.assertRegex(said, r"(?m)^    not_due +\d")
        said = json.loads(self.ask(server, "explain", "--json", "x.test"))
        self.assertEqual((said["kind"], said["count"]), ("domain", 2))
        self.assertIn("\x1b[31m", said["last_response"])
        server.stop()

    def test_explain_of_a_site_shows_its_limits(self):
        server = self.deferring()
        self.client(server).submit(CONTENT, ["a@x.test"])
        server.wait_events("TransientFailure", 1)
        site = json.loads(self.ask(server, "explain", "--json", "x.test"))["site"]
        said = self.ask(server, "explain", site)
        self.assertRegex(said, r"(?m)^  limit +of +allowed +used +free in$")
        self.assertRegex(said, r"(?m)^    connection_limit +unspecified->\S+ +50 +\d+ +-$")
        server.stop()

    def test_explain_refuses_what_makes_no_sense(self):
        server = self.deferring()
        for arguments in ([], ["a", "b"], ["a", "--domain", "b"], ["--queue", "a", "--queue", "b"],
                          ["--id", "12"], [""], ["--domain="]):
            self.refused(server, 2, "explain", *arguments)
        self.assertIn("no mail for the domain x.test", self.refused(server, 1, "explain", "x.test"))
        self.assertIn("no queue c:t@x.test", self.refused(server, 1, "explain", "c:t@x.test"))
        self.assertIn("no recipient", self.refused(server, 1, "explain", "0" * 32))
        self.assertIn("too long", self.refused(server, 1, "explain", "x" * 9000))
        self.assertIn("a\\u001bb", self.refused(server, 1, "explain", "a\x1bb"))
        server.stop()

    # ---- all verbs

    def test_a_server_that_is_not_there_is_said_to_be_so(self):
        port = free_port()
        self.assertEqual(
            self.refused(None, 1, "explain", "x.test", "--endpoint", f"http://127.0.0.1:{port}"),
            f"ringpost explain: nobody listens on 127.0.0.1:{port} (is ringpostd running? "
            "--endpoint says where)\n")
        self.assertIn("is no endpoint",
                      self.refused(None, 2, "explain", "x.test", "--endpoint", "ftp://here"))

    def test_every_verb_explains_itself(self):
        code, said, _ = self.run_verb(None, "help")
        self.assertEqual(code, 0)
        verbs = [line.split()[1] for line in said.splitlines() if line.startswith("  ringpost ")]
        self.assertIn("explain", verbs)
        for verb in verbs:
            code, said, errors = self.run_verb(None, verb, "--help")
            self.assertEqual((code, errors), (0, ""))
            self.assertTrue(said.startswith(f"usage: ringpost {verb}"), said)
            self.assertLessEqual(max(map(len, said.splitlines()[1:])), 100, said)
        self.assertEqual(self.run_verb(None, "nonsense")[0], 2)
        self.assertEqual(self.run_verb(None)[0], 2)
