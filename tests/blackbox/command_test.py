"""The operator's command and a running server: what it says, and with which exit code."""
import json
import os
import pty
import socket
import subprocess
import threading

from harness import RINGPOST, ROOT, BlackBox, Config, free_port

CONTENT = b"Subject: test\r\n\r\nhello\r\n"
POISON = b"Subject: \x1b]0;owned\x07 caf\xc3\xa9\r\n\r\nhello\ttab \xc2\x9b\r\n"
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

    def test_o01_explain_says_why_mail_waits(self):
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

    # ---- orders

    def filled(self):
        """Mail that stays in three queues: 3, 2 and 1 recipients."""
        server = self.deferring()
        client = self.client(server)
        for recipients in (["a@x.test", "b@x.test", "c@x.test"], ["a@y.test", "b@y.test"],
                           ["a@z.test"]):
            client.submit(CONTENT, recipients)
        server.wait_events("TransientFailure", 6)
        return server

    def test_suspend_is_tried_done_listed_and_taken_back(self):
        server = self.filled()
        what = ["suspend", "--domain", "x.test", "--reason", "their \x1b[5mcall"]
        self.assertEqual(self.ask(server, *what, "--dry-run"),
                         "would suspend 1 queue with 3 recipients\n  x.test\n")
        self.assertEqual(self.ask(server, "suspend", "--list"), "nothing is suspended\n")
        said = self.ask(server, *what, "--yes", "--duration", "2h")
        self.assertRegex(said, r"\Asuspended 1 queue with 3 recipients, and what comes, for 2h\n"
                               r"id [0-9a-f]{32}; to take it back: ringpost resume [0-9a-f]{32}\n")
        order = said.split()[-1]
        listed = self.ask(server, "suspend", "--list")
        self.assertRegex(listed, rf"(?m)^{order}  1h 59m  domain x\.test  their \\u001b\[5mcall$")
        self.assertIn("suspended_admin: an operator", self.ask(server, "explain", "x.test"))
        self.assertEqual(self.ask(server, "resume", order), f"taken back: suspension {order}\n")
        self.assertIn("no order has this id", self.refused(server, 1, "resume", order))
        self.assertEqual(self.ask(server, "suspend", "--list"), "nothing is suspended\n")
        server.stop()

    def test_resume_takes_back_exactly_what_is_said(self):
        server = self.filled()
        site = json.loads(self.ask(server, "explain", "--json", "x.test"))["site"]
        for criteria in (["--domain", "x.test"], ["--domain", "y.test"], ["--everything"],
                         ["--queue", "x.test", "--queue", "z.test"], ["--ready-queue", site]):
            self.ask(server, "suspend", *criteria, "--reason", "r", "--yes")
        self.assertEqual(self.ask(server, "suspend", "--list").count("\n"), 6)
        self.assertIn("exactly that", self.refused(server, 1, "resume", "--queue", "x.test"))
        self.assertIn("would take back: ", self.ask(server, "resume", "--domain", "X.test",
                                                    "--dry-run"))
        left = 6
        for criteria in (["--domain", "X.test"], ["--everything"], ["--ready-queue", site],
                         ["--queue", "x.test", "--queue", "z.test"]):
            self.assertIn("taken back: suspension ", self.ask(server, "resume", *criteria))
            left -= 1
            self.assertEqual(self.ask(server, "suspend", "--list").count("\n"), left)
        self.assertIn("domain y.test", self.ask(server, "suspend", "--list"))
        server.stop()

    def test_bounce_ends_mail_and_counts(self):
        server = self.filled()
        said = self.ask(server, "bounce", "--domain", "x.test", "--reason", "gone", "--yes")
        self.assertIn("bounces 1 queue with 3 recipients, and what comes, for 5m\n", said)
        server.wait_events("AdminBounce", 3)
        self.assertRegex(self.ask(server, "bounce", "--list"),
                         r"(?m)^[0-9a-f]{32}  4m \d+s +3  domain x\.test  gone$")
        order = json.loads(self.ask(server, "bounce", "--list", "--json"))[0]["id"]
        self.assertEqual(self.ask(server, "resume", "--id", order), f"taken back: bounce {order}\n")
        self.assertEqual(self.ask(server, "bounce", "--list"), "nothing is bounced\n")
        server.stop()

    def test_rebind_gives_mail_another_queue(self):
        sink = self.sink(on_rcpt=lambda *_: "451 4.0.0 Later")
        server = self.server(Config(sink.port, queue={"retry_interval": "1h"}))
        self.client(server).submit(CONTENT, ["a@x.test", "b@x.test"])
        server.wait_events("TransientFailure", 2)
        which = ("rebind", "--domain", "x.test", "--reason", "r")
        self.assertEqual(self.ask(server, *which, "--set", "campaign=spring", "--dry-run"),
                         "would rebind 1 queue with 2 recipients\n  x.test\n")
        self.assertEqual(self.ask(server, *which, "--set", "campaign=spring,class=urgent", "--yes"),
                         "meant were 1 queue with 2 recipients: 2 are in another queue now, "
                         "0 stayed\n")
        self.assertIn("spring:@x.test", self.ask(server, "explain", "spring:@x.test"))
        self.assertEqual(self.ask(server, *which, "--data", '{"campaign": "fall"}', "--yes"),
                         "meant were 1 queue with 2 recipients: 2 are in another queue now, "
                         "0 stayed\n")
        for wrong in (("--data", "[1]"), ("--data", "{"), ("--data", "{} {}"), (),
                      ("--data", "{}", "--set", "class=bulk"), ("--data", '{"odd": 1}')):
            self.assertEqual(self.run_verb(server, *which, *wrong, "--yes")[0], 2, wrong)
        self.assertEqual(self.ask(server, *which, "--set", "campaign=", "--yes"),
                         "meant were 1 queue with 2 recipients: 2 are in another queue now, "
                         "0 stayed\n")
        self.refused(server, 2, *which, "--yes")
        self.refused(server, 2, *which, "--set", "routing_domain=r.test", "--yes")
        self.refused(server, 2, *which, "--set", "tenant=unknown", "--yes")
        server.stop()

    def test_flush_makes_mail_due_now(self):
        busy = [True]
        sink = self.sink(on_rcpt=lambda *_: "451 4.0.0 Later" if busy[0] else None)
        server = self.server(Config(sink.port, queue={"retry_interval": "1h"}))
        self.client(server).submit(CONTENT, ["a@x.test", "b@x.test"])
        server.wait_events("TransientFailure", 2)
        busy[0] = False
        self.assertEqual(self.ask(server, "flush", "--everything", "--reason", "r", "--yes"),
                         "flushed 1 queue with 2 recipients\n")
        server.wait_events("Delivery", 2)
        server.stop()

    def test_o02_orders_without_a_terminal_want_yes(self):
        server = self.filled()
        for verb in ("suspend", "bounce", "flush"):
            self.assertIn("say --yes", self.refused(server, 2, verb, "--everything", "--reason",
                                                    "r"))
            self.assertIn("--reason", self.refused(server, 2, verb, "--everything", "--yes"))
            self.assertIn("say which queues", self.refused(server, 2, verb, "--reason", "r",
                                                           "--yes"))
        self.assertEqual(json.loads(self.ask(server, "queues", "--json"))["total_count"], 6)
        self.assertEqual(self.ask(server, "suspend", "--list"), "nothing is suspended\n")
        server.stop()

    def test_o02_orders_on_a_terminal_are_asked_about(self):
        server = self.filled()
        for answer, code in (("n\n", 1), ("\n", 1), ("y\n", 0)):
            got, shown = self.on_a_terminal(server, answer, "suspend", "--everything", "--reason",
                                            "r")
            self.assertIn("would suspend 3 queues with 6 recipients", shown)
            self.assertIn("Do it? [y/N]", shown)
            self.assertEqual(got, code, shown)
        self.assertIn("everything", self.ask(server, "suspend", "--list"))
        server.stop()

    def on_a_terminal(self, server, typed, *arguments):
        """Exit code, and what a terminal showed."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ["RINGPOST_ENDPOINT"] = f"http://{server.ready['http']}"
            os.execv(RINGPOST, [RINGPOST, *arguments])
        shown, asked = b"", False
        while True:
            try:
                piece = os.read(terminal, 4096)
            except OSError:
                break  # it has ended
            if not piece:
                break
            shown += piece
            if b"[y/N]" in shown and not asked:
                os.write(terminal, typed.encode())
                asked = True
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()

    def test_orders_refuse_what_makes_no_sense(self):
        server = self.deferring()
        for arguments in (["suspend", "--everything", "--domain", "x", "--reason", "r", "--yes"],
                          ["suspend", "--ready-queue", "x", "--domain", "x", "--reason", "r"],
                          ["suspend", "--list", "--domain", "x"],
                          ["suspend", "--domain", "x", "--reason", "r", "--duration", "soon"],
                          ["resume"], ["resume", "x.test"], ["resume", "0" * 32, "--everything"],
                          ["bounce", "--domain", "", "--reason", "r"]):
            self.refused(server, 2, *arguments)
        self.refused(server, 1, "resume", "0" * 32)
        server.stop()

    # ---- queues and messages

    def test_queues_shows_the_largest_first(self):
        server = self.filled()
        self.ask(server, "suspend", "--domain", "y.test", "--reason", "r", "--yes")
        lines = self.ask(server, "queues").splitlines()
        self.assertRegex(lines[0], r"^6 recipients in 3 queues: 4 not_due, 2 suspended_admin$")
        self.assertRegex(lines[2], r"^queue +count +due +state +reason +for$")
        self.assertRegex(lines[3], r"^x\.test +3 +0 +waiting +not_due +\d+m?s$")
        self.assertRegex(lines[4], r"^y\.test +2 +\d +suspended +suspended_admin +\d+m?s$")
        self.assertRegex(lines[5], r"^z\.test +1 ")
        said = self.ask(server, "queues", "--limit", "1")
        self.assertIn("\n2 more with 3 recipients: --limit N shows up to 1000\n", said)
        self.assertIn(" queue", self.ask(server, "queues", "--ready").splitlines()[0])
        said = json.loads(self.ask(server, "queues", "--json"))
        self.assertEqual([queue["name"] for queue in said["queues"]],
                         ["x.test", "y.test", "z.test"])
        for limit in ("0", "1001", "x", "-1"):
            self.refused(server, 2, "queues", "--limit", limit)
        server.stop()

    def test_o01_inspect_shows_a_message_and_its_content(self):
        server = self.deferring()
        first, _ = self.client(server).submit(POISON, ["a@x.test", "b@x.test"]).ids
        second = f"{int(first, 16) + 1:032x}"
        server.wait_events("TransientFailure", 2)
        said = self.ask(server, "inspect", second)
        self.assertTrue(said.startswith(f"{second}: deferred\n\n"), said)
        for field in (r"from +from@sender\.test", r"to +b@x\.test", r"queue +x\.test",
                      r"attempts +1", r"next attempt +\S+Z, in \S+", r"received +\S+Z, .* ago",
                      r"by +ESMTP", r"class +bulk"):
            self.assertRegex(said, rf"(?m)^  {field}", said)
        self.assertNotIn("hello", said.split("size")[1])
        said = self.ask(server, "inspect", "--id", first, "--body")
        self.assertIn("\nSubject: \\u001b]0;owned\\u0007 caf\u00e9\n\nhello\ttab \\u009b\n", said)
        data = json.loads(self.ask(server, "inspect", first, "--body", "--json"))
        self.assertTrue(data["message"]["data"].encode().endswith(POISON), data)
        self.assertIn("no recipient", self.refused(server, 1, "inspect", "0" * 32))
        server.stop()

    def test_inspect_shows_queues_and_connections(self):
        server = self.filled()
        said = self.ask(server, "inspect", "x.test", "--limit", "2")
        self.assertTrue(said.startswith("x.test: waiting, not_due, 3 recipients\n\nid "), said)
        self.assertEqual(said.count("from@sender.test"), 2)
        self.assertIn("There are more than these 2: --limit N shows up to 1000.\n", said)
        self.assertEqual(self.ask(server, "inspect", "--queue", "x.test", "--body").count(
            "Subject: test"), 3)
        site = json.loads(self.ask(server, "explain", "--json", "x.test"))["site"]
        for arguments in ([site], ["--ready-queue", site]):
            said = self.ask(server, "inspect", *arguments)
            self.assertTrue(said.startswith(f"{site}: "), said)
        self.assertIn("no queue none.test", self.refused(server, 1, "inspect", "none.test"))
        for arguments in ([], ["x", "--queue", "x"], ["--id", "0" * 32, "--limit", "3"],
                          ["--ready-queue", "x", "--body"], ["x", "--limit", "1001"]):
            self.refused(server, 2, "inspect", *arguments)
        server.stop()

    # ---- reload

    def test_reload_says_what_has_changed_or_what_is_wrong(self):
        server = self.deferring()
        self.assertEqual(self.ask(server, "reload"), "nothing has changed\n")
        server.configure(server.config.text().replace('"1h"', '"2h"'))
        said = self.ask(server, "reload")
        self.assertRegex(said, r"\Akey +was +is +from\n")
        self.assertRegex(said, r'(?m)^queues\.queue\.default\.retry_interval +"1h" +"2h" +now on$')
        server.configure("nonsense = 1\n")
        code, said, errors = self.run_verb(server, "reload")
        self.assertEqual((code, said), (3, ""), errors)
        self.assertIn("nonsense", errors)
        self.assertTrue(errors.endswith("refused; the server goes on with what it has\n"), errors)
        code, said, _ = self.run_verb(server, "reload", "--json")
        self.assertEqual((code, json.loads(said)["applied"]), (3, False))
        server.stop()

    # ---- all verbs

    def test_o03_a_server_that_is_not_there_is_said_to_be_so(self):
        port = free_port()
        for verb in (["explain", "x.test"], ["inspect", "x.test"], ["queues"],
                     ["suspend", "--list"], ["bounce", "--everything", "--reason", "r", "--yes"],
                     ["flush", "--everything", "--reason", "r", "--dry-run"],
                     ["resume", "0" * 32], ["reload"], ["top", "--once"]):
            self.assertEqual(
                self.refused(None, 1, *verb, "--endpoint", f"http://127.0.0.1:{port}"),
                f"ringpost {verb[0]}: nobody listens on 127.0.0.1:{port} (is ringpostd running? "
                "--endpoint says where)\n")
        self.assertIn("is no endpoint",
                      self.refused(None, 2, "explain", "x.test", "--endpoint", "ftp://here"))

    def test_an_order_without_an_answer_may_have_been_done(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def hang_up():
                for _ in range(2):
                    client, _ = listener.accept()
                    with client:
                        client.recv(65536)
            thread = threading.Thread(target=hang_up)
            thread.start()
            where = f"127.0.0.1:{listener.getsockname()[1]}"
            said = f"{where} closed the connection before its answer was whole"
            self.assertEqual(self.refused(None, 1, "flush", "--everything", "--reason", "r",
                                          "--yes", "--endpoint", where),
                             f"ringpost flush: {said}; it may have been done\n")
            self.assertEqual(self.refused(None, 1, "queues", "--endpoint", where),
                             f"ringpost queues: {said}\n")
            thread.join()

    def test_bash_completes_verbs_and_options(self):
        completion = os.path.join(ROOT, "packaging", "completion", "ringpost")

        def complete(*words):
            script = ('. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
                      '_ringpost "$1"; printf "%s\\n" "${COMPREPLY[@]}"')
            done = subprocess.run(["bash", "-c", script, "bash", completion, RINGPOST, *words],
                                  capture_output=True, check=True, timeout=SECONDS)
            return done.stdout.decode().split()

        self.assertEqual(complete("susp"), ["suspend"])
        self.assertIn("explain", complete(""))
        self.assertEqual(complete("suspend", "--d"), ["--domain", "--dry-run", "--duration"])
        self.assertEqual(complete("spool", "me"), ["measure"])
        self.assertEqual(complete("trace", "s"), ["server"])
        self.assertIn("--follow", complete("events", "--"))

    def test_the_examples_of_the_manual_are_true(self):
        server = self.server(Config(self.sink(on_rcpt=lambda *_: "451 4.7.1 Later").port,
                                    queue={"retry_interval": "1h"}))
        first, _ = self.client(server).submit(CONTENT, ["a@example.com"]).ids
        server.wait_events("TransientFailure", 1)
        with open(os.path.join(ROOT, "docs", "operations.md"), encoding="utf-8") as page:
            section = page.read().split("## A look at a running server")[1]
        lines = [line for line in section.split("```")[1].splitlines()
                 if line.startswith("ringpost ") and "events" not in line]
        self.assertGreater(len(lines), 9)
        self.write_file("mine.toml", "[default]\nmax_ready = 5\n")
        environment = {**os.environ, "RINGPOST_ENDPOINT": f"http://{server.ready['http']}",
                       "PATH": f"{os.path.dirname(RINGPOST)}:{os.environ['PATH']}"}
        for line in lines:
            line = line.split("#")[0].strip().replace(" ID", f" {first}")
            if line == "ringpost top":
                line += " --once"
            if "--reason" in line and "--yes" not in line and "--dry-run" not in line:
                line += " --yes"
            done = subprocess.run(["bash", "-c", line], env=environment, cwd=self.folder,
                                  stdin=subprocess.DEVNULL, capture_output=True, check=False,
                                  timeout=SECONDS)
            self.assertEqual((done.returncode, done.stderr), (0, b""), line)
        server.stop()

    # ---- path

    PATHS = """
