"""What Prometheus is told: the documented metrics and no others, as promtool wants them."""
import http.client
import json
import os
import re
import subprocess
import unittest

from harness import ROOT, BlackBox, Config, address_of

SECONDS = 20
# Names that are KumoMTA's, and what promtool has against them.
KNOWN = re.compile(r"(total_connection_count|connection_count|total_connections_denied|"
                   r"total_messages_[a-z]+|scheduled_count|scheduled_count_total|"
                   r"scheduled_queue_count|ready_count|queued_count_by_provider) "
                   r"(counter metrics should have \"_total\" suffix|"
                   r"non-counter metrics should not have \"_total\" suffix|"
                   r"non-histogram and non-summary metrics should not have \"_count\" suffix)")


def table_of(page, columns):
    """The rows of its tables whose first cell is a name."""
    with open(os.path.join(ROOT, "docs", page), encoding="utf-8") as file:
        for line in file:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if re.fullmatch(r"(`[a-z_0-9]+`(, )?)+", cells[0]) and len(cells) >= columns:
                yield cells


class Metrics(BlackBox):
    def setUp(self):
        super().setUp()
        self.mta = self.server(Config())
        self.http = address_of(self.mta.ready["http"])

    def ask(self, path):
        connection = http.client.HTTPConnection(*self.http, timeout=SECONDS)
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        self.assertEqual(answer.status, 200, said)
        return said

    def mail(self):
        client = self.client(self.mta)
        client.submit(b"Subject: x\r\n\r\ntext\r\n")

    def test_every_metric_is_documented_and_every_documented_one_is_there(self):
        self.ask("/metrics")  # free space is asked for
        found = json.loads(self.ask("/metrics.json"))
        documented = {}
        for name, kind, label, _ in table_of("metrics.md", 4):
            documented[name.strip("`")] = (kind, label.strip("`"))
        for name, (kind, label) in documented.items():
            self.assertIn(name, found)
            self.assertEqual(found[name]["type"], kind, name)
            value = found[name]["value"]
            labels = list(value) if isinstance(value, dict) and "p50" not in value else []
            self.assertEqual(labels, [label] if label else [], name)
        counters = set()
        for cells in table_of("operations.md", 2):
            counters.update(f"ringpost_{name}_total"
                            for name in re.findall(r"`([a-z_0-9]+)`", cells[0]))
        for name in set(found) - set(documented):
            self.assertIn(name, counters)
            self.assertEqual(found[name]["type"], "counter")

    def test_promtool_finds_nothing_but_kumomtas_names(self):
        promtool = self.peer("promtool")
        self.mail()
        self.ask("/metrics")
        text = self.ask("/metrics")
        self.assertIn(b"ringpost_commit_seconds_bucket", text)
        said = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True,
                              timeout=SECONDS, check=False)
        self.assertIn(said.returncode, (0, 3), said.stderr)  # 3: names, 1: no metrics at all
        for line in (said.stdout + said.stderr).decode().splitlines():
            self.assertIsNotNone(KNOWN.fullmatch(line), line)


if __name__ == "__main__":
    unittest.main()
