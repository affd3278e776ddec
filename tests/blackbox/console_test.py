"""The console in a real browser, on a real server: figures, lists, explanations, failures; names
and replies that would like to be markup; a server that goes and comes back; a phone.

Pictures of the page are kept in build/console, for people to look at.
"""
import http.client
import json
import os
import subprocess
import threading
import urllib.parse

from harness import ROOT, SECONDS, BlackBox, Config, address_of, free_port, wait_until

BROWSER = "/usr/bin/chromium"
PLAYWRIGHT = os.path.join(ROOT, "build", "npm", "playwright-core")
DRIVER = os.path.join(ROOT, "tests", "blackbox", "browser.mjs")
PICTURES = os.path.join(ROOT, "build", "console")

QUEUES = "/api/admin/queues/v1?kind=scheduled&limit=25"
MARKUP = "<img src=x onerror=alert(1)>"
CONFIG = {"queue": {"retry_interval": "1h"},
          "extra": '[queues]\ncampaign_header = "X-Campaign"\n'}


class Browser:
    """Calls a command of browser.mjs: browser.texts(selector="h1")."""

    def __init__(self):
        self.process = subprocess.Popen(
            ["node", DRIVER, PLAYWRIGHT, BROWSER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __getattr__(self, command):
        def call(**options):
            line = json.dumps({"command": command, **options}) + "\n"
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
            said = json.loads(self.process.stdout.readline() or b'{"error": "the browser ended"}')
            if "error" in said:
                raise AssertionError(f"{command} {options}: {said}")
            return said["answer"]
        return call

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(SECONDS)


def on_rcpt(_, recipient, *__):
    if "@gone." in recipient:
        return f"550 5.1.1 No such user {MARKUP} here"
    if "@later." in recipient:
        return "451 4.7.1 Greylisted, come back in an hour"
    return None


class Console(BlackBox):
    def setUp(self):
        super().setUp()
        if not (os.access(BROWSER, os.X_OK) and os.path.isdir(PLAYWRIGHT)):
            self.skipTest("chromium or playwright-core is missing: tools/setup test")
        os.makedirs(PICTURES, exist_ok=True)
        self.browser = Browser()
        self.addCleanup(self.browser.close)

    def ask(self, server, path):
        connection = http.client.HTTPConnection(*address_of(server.ready["http"]),
                                                timeout=SECONDS)
        connection.request("GET", path)
        answer = connection.getresponse()
        said = json.loads(answer.read())
        connection.close()
        return said

    def open(self, server, behind="", width=1440, height=900, scheme="light"):
        self.browser.open(url=f"http://{server.ready['http']}/{behind}", width=width,
                          height=height, scheme=scheme)
        self.browser.wait(selector="#state[data-state=live]")

    def open_following(self, server, **options):
        """What fails from now on is on the page."""
        self.open(server, **options)
        for kind in ("TransientFailure", "Bounce"):
            self.browser.wait(selector=f"#failures[data-follows-{kind}=yes]")

    def picture(self, name, whole=False):
        self.browser.shot(path=os.path.join(PICTURES, f"{name}.png"), whole=whole)

    def total(self, figure):
        text, = self.browser.texts(selector=f"[data-figure={figure}] .small")
        return int(text.split(" ", 1)[0].replace(",", "") or -1)

    def wait_total(self, figure, value):
        wait_until(lambda: self.total(figure) == value, f"{figure} {value} on the page")

    def submit(self, server, count):
        """Of every three one is delivered, one deferred, one bounced; of a campaign with a name."""
        client = self.client(server)
        for number in range(count):
            campaign = [MARKUP, "autumn", "</script><script>alert(2)</script>"][number % 3]
            content = f"X-Campaign: {campaign}\r\nSubject: test\r\n\r\nhello\r\n".encode()
            client.submit(content, [f"user{number}@fine.test", f"user{number}@later.test",
                                    f"user{number}@gone.test"])
        client.quit()

    def assert_no_faults(self, answer=None):
        """An answer of this status is no fault, but browsers tell of it as of one."""
        self.assertEqual([fault for fault in self.browser.faults()
                          if answer is None or f"with a status of {answer}" not in fault], [])

    def test_figures_and_lists_are_those_of_the_api(self):
        server = self.server(Config(self.sink(on_rcpt=on_rcpt).port, **CONFIG))
        self.open_following(server)
        self.assertEqual(self.browser.texts(selector="#queues .empty"), ["No queue has mail."])
        self.picture("empty")
        self.submit(server, 9)
        server.wait_events("TransientFailure", 9)
        server.wait_events("Bounce", 9)
        for figure, total in (("taken", 27), ("delivered", 9), ("deferred", 9), ("bounced", 9)):
            self.wait_total(figure, total)
        listed = self.ask(server, QUEUES)
        self.assertEqual(listed["total_count"], 9)
        self.browser.wait(selector="[data-figure=queued] .value", text="9")
        self.assertEqual(sorted(self.browser.texts(selector="#queues tbody th a")),
                         sorted(queue["name"] for queue in listed["queues"] if queue["count"]))
        self.assertEqual(self.browser.texts(selector="#queues tbody .count"), ["3"] * 3)
        self.assertEqual(self.browser.texts(selector="#reasons .legend .label"), ["not due yet"])
        self.assertEqual(self.browser.texts(selector="#reasons .legend .count"), ["9"])
        self.browser.wait(selector="#failures q", text=f"550 5.1.1 No such user {MARKUP} here")
        self.browser.wait(selector="#failures q", text="451 4.7.1 Greylisted")
        self.assertEqual(self.browser.texts(selector="#failures img"), [])
        self.picture("light", whole=True)
        self.assert_no_faults()
        server.stop()

    def test_l_names_and_replies_stay_text_in_the_explanation(self):
        server = self.server(Config(self.sink(on_rcpt=on_rcpt).port, **CONFIG))
        self.submit(server, 3)
        server.wait_events("TransientFailure", 3)
        name, = [queue["name"] for queue in self.ask(server, QUEUES)["queues"]
                 if MARKUP in queue["name"] and queue["count"] > 0]
        said = self.ask(server, "/api/admin/explain/v1?queue=" + urllib.parse.quote(name))
        self.open(server, scheme="dark")
        self.browser.click(selector=f'#queues a[title="{name}"]')
        self.browser.wait(selector="#explain .verdict", text="all of its mail is deferred")
        self.assertEqual(self.browser.texts(selector="#explain h2"), [name])
        self.assertEqual(self.browser.texts(selector="#explain .facts dd")[0], str(said["count"]))
        self.assertEqual(self.browser.texts(selector="#explain blockquote"),
                         [said["last_response"]])
        self.assertIn("not due yet", self.browser.texts(selector="#explain .legend .label"))
        self.assertEqual(self.browser.texts(selector="#explain img, #queues img"),
                         [])
        self.picture("explain")
        self.open(server, "#queue=" + urllib.parse.quote(name), width=360, height=740)
        self.browser.wait(selector="#explain .verdict")
        self.picture("explain-phone")
        self.assert_no_faults()
        server.stop()

    def test_a_limit_is_named_in_words(self):
        go_on = threading.Event()
        sink = self.sink(on_content=lambda *_: go_on.wait(SECONDS) and None)
        self.addCleanup(go_on.set)
        server = self.server(Config(sink.port, shaping={"connection_limit": 1}))
        client = self.client(server)
        for number in range(3):
            client.submit(b"Subject: test\r\n\r\nhello\r\n", [f"user{number}@slow.test"])
        wait_until(lambda: self.ask(server, "/api/admin/explain/v1?queue=slow.test")["reason"] ==
                   "connection_limit", "the limit")
        self.open(server, "#queue=slow.test")
        self.browser.wait(selector="#explain .verdict", text="because the site allows "
                          "1 connection and it is in use.")
        self.browser.wait(selector="#explain tr.full", text="connection_limit")
        self.picture("limit")
        self.assert_no_faults()
        go_on.set()
        server.wait_events("Delivery", 3)
        server.stop()

    def test_keys_alone_reach_an_explanation_and_leave_it(self):
        server = self.server(Config(self.sink(on_rcpt=on_rcpt).port, **CONFIG))
        self.submit(server, 2)
        server.wait_events("TransientFailure", 2)
        self.open(server)
        self.browser.wait(selector="#queues tbody a")
        for _ in range(12):
            self.browser.press(key="Tab")
            if self.browser.texts(selector="#queues a:focus"):
                break
        focused, = self.browser.texts(selector="#queues a:focus")
        self.browser.press(key="Enter")
        self.browser.wait(selector="#explain .verdict")
        self.assertEqual(self.browser.texts(selector="#explain h2"), [focused])
        self.browser.press(key="Escape")
        self.browser.gone(selector="#explain")
        self.assertEqual(self.browser.texts(selector="#queues a:focus"), [focused])
        self.browser.fill(selector="#subject", text="later.test")
        self.browser.press(key="Enter")
        self.browser.wait(selector="#explain .kind", text="All queues of the domain")
        self.browser.press(key="Escape")
        self.browser.fill(selector="#subject", text="nothing.test")
        self.browser.press(key="Enter")
        self.browser.wait(selector="#explain .empty", text="No mail of this name")
        self.assert_no_faults(answer=404)
        server.stop()

    def test_a_server_that_goes_is_told_of_and_found_again(self):
        server = self.unstarted(Config(self.sink(on_rcpt=on_rcpt).port, **CONFIG))
        port = f"http_listener.0.listen=127.0.0.1:{free_port()}"
        server.start("--set", port)
        self.submit(server, 2)
        server.wait_events("TransientFailure", 2)
        self.open(server)
        self.wait_total("taken", 6)
        server.kill()
        self.browser.wait(selector="#state[data-state=away]", text="no answer since")
        self.browser.wait(selector="body.old")
        self.picture("away")
        server.start("--set", port)
        self.browser.wait(selector="#state[data-state=live]")
        self.browser.wait(selector="body:not(.old)")
        self.wait_total("taken", 0)
        self.browser.wait(selector="[data-figure=queued] .value", text="2")
        self.assert_no_faults(answer=503)  # while it starts
        server.stop()

    def test_a_phone_shows_all_of_it(self):
        server = self.server(Config(self.sink(on_rcpt=on_rcpt).port, **CONFIG))
        self.open_following(server, width=360, height=740)
        self.submit(server, 6)
        self.browser.wait(selector="#queues tbody a")
        self.browser.wait(selector="#failures q")
        for selector in ("header", "main", "#figures", "#charts", "#queues table", "#failures ul",
                         "footer"):
            box = self.browser.box(selector=selector)
            self.assertGreaterEqual(box["x"], 0, selector)
            self.assertLessEqual(box["x"] + box["width"], 360, selector)
        self.picture("phone", whole=True)
        self.open(server, width=2560, height=1440, scheme="dark")
        self.browser.wait(selector="#queues tbody a")
        self.picture("wall")
        self.assert_no_faults()
        server.stop()
