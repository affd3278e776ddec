"""The runs of our own bench, small: that they run, judge and write what they promise. No figure of
theirs is judged here."""
import csv
import json
import os
import shutil
import subprocess

from harness import BENCH, BIN, BlackBox

SECONDS_MAX = 300
COLUMNS = ["second", "accepted", "delivered", "queued", "accept_rate", "deliver_rate",
           "spool_bytes", "live_bytes", "spool_per_live", "rss_bytes", "rss_less_rows_bytes",
           "descriptors", "log_bytes", "p99_ms"]


class Runs(BlackBox):
    def bench(self, *words):
        """What a run printed, and its JSON; None where the folder lies in memory, which it refuses
        as it should."""
        done = subprocess.run([BENCH, "run", *words, "--dir", self.folder, "--bin", BIN,
                               "--segment-mib", "4"],
                              capture_output=True, check=False, text=True, timeout=SECONDS_MAX)
        if done.returncode == 2 and "figures of a disk need a disk" in done.stderr:
            kind = subprocess.run(["stat", "-f", "-c", "%T", self.folder], capture_output=True,
                                  check=True, text=True).stdout.strip()
            self.assertIn(kind, ("tmpfs", "ramfs"))
            return None
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(os.path.join(self.folder, f"{words[0]}.json"), encoding="utf-8") as file:
            return done.stdout, json.load(file)

    def test_restart_finds_every_message_again(self):
        result = self.bench("restart", "--messages", "3000", "--queues", "7", "--rounds", "2")
        if result is None:
            return
        printed, figures = result
        self.assertEqual([entry["queued"] for entry in figures["rounds"]], [3000, 3000])
        seconds = [entry["seconds"] for entry in figures["rounds"]]
        self.assertTrue(all(value > 0 for value in seconds))
        self.assertEqual(figures["seconds_best"], min(seconds))
        self.assertGreater(figures["rounds"][0]["spool"]["segments"], 0)
        self.assertIn("best", printed)
        self.assertEqual([entry["queued"] for entry in figures["steps"]], [600, 1200, 1800, 2400])
        with open(os.path.join(self.folder, "restart.tsv"), encoding="utf-8") as file:
            rows = [line.split("\t") for line in file.read().splitlines()]
        self.assertEqual(rows[0], ["queued", "seconds", "rss_bytes", "spool_bytes"])
        self.assertEqual([row[0] for row in rows[1:]], ["600", "1200", "1800", "2400", "3000"])
        self.assertEqual(float(rows[-1][1]), min(seconds))

    def test_backlog_fills_one_server_and_relays_through_both(self):
        result = self.bench("backlog", "--messages", "2000", "--queues", "70", "--rounds", "2",
                            "--relay", "300")
        if result is None:
            return
        printed, figures = result
        self.assertEqual(len(figures["rounds"]), 2)
        for entry in figures["rounds"]:
            ratio = entry["full"] / entry["empty"]  # of rates that are printed rounded
            self.assertAlmostEqual(entry["ratio"], ratio, delta=0.005 * ratio + 0.005)
        self.assertGreater(figures["rss_after"], figures["rss_before"])
        self.assertEqual(figures["bytes_per_recipient"],
                         round((figures["rss_after"] - figures["rss_before"]) / 2000, 1))
        self.assertIn("bytes a recipient", printed)
        with open(os.path.join(self.folder, "backlog.tsv"), encoding="utf-8") as file:
            self.assertEqual(file.readline(), "queued\taccept_rate\trss_bytes\n")

    def test_soak_keeps_what_is_deferred_and_leaves_a_table_and_a_plot(self):
        result = self.bench("soak", "--seconds", "4", "--rate", "400", "--defer", "10%")
        if result is None:
            return
        printed, figures = result
        self.assertEqual(figures["accepted"], 1600)
        kept = figures["accepted"] - figures["delivered"]
        self.assertEqual(kept, figures["refused"])
        self.assertGreater(kept, 0)
        with open(os.path.join(self.folder, "soak.tsv"), encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        self.assertEqual(list(rows[0]), COLUMNS)
        self.assertEqual(len(rows), figures["samples"])
        last = rows[-1]
        self.assertGreater(float(last["spool_bytes"]), float(last["live_bytes"]))
        self.assertGreater(float(last["descriptors"]), 0)
        self.assertIn("level", figures["columns"]["descriptors"])
        self.assertIn("more than\n5 %", printed)
        picture = os.path.join(self.folder, "soak.svg")
        if shutil.which("gnuplot") is None:
            self.assertIn("gnuplot is not installed", printed)
            self.assertFalse(os.path.exists(picture))
        else:
            with open(picture, encoding="utf-8") as file:
                self.assertIn("</svg>", file.read())
            self.assertGreater(os.path.getsize(os.path.join(self.folder, "soak.png")), 0)

    def test_idle_holds_the_process_beside_its_account(self):
        result = self.bench("idle", "--connections", "100", "--messages", "500")
        if result is None:
            return
        printed, figures = result
        steps = figures["steps"]
        before = figures["before"]
        self.assertEqual([step["connections"] for step in steps], [20, 40, 60, 80, 100])
        each = {(step["account_bytes"] - before["account_bytes"]) / step["connections"]
                for step in steps}
        self.assertEqual(each, {figures["account_bytes_each"]})
        self.assertGreater(figures["account_bytes_each"], 0)
        self.assertEqual(figures["after"]["account_bytes"], before["account_bytes"])
        self.assertEqual(figures["rss_bytes_each"],
                         round((steps[-1]["rss_bytes"] - before["rss_bytes"]) / 100, 1))
        self.assertIn("promised: at most 4096 bytes each", printed)
        with open(os.path.join(self.folder, "idle.tsv"), encoding="utf-8") as file:
            self.assertEqual(len(file.readlines()), 7)

    def test_rates_are_counted_at_the_sink(self):
        result = self.bench("rates", "--rate", "200", "--burst", "20", "--seconds", "2")
        if result is None:
            return
        printed, figures = result
        self.assertEqual([curve["shards"] for curve in figures["curves"]], [1, 2, 4])
        for curve in figures["curves"]:
            self.assertEqual((curve["most"], curve["least"]), (420, 396))
            self.assertGreater(curve["count"], 0)
            self.assertLessEqual(curve["count"], curve["most"])
            self.assertLessEqual(curve["count"], curve["count_late"])
            self.assertEqual(curve["held"], curve["count_late"] >= curve["least"])
        self.assertIn("at most rate x time + burst", printed)
        with open(os.path.join(self.folder, "rates.tsv"), encoding="utf-8") as file:
            self.assertEqual(len(file.readlines()), 22)

    def test_table_has_a_row_for_each_size_mode_and_number_of_shards(self):
        result = self.bench("table", "--messages", "100", "--rounds", "1", "--connections", "5")
        if result is None:
            return
        printed, figures = result
        self.assertEqual(
            [(case["size"], case["mode"], case["shards"]) for case in figures["cases"]],
            [(size, mode, shards) for size in (1024, 4096, 51200)
             for mode in ("plain", "pipelined", "bdat") for shards in (1, 2)])
        for case in figures["cases"]:
            for name in ("rate", "ratio", "mta_cpu_us_per_message", "enters_per_message"):
                self.assertGreater(case[name], 0)
            self.assertIsNone(case["mallocs_per_message"])
        self.assertIn("--nomalloc", printed)
        with open(os.path.join(self.folder, "table.tsv"), encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        self.assertEqual([row["case"] for row in rows][:3], ["1K plain", "1K pipelined", "1K bdat"])
        self.assertEqual(len(rows), 9)
        self.assertAlmostEqual(float(rows[4]["ratio_2"]), figures["cases"][9]["ratio"], places=3)

    def test_domains_are_relayed_by_their_sites(self):
        result = self.bench("domains", "--messages", "1000", "--rounds", "2", "--connections", "6",
                            "--domains", "20", "--sites", "3", "--size", "1024")
        if result is None:
            return
        printed, figures = result
        self.assertEqual((figures["domains"], figures["sites"]), (20, 3))
        for entry in figures["rounds"]:
            self.assertEqual([entry[name]["messages"] for name in ("one", "many")], [1000, 1000])
            ratio = entry["many"]["rate"] / entry["one"]["rate"]
            self.assertAlmostEqual(entry["ratio"], ratio, delta=0.005 * ratio)
        ratios = [entry["ratio"] for entry in figures["rounds"]]
        self.assertAlmostEqual(figures["ratio_median"], sum(ratios) / 2, places=3)
        self.assertIn("promised: at least 0.9", printed)

    def test_published_records_are_all_judged(self):
        result = self.bench("publish", "--messages", "6000", "--records-per-request", "500",
                            "--rounds", "2", "--connections", "3", "--rules", "40")
        if result is None:
            return
        printed, figures = result
        for entry in figures["rounds"]:
            self.assertEqual((entry["records"], entry["matches"]), (6000, 300))
            self.assertGreater(entry["tsad_cpu_us_per_record"], 0)
            rate = entry["records"] / entry["seconds"]
            self.assertAlmostEqual(entry["rate"], rate, delta=0.05 * rate)
        self.assertIn("records/s", printed)

    def test_deferrals_with_rules_are_held_to_those_without(self):
        result = self.bench("deferrals", "--messages", "500", "--rounds", "1", "--rules", "40",
                            "--connections", "4", "--size", "1024")
        if result is None:
            return
        printed, figures = result
        for entry in figures["rounds"]:
            self.assertEqual([entry[name]["messages"] for name in ("without", "with")],
                             [500, 500])
            ratio = entry["with"]["rate"] / entry["without"]["rate"]
            self.assertAlmostEqual(entry["ratio"], ratio, delta=0.005 * ratio)
        self.assertIsNone(figures["mallocs_per_message"])
        self.assertIn("promised: at least 0.95", printed)

    def test_a_reaction_of_each_site_is_timed(self):
        result = self.bench("reaction", "--rate", "500", "--seconds", "2", "--sites", "5",
                            "--rules", "3", "--connections", "10")
        if result is None:
            return
        printed, figures = result
        self.assertEqual((figures["sites"], figures["reactions"], figures["rules"]), (5, 5, 4))
        self.assertEqual(figures["accepted"], 1000)
        self.assertLess(figures["delivered"], 1000)
        self.assertLessEqual(figures["reaction_ms_p50"], figures["reaction_ms_max"])
        self.assertIn("promised: p99 of at most 5 ms", printed)

    def test_inject_is_held_to_smtp_in_turns(self):
        result = self.bench("inject", "--messages", "2500", "--rounds", "2", "--connections", "4",
                            "--recipients-per-request", "400", "--size", "1024")
        if result is None:
            return
        printed, figures = result
        self.assertEqual(figures["recipients_per_request"], 400)
        ratios = sorted(entry["ratio"] for entry in figures["rounds"])
        for entry in figures["rounds"]:
            self.assertEqual([entry[name]["messages"] for name in ("smtp", "http")], [2500, 2500])
            ratio = entry["http"]["accept_rate"] / entry["smtp"]["accept_rate"]
            self.assertAlmostEqual(entry["ratio"], ratio, delta=0.005 * ratio)
        self.assertEqual((figures["ratio_min"], figures["ratio_max"]), (ratios[0], ratios[1]))
        self.assertAlmostEqual(figures["ratio_median"], sum(ratios) / 2, places=3)
        self.assertIn("accepted over HTTP / by SMTP", printed)

    def test_inject_at_a_rate_counts_answers_and_watches_memory(self):
        result = self.bench("inject", "--rate", "300", "--seconds", "2", "--connections", "20")
        if result is None:
            return
        printed, figures = result
        self.assertEqual(figures["due"], 600)
        self.assertEqual(figures["answered_other"], 0)
        self.assertEqual(figures["answered_200"] + figures["answered_503"] + figures["unsent"], 600)
        self.assertEqual(figures["delivered"], figures["answered_200"])
        self.assertGreater(figures["answered_200"], 0)
        self.assertGreaterEqual(figures["rss_max_bytes"], figures["rss_last_bytes"])
        self.assertIn("503, later", printed)
        with open(os.path.join(self.folder, "inject.tsv"), encoding="utf-8") as file:
            self.assertEqual(file.readline(), "second\tanswered\tshed\trss_bytes\n")
            self.assertGreater(len(file.readlines()), 2)

    def shares(self, name, judged, allowed):
        result = self.bench(name, "--messages", "4000", "--few", "20", "--rounds", "2",
                            "--latency", "20")
        if result is None:
            return
        printed, figures = result
        self.assertEqual((len(figures["rounds"]), figures["judged"]), (2, judged))
        for entry in figures["rounds"]:
            self.assertGreater(entry["in_front"], 0)
            for server in ("behind", "alone"):
                times = entry[server]
                self.assertGreater(times["p50_ms"], 0)
                self.assertLessEqual(times["p50_ms"], times["p99_ms"])
                self.assertLessEqual(times["p99_ms"], times["all_ms"])
            self.assertAlmostEqual(entry["allowed_ms"], allowed(entry["alone"][judged]), places=1)
            self.assertEqual(entry["held"], entry["behind"][judged] <= entry["allowed_ms"])
        self.assertEqual(figures["rounds_held"],
                         sum(entry["held"] for entry in figures["rounds"]))
        self.assertIn(f"held in {figures['rounds_held']} of 2 rounds", printed)
        with open(os.path.join(self.folder, f"{name}.tsv"), encoding="utf-8") as file:
            self.assertEqual(file.readline(), "percent\tbehind_ms\talone_ms\n")
            self.assertEqual(len(file.readlines()), 200)

    def test_urgent_mail_is_held_to_what_it_takes_alone(self):
        self.shares("urgent", "p99_ms", lambda alone: max(3 * alone, 1000))

    def test_mail_of_another_tenant_is_held_to_what_it_takes_alone(self):
        self.shares("tenants", "all_ms", lambda alone: 2 * alone + 1000)

    def test_a_share_needs_mail_in_front(self):
        done = subprocess.run([BENCH, "run", "urgent", "--messages", "1", "--few", "5",
                               "--latency", "0", "--dir", self.folder, "--bin", BIN],
                              capture_output=True, check=False, text=True, timeout=SECONDS_MAX)
        self.assertIn(done.returncode, (1, 2))
        if done.returncode == 1:
            self.assertIn("nothing is left of the mail in front", done.stderr)

    def test_relay_takes_another_build_in_turns(self):
        result = self.bench("relay", "--messages", "300", "--rounds", "1", "--baseline", BIN)
        if result is None:
            return
        printed, figures = result
        entry = figures["rounds"][0]
        self.assertEqual([entry[name]["messages"] for name in ("floor", "baseline", "relay")],
                         [300, 300, 300])
        self.assertAlmostEqual(entry["baseline_ratio"],
                               entry["relay"]["rate"] / entry["baseline"]["rate"], places=2)
        self.assertIn("new / old", printed)

    def test_latency_with_a_flush_delay_commits_no_faster(self):
        result = self.bench("latency", "--rate", "50", "--seconds", "1", "--flush-delay", "20ms")
        if result is None:
            return
        run = result[1]["rounds"][0]["relay"]
        self.assertEqual(run["messages"], 50)
        self.assertGreaterEqual(run["commit_ms"]["p50"], 15)
        self.assertIn("--flush-delay", result[1]["args"])
