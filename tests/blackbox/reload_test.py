"""The configuration read again: by SIGHUP and over HTTP, all or nothing, under load."""
import http.client
import json
import os
import random
import signal
import threading
import time

from harness import BlackBox, Config, address_of, free_port, pairs, wait_until

CONTENT = b"Subject: test\r\n\r\nhello\r\n"
SECONDS = 20
RELOADS = 1000


class Reload(BlackBox):
    def reload(self, server):
        """The status, and the answer."""
        connection = http.client.HTTPConnection(*address_of(server.ready["http"]),
                                                timeout=SECONDS)
        connection.request("POST", "/api/admin/reload/v1", "{}",
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        return answer.status, json.loads(said)

    def hang_up(self, server):
        """SIGHUP; the line that says what became of it."""
        with server.changed:
            before = len(server.lines)
        server.signal(signal.SIGHUP)
        with server.changed:
            def found():
                return [pairs(line) for line in server.lines[before:]
                        if (line or "").startswith("event=reload applied=")]
            self.assertTrue(server.changed.wait_for(found, SECONDS), server.errors())
            return found()[0]

    def test_what_waits_goes_to_the_new_route(self):
        sink = self.sink()
        server = self.server(Config(free_port(), queue={"retry_interval": "1s"}))
        self.client(server).submit(CONTENT, ["a@x.test", "b@x.test"])
        server.wait_events("TransientFailure", 2)
        server.configure(Config(sink.port, queue={"retry_interval": "1s"}))
        status, said = self.reload(server)
        self.assertEqual(status, 200, said)
        self.assertEqual((said["applied"], said["errors"], said["notes"]), (True, [], []))
        self.assertEqual([(one["key"], one["new"], one["effect"]) for one in said["changed"]],
                         [("queues.queue.default.protocol.smtp.mx_list",
                           f'["[127.0.0.1]:{sink.port}"]', "now")])
        sink.wait(1)
        server.wait_events("Delivery", 2)
        self.assertEqual(self.reload(server)[1],
                         {"applied": True, "changed": [], "errors": [],
                          "notes": ["nothing has changed"]})
        server.stop()

    def test_sighup_does_the_same_and_names_what_needs_a_restart(self):
        server = self.server(Config(2626))
        server.configure(Config(2626, node={"stop_timeout": "7s"}, shaping={"max_ready": 7}))
        line = self.hang_up(server)
        self.assertEqual((line["applied"], line["changed"], line["restart"]), ("yes", "1", "1"))
        expected = ['event=reload key=node.stop_timeout new="\\"7s\\"" effect=restart',
                    "event=reload key=shaping.default.max_ready new=7 effect=now"]
        with server.changed:
            self.assertTrue(server.changed.wait_for(
                lambda: [line for line in server.lines
                         if "event=reload key=" in (line or "")] == expected, SECONDS),
                server.errors())
        line = self.hang_up(server)  # what is missing is told again
        self.assertEqual((line["applied"], line["changed"], line["restart"]), ("yes", "0", "1"))
        server.stop()

    def test_a_session_has_the_new_options_with_its_next_transaction(self):
        sink = self.sink()
        server = self.server(Config(sink.port))
        client = self.client(server)

        def say(line, code):
            self.assertEqual(client.command(line).code, code)

        say("MAIL FROM:<a@c.test>", 250)
        say("RCPT TO:<b@x.test>", 250)
        server.configure(Config(sink.port, listener={"relay_hosts": []}))
        self.assertEqual(self.reload(server)[0], 200)
        say("RCPT TO:<c@x.test>", 250)
        self.assertEqual(client.data(CONTENT).code, 250)
        say("MAIL FROM:<a@c.test>", 250)
        say("RCPT TO:<b@x.test>", 550)
        sink.wait(1)
        server.stop()

    def test_g06_a_file_that_others_may_write_changes_nothing(self):
        config = Config(2626)
        server = self.server(config)
        server.configure(Config(2626, shaping={"max_ready": 7}))
        os.chmod(server.config_path, 0o666)
        status, said = self.reload(server)
        self.assertEqual((status, said["applied"]), (422, False), said)
        self.assertIn("others may write to it", said["errors"][0])
        self.assertEqual(self.hang_up(server)["applied"], "no")
        os.chmod(server.config_path, 0o644)
        self.assertEqual(self.hang_up(server)["changed"], "1")
        server.stop()

    def test_who_is_trusted_over_http_follows_at_once(self):
        config = Config(2626, extra='trusted_hosts = ["127.0.0.1"]\n')
        server = self.server(config)
        server.configure(Config(2626, extra='trusted_hosts = ["192.0.2.1"]\n'))
        self.assertEqual(self.reload(server)[0], 200)
        connection = http.client.HTTPConnection(*address_of(server.ready["http"]),
                                                timeout=SECONDS)
        connection.request("GET", "/api/admin/queues/v1")
        self.assertEqual(connection.getresponse().status, 403)
        connection.close()
        server.configure(config)
        self.assertEqual(self.hang_up(server)["changed"], "1")
        self.assertEqual(self.reload(server)[0], 200)
        server.stop()

    def test_the_event_log_has_its_new_options_with_what_is_under_way(self):
        sink = self.sink()
        server = self.server(Config(sink.port, log={"flush_interval": "60s"}))
        self.client(server).submit(CONTENT)
        sink.wait(1)
        self.assertEqual(server.events(), [])
        server.configure(Config(sink.port, log={"flush_interval": "50ms",
                                                "compression_level": 9}))
        line = self.hang_up(server)
        self.assertEqual((line["applied"], line["changed"], line["restart"]), ("yes", "2", "0"))
        self.client(server).submit(CONTENT)
        server.wait_events("Delivery", 2)
        server.stop()

    def test_mail_of_a_tenant_that_is_removed_goes_on_by_the_defaults(self):
        sink = self.sink()

        def config(tenant):
            return Config(sink.port, extra='[queues]\ntenant_header = "X-Tenant"\n' + tenant)

        gone = (f'[queues.tenant.t]\nprotocol.smtp.mx_list = ["[127.0.0.1]:{free_port()}"]\n'
                'max_retry_interval = "1s"\n')
        server = self.server(config(gone))
        client = self.client(server)
        client.submit(b"X-Tenant: t\r\n" + CONTENT, ["a@x.test"])
        server.wait_events("TransientFailure", 1)
        server.configure(config(""))
        status, said = self.reload(server)
        self.assertEqual((status, said["applied"]), (200, True), said)
        record, = server.wait_events("Delivery", 1)
        self.assertEqual(record["queue"], "t@x.test")
        # Mail that names it is refused from now on.
        client.envelope("a@c.test", ["a@x.test"])
        self.assertEqual(client.data(b"X-Tenant: t\r\n" + CONTENT).code, 550)
        server.stop()

    def test_f26_a_bad_file_changes_nothing_at_any_moment(self):
        sink = self.sink()
        trap = self.sink()
        server = self.server(Config(sink.port))
        client = self.client(server)
        whole = Config(trap.port).text()
        seed = random.randrange(2 ** 32)
        print(f"seed {seed}")
        chance = random.Random(seed)
        bad = [whole + "[nowhere]\n", whole.replace("retry_interval", "retry_intervall"),
               "\0" + whole, "\ufeff[" + whole, whole + "a = 1\n" * 2, whole + 'b = "']
        for text in bad + [whole[:whole.rindex('"')] for _ in range(3)]:
            server.configure(text)
            status, said = self.reload(server)
            self.assertEqual((status, said["applied"], said["changed"]), (422, False, []), text)
            self.assertRegex(said["errors"][0], r"t\.toml:\d+:\d+: error: ")
            client.submit(CONTENT, ["a@x.test"])
        os.rename(server.config_path, server.config_path + ".away")
        status, said = self.reload(server)
        self.assertEqual(status, 422)
        self.assertRegex(said["errors"][0], "error: cannot read .*t.toml: No such file")
        self.assertEqual(self.hang_up(server)["applied"], "no")
        client.submit(CONTENT, ["a@x.test"])
        sink.wait(10)
        self.assertEqual(trap.mails, [])
        # Cut anywhere it is bad, or a smaller one; never something in between.
        for _ in range(20):
            text = whole[:chance.randrange(len(whole))]
            server.configure(text)
            code, _ = self.run_daemon("--check", "-c", server.config_path)
            status, said = self.reload(server)
            self.assertEqual(status, 200 if code == 0 else 422, text)
        server.stop()

    def resident(self, server):
        with open(f"/proc/{server.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def test_f26_a_thousand_reloads_under_load_lose_nothing(self):
        sinks = [self.sink(), self.sink()]
        trap = self.sink()
        server = self.server(Config(sinks[0].port))
        ended = threading.Event()
        sent = []

        def load(number):
            client = self.client(server)
            while not ended.is_set():
                client.submit(CONTENT, [f"{number}-{len(sent)}@x{number}.test"])
                sent.append(number)
                time.sleep(0.002)

        threads = [threading.Thread(target=load, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        early = 0
        try:
            for i in range(RELOADS):
                good = i % 2 == 0
                config = Config(sinks[i // 2 % 2].port if good else trap.port,
                                shaping={"connection_limit": 1 + i % 7})
                server.configure(config.text() + ("" if good else "[[smtp_listener]\n"))
                status, said = self.reload(server)
                self.assertEqual(status, 200 if good else 422, said)
                if i == RELOADS // 5:
                    early = self.resident(server)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        late = self.resident(server)
        print(f"{len(sent)} messages, {early >> 10} KiB, then {late >> 10} KiB")
        wait_until(lambda: sum(len(sink.mails) for sink in sinks) >= len(sent), "all mail")
        self.assertEqual(sum(len(sink.mails) for sink in sinks), len(sent))
        self.assertEqual(trap.mails, [])
        self.assertLess(late, early + (16 << 20))
        server.stop()

    def test_g09_a_storm_is_a_few_and_a_stop_ends_it(self):
        server = self.server(Config(2626))
        for i in range(300):
            server.configure(Config(2626, shaping={"max_ready": i + 1}))
            server.signal(signal.SIGHUP)
        server.configure(Config(2626, shaping={"max_ready": 4321}))
        status, said = self.reload(server)
        self.assertEqual(status, 200, said)
        server.signal(signal.SIGHUP)
        status, said = self.reload(server)  # its own answer: lines of the storm may still come
        self.assertEqual((status, said["changed"]), (200, []))  # the last one won
        for _ in range(50):
            server.signal(signal.SIGHUP)
        server.stop()


if __name__ == "__main__":
    import unittest
    unittest.main()
