"""Live SMTP dialogues over a WebSocket, as Python's websockets library sees them."""
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess

import websockets

from harness import RINGPOST, BlackBox, Config, address_of, wait_until

CONTENT = b"Subject: test\r\n\r\n" + b"hello " * 100 + b"\r\n"
SECONDS = 20


class Trace(BlackBox):
    def url(self, server, side):
        return f"ws://{server.ready['http']}/api/admin/trace-smtp-{side}/v1"

    def watch(self, server, side, act, last, **filters):
        """What a tracer hears of what `act` does, up to the event for which `last` holds."""
        async def run():
            async with websockets.connect(self.url(server, side)) as tracer:
                await tracer.send(json.dumps(filters))
                began = json.loads(await asyncio.wait_for(tracer.recv(), SECONDS))
                self.assertEqual(began["payload"]["Diagnostic"]["message"], "tracing")
                await asyncio.get_running_loop().run_in_executor(None, act)
                heard = []
                while not heard or not last(heard[-1]):
                    heard.append(json.loads(await asyncio.wait_for(tracer.recv(), SECONDS)))
                return heard
        return asyncio.run(run())

    def test_a_dialogue_with_a_client_is_heard_and_its_secrets_are_not(self):
        server = self.server(Config(self.sink().port))

        def act():
            client = self.client(server)
            client.command("AUTH PLAIN AHVzZXIAcGFzc3dvcmQ=")
            client.command("dXNlcgBzZWNyZXQ=")
            client.submit(CONTENT, ["a@x.test"])
            client.command("QUIT")

        heard = self.watch(server, "server", act, lambda event: event["payload"] == "Closed")
        said = json.dumps(heard)
        self.assertEqual(heard[0]["payload"], "Connected")
        for text in ("EHLO ", "AUTH PLAIN [secret]", "RCPT TO:<a@x.test>", "250 2.0.0 OK ids=",
                     "221 2.0.0"):
            self.assertIn(text, said)
        for secret in ("AHVzZXI", "dXNlcg", "hello hello hello hello hello hello"):
            self.assertNotIn(secret, said)
        content = [event["payload"]["AbbreviatedRead"] for event in heard
                   if "AbbreviatedRead" in event["payload"]]
        self.assertEqual(sum(part["len"] for part in content), len(CONTENT) + 3)
        self.assertEqual(content[0]["snippet"], "Subject: test\r\n")
        self.assertEqual(len({event["conn_meta"]["session_id"] for event in heard}), 1)
        server.stop()

    def test_what_is_sent_is_heard_by_domain(self):
        server = self.server(Config(self.sink().port))

        def act():
            self.client(server).submit(CONTENT, ["a@y.test"])
            server.wait_events("Delivery", 1)
            self.client(server).submit(CONTENT, ["a@x.test"])

        heard = self.watch(server, "client", act,
                           lambda event: "250 2.0.0 Taken" in json.dumps(event),
                           domain="x.test")
        said = json.dumps(heard)
        self.assertIn("RCPT TO:<a@x.test>", said)
        self.assertNotIn("y.test", said)
        self.assertEqual(heard[0]["conn_meta"]["queue"], "x.test")
        self.assertTrue(any("AbbreviatedWrite" in event["payload"] for event in heard))
        server.stop()

    def test_only_one_session_is_followed(self):
        server = self.server(Config(self.sink().port))

        def act():
            clients = [self.client(server) for _ in range(3)]
            for _ in range(2):
                for client in clients:
                    client.command("NOOP")
            for client in clients:
                client.command("QUIT")

        heard = self.watch(server, "server", act, lambda event: event["payload"] == "Closed",
                           only_one=True, terse=True)
        self.assertEqual(len({event["conn_meta"]["session_id"] for event in heard}), 1)
        self.assertEqual([event["payload"] for event in heard].count({"Read": "NOOP\r\n"}), 2)
        server.stop()

    def test_who_reads_nothing_loses_events_and_slows_no_mail(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        with socket.create_connection(address_of(server.ready["http"]), SECONDS) as tracer:
            tracer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            tracer.sendall(b"GET /api/admin/trace-smtp-server/v1 HTTP/1.1\r\nHost: localhost\r\n"
                           b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
                           b"Sec-WebSocket-Version: 13\r\n"
                           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                           b"\x81\x82\0\0\0\0{}")
            said = b""
            while b"tracing" not in said:
                said += tracer.recv(4096)
            client = self.client(server)
            for _ in range(30):
                for _ in range(1000):
                    client.socket.sendall(b"VRFY " + b"x" * 400 + b"\r\n")
                for _ in range(1000):
                    client.reply()
            client.submit(CONTENT, ["a@x.test"])
            sink.wait(1)
            while b'{"lost":' not in said:
                said = said[-10:] + tracer.recv(65536)
        server.stop()

    def test_the_command_shows_it_to_people_and_ends_with_ctrl_c(self):
        server = self.server(Config(self.sink().port))
        command = subprocess.Popen(
            [RINGPOST, "trace", "server", "--source", "127.0.0.1", "--source", "::1",
             "--endpoint", f"http://{server.ready['http']}"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(command.stdout.close)
        self.assertIn("= tracing", command.stdout.readline())
        client = self.client(server)
        client.command("AUTH PLAIN AHVzZXI=")
        client.command("NOOP \u0007\u0085")
        client.submit(CONTENT, ["a@x.test"])
        lines = []
        while not lines or "250 2.0.0 OK ids=" not in lines[-1]:
            lines.append(command.stdout.readline())
        said = "".join(lines)
        for text in ("= Connected", "> 220 ", "< EHLO client.test", "< AUTH PLAIN [secret]",
                     "\\u0007", "< Subject: test ... ["):
            self.assertIn(text, said)
        self.assertFalse(any(ord(letter) < 32 and letter != "\n" for letter in said), said)
        command.send_signal(signal.SIGINT)
        self.assertEqual(command.wait(SECONDS), 0)
        server.stop()

    def test_the_command_says_why_not(self):
        server = self.server(Config())
        endpoint = f"http://{server.ready['http']}"
        for arguments, code, text in (
                (["server", "--domain", "x.test"], 2, "trace client"),
                (["everything"], 2, "usage"),
                (["client", "--mx-addr", "none"], 1, "networks"),
                (["server", "--endpoint", "http://127.0.0.1:1"], 1, "127.0.0.1:1"),
                (["server", "--endpoint", "127.0.0.1:1"], 1, "127.0.0.1:1"),
                (["server", "--endpoint", "ftp://here"], 2, "is no endpoint"),
                (["server", "--endpoint", "https://here"], 1, "plain HTTP")):
            done = subprocess.run([RINGPOST, "trace", *arguments], capture_output=True, text=True,
                                  timeout=SECONDS, check=False,
                                  env={**os.environ, "RINGPOST_ENDPOINT": endpoint})
            self.assertEqual(done.returncode, code, arguments)
            self.assertIn(text, done.stderr)
        server.stop()

    def shown(self, handler, *arguments):
        """What the command says of a server that speaks so: exit code, output, errors."""
        async def run():
            async with websockets.serve(handler, "127.0.0.1", 0) as server:
                port = server.sockets[0].getsockname()[1]
                command = await asyncio.create_subprocess_exec(
                    RINGPOST, "trace", "client", "--endpoint", f"127.0.0.1:{port}", *arguments,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                said = await asyncio.wait_for(command.communicate(), SECONDS)
                return command.returncode, *(text.decode() for text in said)
        return asyncio.run(run())

    def test_no_control_character_of_a_server_reaches_the_terminal(self):
        poison = "a\x1b[2J\x7f\x9b\u202eb"

        async def handler(tracer, *_):
            await tracer.recv()
            await tracer.send(json.dumps(
                {"when": "2026-11-30T\x1b[2J\x9b345678901234", "payload": {"Read": poison},
                 "conn_meta": {"session_id": poison}}, ensure_ascii=False))
            await tracer.close(1008, poison)

        for arguments in ([], ["--json"]):
            code, said, errors = self.shown(handler, *arguments)
            self.assertEqual((code, said.count("\n"), errors.count("\n")), (1, 1, 1))
            self.assertIn("a\\u001b[2J", said)
            self.assertIn("1008 a\\u001b[2J", errors)
            for letter in said + errors:
                self.assertTrue(letter.isprintable() or letter == "\n", (said, errors))

    def test_a_server_that_hangs_up_in_the_handshake_is_said_to_do_so(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            command = subprocess.Popen(
                [RINGPOST, "trace", "client", "--endpoint",
                 f"127.0.0.1:{listener.getsockname()[1]}"], stderr=subprocess.PIPE, text=True)
            client, _ = listener.accept()
            with client:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 101 Switching")
            errors = command.communicate(timeout=SECONDS)[1]
        self.assertEqual((command.returncode, errors),
                         (1, "ringpost trace: the connection: closed by the server\n"))

    def test_ctrl_c_ends_the_connecting(self):
        def connecting(port):
            syn_sent = "02"
            with open("/proc/net/tcp", encoding="ascii") as table:
                rows = [line.split() for line in table]
            return sum(row[2].endswith(f":{port:04X}") and row[3] == syn_sent for row in rows)

        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            port = listener.getsockname()[1]
            while connecting(port) == 0:  # until there is no room for more
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
            # Who is begun in the background of a shell ignores the signal, and so do his children.
            command = subprocess.Popen(
                [RINGPOST, "trace", "client", "--endpoint", f"127.0.0.1:{port}"],
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
            self.addCleanup(command.kill)
            wait_until(lambda: connecting(port) == 2, "the connecting")
            command.send_signal(signal.SIGINT)
            self.assertEqual(command.wait(SECONDS), -signal.SIGINT)

    def test_what_makes_no_sense_is_refused(self):
        server = self.server(Config())

        async def ended(filters, **options):
            async with websockets.connect(self.url(server, "server"), **options) as tracer:
                await tracer.send(filters)
                try:
                    await asyncio.wait_for(tracer.recv(), SECONDS)
                except websockets.ConnectionClosed as closed:
                    return closed.rcvd.code, closed.rcvd.reason
                return None, None

        for filters in ('{"domain":"x.test"}', "[]", '{"source":"all"}', '{"only_one":1}', "x"):
            code, reason = asyncio.run(ended(filters))
            self.assertEqual(code, 1008, filters)
            self.assertNotEqual(reason, "")
        with self.assertRaises(websockets.InvalidStatusCode) as refused:
            asyncio.run(ended("{}", origin="http://evil.test"))
        self.assertEqual(refused.exception.status_code, 403)
        server.stop()

    def test_a_stop_ends_it(self):
        server = self.server(Config())

        async def run():
            async with websockets.connect(self.url(server, "client")) as tracer:
                await tracer.send("{}")
                await asyncio.wait_for(tracer.recv(), SECONDS)
                await asyncio.get_running_loop().run_in_executor(None, server.stop)
                with self.assertRaises(websockets.ConnectionClosed):
                    await asyncio.wait_for(tracer.recv(), SECONDS)
        asyncio.run(run())
