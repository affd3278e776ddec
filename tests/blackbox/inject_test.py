"""Injection over HTTP: the request bodies that KumoMTA documents, and what arrives of them."""
import base64
import email
import email.policy
import gzip
import http.client
import json
import threading

from harness import BlackBox, Config, address_of, wait_until

SECONDS = 30
PATH = "/api/inject/v1"
# As KumoMTA documents them: a whole message, and the builder.
WHOLE = {
    "envelope_sender": "noreply@example.com",
    "content": "From: Me <me@example.com>\nSubject: hello!\n\nHello {{ name }}, {{ town }}\n",
    "recipients": [
        {"email": "recipient@example.com", "name": "John Smith",
         "substitutions": {"town": "Springfield"}},
    ],
}
BUILDER = {
    "envelope_sender": "some@example.com",
    "content": {
        "text_body": "This is the plain text part, {{ name }}",
        "html_body": "<p>This is the <b>HTML</b> part, {{ name }}</p>",
        "attachments": [
            {"data": "hello", "content_type": "text/plain", "file_name": "hello.txt",
             "content_id": "my-image", "base64": False},
            {"data": base64.b64encode(b"\x00\x01\x02" * 300).decode(),
             "content_type": "application/octet-stream", "file_name": "a b.bin", "base64": True},
        ],
        "headers": {"X-Campaign": "news {{ name }}"},
        "from": {"email": "info@example.com", "name": "The Sender"},
        "subject": "Subject for {{ name }}",
        "reply_to": {"email": "help@example.com", "name": "Help"},
    },
    "recipients": [{"email": "a@example.com", "name": "Ann"},
                   {"email": "b@example.com", "name": "Zoë & Co"}],
}


def parsed(mail):
    return email.message_from_bytes(mail.content, policy=email.policy.default)


