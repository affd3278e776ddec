"""Strangers, and the domains by which their mail is relayed."""
import os
import subprocess

from harness import BlackBox, Config, RINGPOST, RINGPOSTD

CONTENT = b"Subject: test\r\n\r\nhello\r\n"
STRANGERS = {"relay_hosts": []}
FILES = '[domains]\nfiles = ["listener_domains.toml"]\n'
BLOCKS = """\
["in.test"]
relay_to = true
["*.in.test"]
relay_to = true
["no.in.test"]
relay_to = false
["out.test"]
relay_from = ["127.0.0.0/8"]
["there.test"]
relay_from = ["192.0.2.0/24"]
[listener."127.0.0.1:0"."here.test"]
relay_to = true
[listener."127.0.0.1:25"."elsewhere.test"]
relay_to = true
"""
ROWS = (("a@c.test", "b@in.test", 250), ("", "b@X.In.Test", 250), ("a@c.test", "b@here.test", 250),
        ("a@out.test", "b@d.test", 250), ("a@c.test", "b%d.test@in.test", 250),
        ("a@c.test", "b@no.in.test", 550), ("a@c.test", "b@elsewhere.test", 550),
        ("a@c.test", "b@d.test", 550), ("a@in.test", "b@d.test", 550), ("", "b@d.test", 550),
        ("a@there.test", "b@d.test", 550), ("a@c.test", "b@out.test", 550),
        ("a@c.test", "@in.test:b@d.test", 550), ('"a@out.test"@c.test', "b@d.test", 550),
        ("a@c.test", '"b@in.test"@d.test', 550), ("a@c.test", "b@[127.0.0.1]", 550))


class Relay(BlackBox):
    def relay(self, sink):
        self.write(BLOCKS)
        return self.server(Config(sink.port, listener=STRANGERS, extra=FILES))

    def write(self, text, name="listener_domains.toml"):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_s42_strangers_relay_by_domain_and_in_no_other_way(self):
        sink = self.sink()
        server = self.relay(sink)
        client = self.client(server)
        for sender, recipient, code in ROWS:
            with self.subTest(sender=sender, recipient=recipient):
                self.assertEqual(client.command(f"MAIL FROM:<{sender}>").code, 250)
                reply = client.command(f"RCPT TO:<{recipient}>")
                self.assertEqual(reply.code, code, reply)
                self.assertEqual(client.command("RSET").code, 250)
                if code == 550:  # errors have a budget
                    client.close()
                    client = self.client(server)
        client.submit(CONTENT, ["b@in.test"])
        sink.wait(1)
        server.wait_events("Delivery", 1)
        self.assertEqual(len(server.wait_events("Rejection", 11)), 11)
        server.stop()

    def test_s42_a_reload_gives_and_takes_the_right(self):
        server = self.relay(self.sink())
        client = self.client(server)
        self.assertEqual(client.envelope("a@c.test", ["b@in.test"])[1].code, 250)
        self.write('["in.test"]\nrelay_to = false\n["d.test"]\nrelay_to = true\n')
        subprocess.run([RINGPOST, "reload", "--endpoint", f"http://{server.ready['http']}"],
                       stdout=subprocess.DEVNULL, check=True)
        self.assertEqual(client.command("RCPT TO:<c@in.test>").code, 250)  # it began before
        self.assertEqual(client.command("RSET").code, 250)
        replies = client.envelope("a@c.test", ["b@in.test", "b@d.test"])
        self.assertEqual([reply.code for reply in replies], [250, 550, 250])
        server.stop()

    def test_check_names_what_is_not_built_and_an_open_relay(self):
        path = self.write(FILES, "t.toml")
        for text, code, said in (
                ('["a.test"]\nlog_arf = 1\n', 3, "listener_domains.toml:2:1: error: log_arf wants "
                 "true, false, or one of"),
                ('["*"]\nlog_oob = true\n', 0, "anybody who can connect may send reports"),
                ('["a.test"]\nrelay_from_authz = ["x"]\n', 3, "relay_from_authz: not built yet"),
                ('["*"]\nrelay_to = true\n', 0, "anybody who can connect"),
                (BLOCKS, 0, 'no [[smtp_listener]] listens on "127.0.0.1:25"')):
            self.write(text)
            check = subprocess.run([RINGPOSTD, "--check", "-c", path], capture_output=True,
                                   text=True, check=False)
            self.assertEqual(check.returncode, code, check.stderr)
            self.assertIn(said, check.stderr + check.stdout)
