"""Other people's programs: swaks, curl, smtplib and smtp-source send, smtp-sink, aiosmtpd and our
own bench receive; every message is counted."""
import email.message
import json
import os
import shutil
import signal
import smtplib
import subprocess
import threading

from harness import BIN, BlackBox, Config, free_port, wait_until

CONTENT = b"From: a@b.test\r\nSubject: test\r\n\r\nhello\r\n.dot\r\n"
BENCH = os.path.join(BIN, "ringpost-bench")


class Senders(BlackBox):
    def relay(self):
        sink = self.sink()
        return sink, self.server(Config(sink.port))

    def tool(self, name):
        if shutil.which(name) is None:
            self.skipTest(f"{name} is not installed")
        return name

    def run_sender(self, command, **options):
        done = subprocess.run(command, capture_output=True, check=False, timeout=60,
                              cwd=self.folder, **options)
        self.assertEqual(done.returncode, 0, (done.stdout + done.stderr).decode())

    def test_swaks_sends(self):
        swaks = self.tool("swaks")
        sink, server = self.relay()
        host, port = server.address
        self.run_sender([swaks, "--server", host, "--port", str(port), "--from", "a@b.test",
                         "--to", "c@d.test,e@d.test", "--body", "hello\n.dot", "--pipeline"])
        mail = sink.wait(1)[0]
        self.assertEqual((mail.sender, sorted(mail.recipients)), ("a@b.test", ["c@d.test",
                                                                              "e@d.test"]))
        self.assertIn(b"\r\n\r\nhello\r\n.dot", mail.body)
        server.stop()

    def test_curl_sends(self):
        curl = self.tool("curl")
        sink, server = self.relay()
        host, port = server.address
        self.run_sender([curl, "-s", "-S", f"smtp://{host}:{port}/client.test", "--mail-from",
                         "a@b.test", "--mail-rcpt", "c@d.test", "--upload-file", "-"],
                        input=CONTENT)
        self.assertEqual(sink.wait(1)[0].body, CONTENT)
        server.stop()

    def test_smtplib_sends(self):
        sink, server = self.relay()
        message = email.message.EmailMessage()
        message["From"], message["To"], message["Subject"] = "a@b.test", "жук@d.test", "Grüße"
        message.set_content("ünïcödé\n.dot\n")
        with smtplib.SMTP(*server.address, timeout=30) as client:
            self.assertEqual(client.send_message(message), {})
            self.assertEqual(client.sendmail("a@b.test", ["c@d.test"], CONTENT), {})
            with self.assertRaises(smtplib.SMTPRecipientsRefused):
                client.sendmail("a@b.test", ["bad@@d.test"], CONTENT)
        by_recipient = {mail.recipients[0]: mail for mail in sink.wait(2)}
        self.assertEqual(by_recipient["c@d.test"].body, CONTENT)
        self.assertIn("SMTPUTF8", by_recipient["жук@d.test"].parameters)
        server.stop()

    def test_smtp_source_sends(self):
        source = self.peer("smtp-source")
        sink, server = self.relay()
        host, port = server.address
        self.run_sender([source, "-s", "20", "-m", "500", "-l", "5000", "-r", "3", "-f",
                         "a@b.test", "-t", "c@d.test", f"{host}:{port}"])
        sink.wait_for(lambda: sum(len(mail.recipients) for mail in sink.mails) >= 1500, "copies")
        self.assertEqual(server.stop()["recipients_received"], 1500)

    def test_ringpost_bench_sends_and_takes(self):
        if not os.access(BENCH, os.X_OK):
            self.skipTest("ringpost-bench is not built")
        port = free_port()
        sink = subprocess.Popen([BENCH, "sink", "--listen", f"127.0.0.1:{port}", "--messages",
                                 "2000", "--json"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(sink.stderr))
        reader.start()
        server = self.server(Config(port))
        try:
            host, port = server.address
            self.run_sender([BENCH, "source", "--connect", f"{host}:{port}", "--messages", "2000",
                             "--connections", "20", "--mode", "bdat"])
            wait_until(lambda: any(b"event=complete" in line for line in lines), "all messages")
            self.assertEqual(server.stop()["deliveries"], 2000)
        finally:
            sink.send_signal(signal.SIGTERM)
            summary = sink.stdout.read()
            sink.wait(30)
            reader.join()
            sink.stdout.close()
            sink.stderr.close()
        self.assertEqual(sink.returncode, 0, summary)
        self.assertIsInstance(json.loads(summary), dict)


class Receivers(BlackBox):
    def send(self, server, count, recipients=1):
        client = self.client(server)
        for number in range(count):
            to = [f"r{number}-{part}@d{number % 5}.test" for part in range(recipients)]
            mode = "bdat" if number % 2 else "data"
            self.assertEqual(client.submit(CONTENT, to, mode=mode).code, 250)
        client.quit()

    def smtp_sink(self, *options):
        """Postfix's sink on a port of its own; one file for each mail below `mails`."""
        program = self.peer("smtp-sink")
        port = free_port()
        os.mkdir(os.path.join(self.folder, "mails"))
        user = ["-u", "root"] if os.getuid() == 0 else []
        process = subprocess.Popen([program, *user, *options, "-d", "mails/%M.",
                                    f"127.0.0.1:{port}", "100"],
                                   cwd=self.folder, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)

        def stop():
            process.kill()
            process.wait()
        self.addCleanup(stop)
        return port

    def test_smtp_sink_takes(self):
        for options in ([], ["-p"], ["-e"], ["-8"]):
            with self.subTest(options=options):
                shutil.rmtree(os.path.join(self.folder, "mails"), ignore_errors=True)
                server = self.server(Config(self.smtp_sink(*options), spool={
                    "path": f"spool{len(options)}{''.join(options)}"}))
                before = len(server.events("Delivery"))
                self.send(server, 50, 3)
                server.wait_events("Delivery", before + 150)
                server.stop()
                files = os.listdir(os.path.join(self.folder, "mails"))
                self.assertGreaterEqual(len(files), 50)
                for name in files:
                    with open(os.path.join(self.folder, "mails", name), "rb") as file:
                        self.assertIn(CONTENT.replace(b"\r\n", b"\n"), file.read())

    def test_smtp_sink_takes_after_refusing(self):
        server = self.server(Config(self.smtp_sink("-f", "RCPT"), queue={"retry_interval": "1h"}))
        self.send(server, 3)
        server.wait_events("Bounce", 3)
        server.stop()

    def test_smtp_sink_hangs_up(self):
        """It closes after each command it is told to: nothing is lost and nothing bounces."""
        server = self.server(Config(self.smtp_sink("-q", "DATA"), queue={"retry_interval": "1h"}))
        self.send(server, 3)
        server.wait_events("TransientFailure", 3)
        self.assertEqual(server.events("Bounce"), [])
        server.stop()
        server.start()
        self.assertEqual(server.ready["queued"], "3")
        server.stop()

    def test_aiosmtpd_takes(self):
        try:
            from aiosmtpd.controller import Controller
        except ImportError:
            self.skipTest("python3-aiosmtpd is not installed")
        got = []

        class Handler:
            async def handle_DATA(self, _server, _session, envelope):
                got.append((envelope.rcpt_tos, envelope.original_content))
                return "250 Taken"
        controller = Controller(Handler(), hostname="127.0.0.1", port=free_port(),
                                enable_SMTPUTF8=True)
        controller.start()
        self.addCleanup(controller.stop)
        server = self.server(Config(controller.port))
        self.send(server, 50, 3)
        server.wait_events("Delivery", 150)
        self.assertEqual(sum(len(recipients) for recipients, _ in got), 150)
        self.assertTrue(all(content.endswith(CONTENT) for _, content in got))
        server.stop()