[sources]
files = ["sources.toml"]
[shaping.default]
connection_limit = 9
[shaping."*.test"]
max_message_rate = "5/s"
additional_connection_limits = {shared = 3}
[shaping."*.test".sources.ip-1]
connection_limit = 2
"""
    SOURCES = '[source.ip-1]\nsource_address = "127.0.0.2"\nehlo_domain = "one.test"\n'

    def write_paths(self):
        with open(f"{self.folder}/p.toml", "w", encoding="utf-8") as file:
            file.write(self.PATHS)
        with open(f"{self.folder}/sources.toml", "w", encoding="utf-8") as file:
            file.write(self.SOURCES)

    def test_path_tells_each_option_and_where_it_stands(self):
        self.write_paths()
        said = json.loads(self.ask(None, "path", "A.test", "ip-1", "-c", "p.toml", "--json"))
        self.assertEqual((said["domain"], said["block"], said["source"]),
                         ("A.test", "*.test", "ip-1"))
        options = {name: (each["value"], each["origin"])
                   for name, each in said["options"].items()}
        self.assertLessEqual({
            "connection_limit": ("2", "p.toml:10"),
            "shaping.max_message_rate": ('"5/s"', "p.toml:7"),
            "additional_connection_limits.shared": ("3", "p.toml:8"),
            "smtp_port": ("25", "default"),
            "source.source_address": ('"127.0.0.2"', "sources.toml:2"),
            "source.ehlo_domain": ('"one.test"', "sources.toml:3")}.items(), options.items())
        said = self.ask(None, "path", "A.test", "-c", "p.toml")
        self.assertTrue(said.startswith('A.test: block "*.test"\nOPTION '), said)
        self.assertRegex(said, r"(?m)^connection_limit +9 +p\.toml:5$")
        self.assertNotIn("source.", said)
        said = self.ask(None, "path", "b.example", "ip-1", "-c", "p.toml", "--set",
                        "shaping.default.smtp_port=26")
        self.assertTrue(said.startswith('b.example: block "default", source "ip-1"\n'), said)
        self.assertRegex(said, r"(?m)^smtp_port +26 +--set$")
        self.assertRegex(said, r"(?m)^source\.source_address +\"127.0.0.2\" +sources.toml:2$")

    def test_path_finds_providers_by_mx_hosts(self):
        with open(f"{self.folder}/p.toml", "w", encoding="utf-8") as file:
            file.write('[shaping.provider.big]\nmatch = [{MXSuffix = ".big.test"}]\n'
                       'provider_connection_limit = 4\n')
        said = json.loads(self.ask(None, "path", "a.test", "unspecified", "-c", "p.toml", "--mx",
                                   "mx1.big.test", "--mx", "mx2.big.test", "--json"))
        self.assertEqual(said["options"]["shaping.provider_name"],
                         {"value": '"big"', "origin": "p.toml:1"})
        self.assertEqual(said["options"]["additional_connection_limits."
                                         "shaping-provider-big-unspecified-limit"],
                         {"value": "4", "origin": "p.toml:3"})
        said = self.ask(None, "path", "a.test", "-c", "p.toml", "--mx", "mx1.big.test", "--mx",
                        "mx.other.test")
        self.assertNotIn("big", said.replace("mx1.big.test", ""))

    # ---- shaping check

    def write_file(self, name, text):
        with open(f"{self.folder}/{name}", "w", encoding="utf-8") as file:
            file.write(text)

    def test_shaping_check_tells_what_is_wrong_and_where(self):
        self.write_file("one.toml", "[default]\nconnection_limit = 9\n")
        self.write_file("two.json", '{"a.test": {"max_ready": 5}}')
        self.assertEqual(self.ask(None, "shaping", "check", "one.toml", "two.json"), "OK\n")
        self.write_file("bad.toml", "[default]\nconection_limit = 9\n[[default.automation]]\n"
                                    "regex = '('\naction = 'Suspend'\n")
        code, said, errors = self.run_verb(None, "shaping", "check", "one.toml", "bad.toml")
        self.assertEqual((code, said), (3, ""))
        for line in ("bad.toml:2:1: error: unknown key \"conection_limit\"",
                     "bad.toml:4:1: error: regex", "wants duration", "3 errors"):
            self.assertIn(line, errors)
        code, said, errors = self.run_verb(None, "shaping", "check", "none.toml")
        self.assertEqual((code, said), (3, ""))
        code, said, errors = self.run_verb(None, "shaping", "check", "none.toml", "--load",
                                           "local_load=Warn")
        self.assertEqual((code, said), (0, "OK\n"))
        self.assertIn("none.toml is left out", errors)
        self.refused(None, 2, "shaping")
        self.refused(None, 2, "shaping", "check")

    def test_path_refuses_what_makes_no_sense(self):
        self.write_paths()
        self.refused(None, 2, "path", "-c", "p.toml")
        self.refused(None, 2, "path", "a.test", "b", "c")
        self.refused(None, 2, "path", "")
        self.refused(None, 1, "path", "a.test", "ip-2", "-c", "p.toml")
        code, said, errors = self.run_verb(None, "path", "a.test", "-c", "none.toml")
        self.assertEqual((code, said), (3, ""))
        self.assertIn("cannot read none.toml", errors)

    def test_every_verb_explains_itself(self):
        code, said, _ = self.run_verb(None, "help")
        self.assertEqual(code, 0)
        verbs = [line.split()[1] for line in said.splitlines() if line.startswith("  ringpost ")]
        self.assertLessEqual({"top", "queues", "explain", "inspect", "suspend", "resume", "bounce",
                              "flush", "rebind", "reload", "events", "check", "spool",
                              "path", "shaping"}, set(verbs))
        for verb in verbs:
            code, said, errors = self.run_verb(None, verb, "--help")
            self.assertEqual((code, errors), (0, ""))
            self.assertTrue(said.startswith(f"usage: ringpost {verb}"), said)
            self.assertLessEqual(max(map(len, said.splitlines()[1:])), 100, said)
        self.assertEqual(self.run_verb(None, "nonsense")[0], 2)
        self.assertEqual(self.run_verb(None)[0], 2)