class Inject(BlackBox):
    def begin(self, sink=None, **config):
        self.sink_server = sink or self.sink()
        self.mta = self.server(Config(self.sink_server.port, **config))
        self.http = address_of(self.mta.ready["http"])
        return self.sink_server

    def ask(self, body, headers=None, method="POST"):
        connection = http.client.HTTPConnection(*self.http, timeout=SECONDS)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, PATH, raw, {"Content-Type": "application/json",
                                               **(headers or {})})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        return answer.status, said.decode(), answer

    def inject(self, body, headers=None):
        status, said, _ = self.ask(body, headers)
        self.assertEqual(status, 200, said)
        return json.loads(said)

    def test_a_whole_message_is_templated_for_each_recipient(self):
        sink = self.begin()
        said = self.inject(WHOLE)
        self.assertEqual({key: said[key] for key in said if key != "ids"},
                         {"success_count": 1, "fail_count": 0, "failed_recipients": [],
                          "errors": []})
        mail, = sink.wait(1)
        self.assertEqual(mail.sender, "noreply@example.com")
        self.assertEqual(mail.recipients, ["recipient@example.com"])
        self.assertEqual(mail.content, b"From: Me <me@example.com>\r\nSubject: hello!\r\n\r\n"
                                       b"Hello John Smith, Springfield\r\n")
        record, = self.mta.wait_events("Reception", 1)
        self.assertEqual(record["reception_protocol"], "HTTP")
        self.assertEqual(record["id"], said["ids"][0]["id"])
        self.assertEqual(record["peer_address"]["addr"].split(":")[0], "127.0.0.1")
        delivery, = self.mta.wait_events("Delivery", 1)
        self.assertEqual((delivery["reception_protocol"], delivery["id"]), ("HTTP", record["id"]))
        self.mta.stop()

    def test_the_builder_makes_a_message_for_each_recipient(self):
        sink = self.begin()
        said = self.inject(BUILDER)
        self.assertEqual((said["success_count"], said["fail_count"]), (2, 0))
        for mail in sink.wait(2):
            message = parsed(mail)
            name = {"a@example.com": "Ann", "b@example.com": "Zoë & Co"}[mail.recipients[0]]
            self.assertEqual(message["Subject"], f"Subject for {name}")
            self.assertEqual(message["X-Campaign"], f"news {name}")
            self.assertEqual(message["From"].addresses[0].addr_spec, "info@example.com")
            self.assertEqual(message["To"].addresses[0].display_name, name)
            self.assertEqual(message["To"].addresses[0].addr_spec, mail.recipients[0])
            self.assertEqual(message["Reply-To"].addresses[0].addr_spec, "help@example.com")
            self.assertTrue(message["Message-ID"] and message["Date"])
            text = message.get_body(("plain",)).get_content().strip()
            self.assertEqual(text, f"This is the plain text part, {name}")
            html = message.get_body(("html",)).get_content().strip()
            escaped = name.replace("&", "&amp;")
            self.assertEqual(html, f"<p>This is the <b>HTML</b> part, {escaped}</p>")
            parts = {part.get_filename(): part for part in message.walk() if part.get_filename()}
            self.assertEqual(parts["a b.bin"].get_content(), b"\x00\x01\x02" * 300)
            self.assertEqual(parts["hello.txt"]["Content-ID"], "<my-image>")
            self.assertNotIn("Received", message)
        self.mta.stop()

    def test_a_thousand_recipients_in_one_request_get_one_message_each(self):
        sink = self.begin()
        body = dict(WHOLE, recipients=[
            {"email": f"r{i}@example.com", "name": f"N{i}", "substitutions": {"town": f"T{i}"}}
            for i in range(1000)])
        said = self.inject(body)
        self.assertEqual((said["success_count"], said["fail_count"]), (1000, 0))
        self.assertEqual([entry["count"] for entry in said["ids"]], [1] * 1000)
        self.assertEqual(len({entry["id"] for entry in said["ids"]}), 1000)
        seen = set()
        for mail in sink.wait(1000):
            to, = mail.recipients
            number = to.split("@")[0][1:]
            seen.add(to)
            self.assertTrue(mail.content.endswith(f"Hello N{number}, T{number}\r\n".encode()))
        self.assertEqual(len(seen), 1000)
        self.mta.stop()

    def test_who_gets_the_same_content_shares_one_message(self):
        sink = self.begin()
        body = dict(WHOLE, content="Subject: all\n\n{ same }}\n.\n..x",
                    recipients=[{"email": f"r{i}@example.com"} for i in range(1500)])
        said = self.inject(body)
        self.assertEqual([entry["count"] for entry in said["ids"]], [1000, 500])
        got = wait_until(lambda: sum(len(m.recipients) for m in sink.mails) >= 1500 and sink.mails,
                         "all recipients")
        self.assertEqual({to for mail in got for to in mail.recipients},
                         {f"r{i}@example.com" for i in range(1500)})
        self.assertEqual({mail.content for mail in got},
                         {b"Subject: all\r\n\r\n{ same }}\r\n.\r\n..x\r\n"})
        self.assertLess(len(got), 1500)
        self.mta.stop()

    def test_dialects_and_substitutions(self):
        sink = self.begin()
        for dialect, content in (
                ("Jinja", "Subject: x\n\n{% if vip %}VIP {% endif %}{{ name }} {{ global }}\n"),
                ("Handlebars", "Subject: x\n\n{{#if vip}}VIP {{/if}}{{name}} {{global}}\n"),
                ("Static", "Subject: x\n\n{{ name }} {% never\n")):
            self.inject({"envelope_sender": "s@example.com", "content": content,
                         "template_dialect": dialect, "substitutions": {"global": "G", "vip": 1},
                         "recipients": [{"email": "r@example.com", "name": "N",
                                         "substitutions": {"global": "mine"}}]})
        bodies = sorted(mail.content.split(b"\r\n\r\n")[1] for mail in sink.wait(3))
        self.assertEqual(bodies[0].strip(), b"VIP N mine")
        self.assertEqual(bodies[1].strip(), b"VIP N mine")
        self.assertEqual(bodies[2], b"{{ name }} {% never\r\n")
        self.mta.stop()

    def test_large_messages_and_compressed_requests(self):
        sink = self.begin(extra='request_body_limit = "2MiB"\n')
        text = "".join(f"{i} ..{'x' * (i % 700)}\n.{i}\n" for i in range(4000))
        body = dict(WHOLE, content="Subject: large\n\n" + text, template_dialect="Static")
        said = self.inject(gzip.compress(json.dumps(body).encode()),
                           {"Content-Encoding": "gzip"})
        self.assertEqual(said["success_count"], 1)
        mail, = sink.wait(1)
        self.assertEqual(mail.content,
                         b"Subject: large\r\n\r\n" + text.replace("\n", "\r\n").encode())
        self.assertGreater(len(mail.content), 1000000)
        status, _, _ = self.ask(dict(WHOLE, content="Subject: x\n\n" + "y\n" * 1100000))
        self.assertEqual(status, 413)
        self.mta.stop()

    def test_trace_headers_put_a_received_field(self):
        sink = self.begin()
        self.inject(dict(WHOLE, trace_headers={"received_header": True}))
        mail, = sink.wait(1)
        self.assertIn(b"with HTTP id ", mail.trace)
        self.assertIn(b"from unknown ([127.0.0.1])\r\n by mta.test (Ringpost)\r\n", mail.trace)
        self.mta.stop()

    def test_h09_h11_requests_that_are_none_are_refused_by_name(self):
        self.begin()
        cases = (
            (b"{", 400, "not one JSON document"), (b"[]", 400, "request: not an object"),
            (b"{} {}", 400, "not one JSON document"),
            (b'{"content":"x","content":"y"}', 400, "content"),
            (b"[" * 100000, 400, "not one JSON document"),
            (b"[" * 65 + b"]" * 65, 400, "nested too deep"),
            (dict(WHOLE, envelope_sender="a\r\nRCPT TO:<x@y>"), 400, "envelope_sender"),
            (dict(WHOLE, envelope_sender=None), 400, "envelope_sender: missing"),
            (dict(WHOLE, recipients=[]), 400, "recipients"),
            (dict(WHOLE, recipients=[{"name": "x"}]), 400, "recipients[0].email"),
            (dict(WHOLE, recipients=[{"email": 7}]), 400, "recipients[0].email"),
            (dict(WHOLE, nonsense=1), 400, "nonsense"),
            (dict(WHOLE, recipients=[{"email": "a@example.com", "metadata": {"a": "x" * 1024}}]),
             400, "recipients[0].metadata: more than 1,024 bytes"),
            (dict(WHOLE, recipients=[{"email": "a@example.com", "metadata": {"a" * 65: 1}}]), 400,
             "recipients[0].metadata"),
            (dict(WHOLE, recipients=[{"email": "a@example.com", "metadata": [1]}]), 400,
             "recipients[0].metadata: not an object"),
            (dict(WHOLE, template_dialect="Perl"), 400, "template_dialect"),
            (dict(WHOLE, content="Subject: x\n\n{{ name"), 422, "content: line 3"),
            (dict(WHOLE, content="Subject: x\n\n{{ name|nosuch }}"), 422, "nosuch"),
            (dict(WHOLE, content="Subject: x\n\n{{ name.a.b }}"), 422, "content: line 3"),
            (dict(WHOLE, content="no field\n\nx"), 422, "content"),
            (dict(WHOLE, content="Subject: x\n\n" + "y" * 999), 422, "998"),
        )
        for body, status, word in cases:
            got, said, _ = self.ask(body)
            self.assertEqual(got, status, (word, said))
            self.assertIn(word, said)
        for method in ("GET", "PUT"):
            self.assertEqual(self.ask(b"", method=method)[0], 405)
        status, said, _ = self.ask(WHOLE, {"Idempotency-Key": "k" * 256})
        self.assertEqual((status, said),
                         (400, "Idempotency-Key: wants one, of 255 bytes at most\n"))
        many = dict(WHOLE, recipients=[{"email": f"r{i}@example.com"} for i in range(1001)])
        self.assertEqual(self.ask(many, {"Idempotency-Key": "many"})[0], 413)
        status, _, _ = self.ask(WHOLE, {"Content-Type": "text/plain"})
        self.assertEqual(status, 415)
        self.assertEqual(self.mta.stop()["recipients_received"], 0)

    def test_h15_the_same_key_gets_the_same_answer_after_a_kill_too(self):
        sink = self.begin()
        headers = {"Idempotency-Key": "5e2a6c1e"}
        body = dict(BUILDER, recipients=BUILDER["recipients"] + [{"email": "no address"}])
        status, first, _ = self.ask(body, headers)
        self.assertEqual(status, 200, first)
        self.assertEqual(json.loads(first)["success_count"], 2)
        self.assertEqual(self.ask(body, headers)[:2], (200, first))
        sink.wait(2)
        self.mta.wait_events("Delivery", 2)
        self.mta.kill()
        self.mta.start()
        self.http = address_of(self.mta.ready["http"])
        self.assertEqual(self.ask(body, headers)[:2], (200, first))
        status, said, _ = self.ask(WHOLE, headers)
        self.assertEqual((status, said),
                         (422, "Idempotency-Key: it was used for another request\n"))
        # Nothing was stored, so the key is as it was before.
        nobody = {"Idempotency-Key": "nobody"}
        status, said, _ = self.ask(dict(WHOLE, recipients=[{"email": "x"}]), nobody)
        self.assertEqual((status, json.loads(said)["fail_count"]), (200, 1))
        self.assertEqual(json.loads(self.ask(WHOLE, nobody)[1])["success_count"], 1)
        sink.wait(3)
        stopped = self.mta.stop()
        self.assertEqual(len(sink.mails), 3)
        self.assertEqual(stopped["inject_repeats"], 1)
        self.assertEqual(stopped["inject_voided"], 0)

    def test_inject_rate_answers_503_and_says_when(self):
        sink = self.begin(extra='inject_rate = "2/m"\n')
        two = dict(WHOLE, recipients=[{"email": f"r{i}@example.com"} for i in range(2)])
        self.inject(two)
        status, said, answer = self.ask(WHOLE)
        self.assertEqual((status, said),
                         (503, "4.3.2 More recipients than inject_rate, come again later\n"))
        self.assertIn(int(answer.headers["Retry-After"]), range(1, 31))
        sink.wait(2)
        self.assertEqual(self.mta.stop()["inject_rate_refused"], 1)

    def test_h10_no_substitution_makes_a_header_field(self):
        sink = self.begin()
        evil = "x\r\nBcc: evil@example.com\r\n\r\nbody"
        for content in ("Subject: {{ town }}\n\nhello\n",
                        {"subject": "{{ town }}", "text_body": "hello",
                         "from": {"email": "a@example.com"}},
                        {"headers": {"X-A": "{{ town }}"}, "text_body": "hello",
                         "from": {"email": "a@example.com"}}):
            status, said, _ = self.ask(dict(WHOLE, content=content, recipients=[
                {"email": "r@example.com", "substitutions": {"town": evil}}]))
            self.assertEqual(status, 422, said)
            self.assertIn("content", said)
        self.inject(dict(WHOLE, content="Subject: x\n\n{{ town }}\n", recipients=[
            {"email": "r@example.com", "substitutions": {"town": evil}}]))
        mail, = sink.wait(1)
        self.assertEqual(parsed(mail).keys(), ["Subject"])
        self.mta.stop()

    def test_h11_h14_a_bad_recipient_costs_the_others_nothing(self):
        sink = self.begin()
        bad = ["", "no-domain", "a@b@c", "x@example.com>\r\nDATA", "y@example.com\r\nRCPT TO:<z@q>",
               "<q@example.com>", "a b@example.com", "u@" + "d" * 300]
        recipients = [{"email": "first@example.com"}]
        for address in bad:
            recipients += [{"email": address}, {"email": f"good{len(recipients)}@example.com"}]
        good = {entry["email"] for entry in recipients} - set(bad)
        for content in ("Subject: x\n\nsame\n", "Subject: x\n\n{{ email }}\n"):
            sink.mails.clear()
            said = self.inject(dict(WHOLE, content=content, recipients=recipients))
            self.assertEqual((said["success_count"], said["fail_count"]), (len(good), len(bad)))
            self.assertEqual(said["failed_recipients"], bad)
            for address, error in zip(bad, said["errors"]):
                self.assertEqual(error, f"{address}: 501 5.1.3 Malformed recipient address")
            self.assertEqual(sum(entry["count"] for entry in said["ids"]), len(good))
            wait_until(lambda: sum(len(m.recipients) for m in sink.mails) >= len(good), "mail")
            self.assertEqual({to for mail in sink.mails for to in mail.recipients}, good)
        self.mta.stop()

    def test_h13_templates_have_a_budget(self):
        self.begin()
        loops = "".join(f"{{% for a{i} in l %}}" for i in range(8))
        ends = "{% endfor %}" * 8
        status, said, _ = self.ask(dict(
            WHOLE, content=f"Subject: x\n\n{loops}x{ends}", substitutions={"l": [1] * 100},
            recipients=[{"email": f"r{i}@example.com"} for i in range(20)]))
        self.assertEqual(status, 422, said)
        self.assertIn("steps", said)
        self.mta.stop()

    def test_what_was_acknowledged_survives_a_kill(self):
        sink = self.begin(self.sink(on_rcpt=lambda *_: "450 4.2.0 not now"))
        acknowledged = []
        lock = threading.Lock()

        def work(number):
            for i in range(1000):
                names = [f"w{number}.{i}.{j}@example.com" for j in range(20)]
                try:
                    status, said, _ = self.ask(dict(
                        WHOLE, recipients=[{"email": name} for name in names],
                        content="Subject: x\n\n{{ email }}\n"))
                except (OSError, http.client.HTTPException):
                    return
                if status == 200:
                    failed = set(json.loads(said)["failed_recipients"])
                    with lock:
                        acknowledged.extend(name for name in names if name not in failed)

        workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for worker in workers:
            worker.start()
        wait_until(lambda: len(acknowledged) > 1000, "a thousand acknowledged")
        self.mta.kill()
        for worker in workers:
            worker.join()
        sink.on_rcpt = lambda *_: None
        self.mta.start()
        wanted = set(acknowledged)
        wait_until(lambda: wanted <= {to for m in list(sink.mails) for to in m.recipients}, "mail")
        self.mta.stop()

    def test_h15_a_client_that_goes_away_has_sent_a_whole_request(self):
        sink = self.begin()
        body = json.dumps(dict(WHOLE, recipients=[{"email": f"r{i}@example.com"}
                                                  for i in range(500)])).encode()
        connection = http.client.HTTPConnection(*self.http, timeout=SECONDS)
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        connection.close()
        half = http.client.HTTPConnection(*self.http, timeout=SECONDS)
        half.putrequest("POST", PATH)
        half.putheader("Content-Type", "application/json")
        half.putheader("Content-Length", str(len(body)))
        half.endheaders(body[:-10])
        half.close()
        sink.wait(500)
        self.assertEqual(self.mta.stop()["recipients_received"], 500)

    def test_h16_a_stop_in_the_middle_lists_what_was_not_taken(self):
        sink = self.begin()
        body = dict(WHOLE, recipients=[{"email": f"r{i}@example.com"} for i in range(20000)])
        said = {}

        def work():
            said["answer"] = self.ask(body)

        worker = threading.Thread(target=work)
        worker.start()
        sink.wait(1)
        counters = self.mta.stop()
        worker.join()
        status, text, _ = said["answer"]
        self.assertEqual(status, 200, text)
        answer = json.loads(text)
        self.assertEqual(answer["success_count"] + answer["fail_count"], 20000)
        self.assertGreater(answer["success_count"], 0)
        self.assertGreater(answer["fail_count"], 0, "the stop came too late")
        self.assertEqual(answer["success_count"], counters["recipients_received"])
        self.assertEqual(len(answer["failed_recipients"]), answer["fail_count"])
        self.assertTrue(all("421 4.3.2 Shutting down" in error for error in answer["errors"]))

    def test_domains_without_a_route_and_tenants_nobody_knows(self):
        sink = self.sink()
        self.mta = self.server(Config(extra=f"""
[queues]
tenant_header = "X-Tenant"
[queues.queue."example.com"]
protocol = {{ smtp = {{ mx_list = ["[127.0.0.1]:{sink.port}"] }} }}
"""))
        self.http = address_of(self.mta.ready["http"])
        said = self.inject(dict(WHOLE, recipients=[{"email": "a@example.com"},
                                                   {"email": "b@[127.0.0.1]"}]))
        self.assertEqual(said["failed_recipients"], ["b@[127.0.0.1]"])
        self.assertEqual(said["errors"], ["b@[127.0.0.1]: 550 5.4.4 This destination is "
                                          "prohibited"])
        said = self.inject(dict(WHOLE, content="X-Tenant: nobody\nSubject: x\n\n{{ email }}"))
        self.assertEqual(said["errors"], ["recipient@example.com: 550 5.7.1 This tenant is not "
                                          "defined"])
        self.assertEqual(said["ids"], [])
        self.assertEqual(len(sink.wait(1)), 1)
        self.mta.stop()
