"""Every form of a request to inject that KumoMTA documents, as it stands in tests/fixtures/inject:
taken, and made into what it says."""
import email
import email.policy
import glob
import http.client
import json
import os

from harness import ROOT, BlackBox, Config, address_of

FORMS = os.path.join(ROOT, "tests", "fixtures", "inject")
SECONDS = 30


def texts(message):
    """Type and content of each part that has one; texts without the line end they may have."""
    return {part.get_content_type(): part.get_content().strip()
            if part.get_content_maintype() == "text" else part.get_content()
            for part in message.walk() if not part.is_multipart()}


# For each form: fields of the messages, or None for those that are not there; and parts of them. In
# the order of recipients.
EXPECTED = {
    "whole-message": [({"Subject": "hello!", "Received": None}, {"text/plain": "Hello"})],
    "whole-message-with-substitutions": [
        ({"To": "John Smith <recipient@example.com>"},
         {"text/plain": "Hello John Smith, you are in Springfield."}),
        ({"To": "Jane Doe <other@example.com>"},
         {"text/plain": "Hello Jane Doe, you are in Shelbyville."})],
    "whole-message-to-header": [({"To": "John Smith <recipient@example.com>"}, {})],
    "builder-text": [({"Subject": "This is the subject", "To": "recipient@example.com",
                       "From": "The Sender <info@example.com>"},
                      {"text/plain": "This is the plain text part"})],
    "builder-html": [({"Subject": "Hello John Smith", "From": "info@example.com"},
                      {"text/html": "<p>Hello John Smith</p>"})],
    "builder-all": [
        ({"Subject": "This is the subject", "X-Campaign": "spring 7", "X-Other": "value",
          "Reply-To": "Help <help@example.com>", "From": "The Sender <info@example.com>"},
         {"text/html": "<p>This is the <b>HTML</b> part, John Smith</p>", "image/png": b"hello",
          "text/x-amp-html": "<!doctype html><html amp4email><body>John Smith</body></html>"})],
    "builder-headers-alone": [({"From": "Me <me@example.com>", "To": "you <you@example.com>",
                                "Subject": "From a header"}, {"text/plain": "Hello"})],
    "dialect-static": [({"Subject": "{{ name }}"}, {"text/plain": "{{ name }}"})],
    "dialect-handlebars": [({"Subject": "John Smith"}, {"text/plain": "a;b;"})],
    "dialect-jinja": [({"Subject": "JOHN SMITH"}, {"text/plain": "a;b;"})],
    "deferred": [({"Subject": "hello!"}, {"text/plain": "Hello"})],
    "trace-headers": [({"Subject": "hello!"}, {"text/plain": "Hello"})],
    "nulls-where-nothing-is-given": [({"From": "info@example.com", "Reply-To": None},
                                      {"text/plain": "Hello"})],
}


class InjectForms(BlackBox):
    def inject(self, address, raw):
        connection = http.client.HTTPConnection(*address, timeout=SECONDS)
        connection.request("POST", "/api/inject/v1", raw, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read().decode()
        connection.close()
        self.assertEqual(answer.status, 200, said)
        return json.loads(said)

    def check(self, message, fields, parts):
        for name, value in fields.items():
            found = message[name]
            self.assertEqual(None if found is None else str(found), value, name)
        found = texts(message)
        self.assertEqual({kind: found.get(kind) for kind in parts}, parts)

    def test_each_documented_form_is_taken_as_it_stands(self):
        names = {os.path.basename(path)[:-5] for path in glob.glob(os.path.join(FORMS, "*.json"))}
        self.assertEqual(names, set(EXPECTED))
        sink = self.sink()
        mta = self.server(Config(sink.port))
        address = address_of(mta.ready["http"])
        seen = 0
        for name, expected in EXPECTED.items():
            with self.subTest(name):
                with open(os.path.join(FORMS, f"{name}.json"), "rb") as file:
                    raw = file.read()
                said = self.inject(address, raw)
                self.assertEqual((said["success_count"], said["fail_count"]), (len(expected), 0))
                mails = sink.wait(seen + len(expected))[seen:]
                seen += len(expected)
                request = json.loads(raw)
                by_recipient = {mail.recipients[0]: mail for mail in mails}
                for recipient, (fields, parts) in zip(request["recipients"], expected):
                    mail = by_recipient[recipient["email"]]
                    self.assertEqual(mail.sender, request["envelope_sender"])
                    message = email.message_from_bytes(mail.content, policy=email.policy.default)
                    self.check(message, fields, parts)
                    if name == "trace-headers":
                        self.assertIn("by mta.test", str(message["Received"]))
        mta.stop()
