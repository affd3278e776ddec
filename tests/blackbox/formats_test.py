"""Spools of earlier formats (F-29): every fixture that was ever made is read by this program.

tests/fixtures/make_spool makes a fixture before a release.
"""
import hashlib
import json
import os
import tarfile
import unittest

import harness

FIXTURES = os.path.join(harness.ROOT, "tests", "fixtures")


class Formats(harness.BlackBox):
    def test_f29_spools_of_every_format_give_back_all_their_mail(self):
        names = sorted(name[:-5] for name in os.listdir(FIXTURES) if name.endswith(".json"))
        self.assertIn("spool-1", names)
        for name in names:
            with self.subTest(name):
                self.give_back(name)

    def give_back(self, name):
        folder = self.folder
        self.folder = os.path.join(folder, name)
        os.makedirs(self.folder)
        with tarfile.open(os.path.join(FIXTURES, name + ".tar.xz")) as archive:
            archive.extractall(self.folder)
        with open(os.path.join(FIXTURES, name + ".json"), encoding="utf-8") as file:
            expected = sorted((mail["sender"], mail["recipient"], mail["sha256"])
                              for mail in json.load(file))
        sink = self.sink()
        config = harness.Config(sink.port, node={"shards": 1}, spool={"segment_size": "1MiB"},
                                queue={"max_age": "3660 days"})
        server = self.server(config)
        self.assertEqual(server.ready["queued"], str(len(expected)))
        # Not its events: those of the life that was killed come once more.
        sink.wait_for(lambda: sum(len(mail.recipients) for mail in sink.mails) >= len(expected),
                      "all recipients")
        server.stop()
        came = sorted((mail.sender, recipient, hashlib.sha256(mail.body).hexdigest())
                      for mail in sink.mails for recipient in mail.recipients)
        self.assertEqual(came, expected)
        self.folder = folder


if __name__ == "__main__":
    unittest.main()
