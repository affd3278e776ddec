#!/usr/bin/python3
"""The driver of the tests must not pass what failed, nor lose what never ran."""
import os
import subprocess
import sys
import tempfile
import types
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from driver import catalogue, disk, tap  # noqa: E402
from driver.results import (FAILED, PASSED, SKIPPED, Result, exit_code, forbid_skips,  # noqa: E402
                            label, read_skips, summary)

HEADER = "id\ttest\treply expected\tstate after\n"
ROW = "S-01\ts01_\t500 5.5.2\tsession usable\n"


def outcomes(results):
    return [(result.name, result.outcome) for result in results]


class Tap(unittest.TestCase):
    def test_pass_fail_and_skip(self):
        results = tap.parse("dev", "x_test", "1..3\nok 1 - a\nnot ok 2 - b\n# 0x1 != 0x2\n"
                            "not ok 3 # SKIP c\n# not ok - group\n", 1)
        self.assertEqual(outcomes(results), [("a", PASSED), ("b", FAILED), ("c", SKIPPED)])
        self.assertIn("0x1 != 0x2", results[1].detail)

    def test_program_that_dies_is_a_failure(self):
        results = tap.parse("dev", "x_test", "1..3\nok 1 - a\n", -6)
        self.assertEqual(outcomes(results), [("a", PASSED), ("", FAILED)])

    def test_program_that_exits_early_with_zero_is_a_failure(self):
        self.assertEqual(outcomes(tap.parse("dev", "x_test", "1..2\nok 1 - a\n", 0))[-1],
                         ("", FAILED))

    def test_silent_program_is_a_failure(self):
        self.assertEqual(outcomes(tap.parse("dev", "x_test", "", 0)), [("", FAILED)])

    def test_leak_after_the_last_test_is_a_failure(self):
        self.assertEqual(outcomes(tap.parse("dev", "x_test", "1..1\nok 1 - a\n", 1)),
                         [("a", PASSED), ("", FAILED)])

    def test_group_setup_failure_is_a_failure(self):
        self.assertIn(FAILED, [result.outcome for result in tap.parse(
            "dev", "x_test", "1..4\nnot ok 0 - t [  FAILED  ] GROUP SETUP\n# ok - t\n", 1)])

    def test_setup_failure_of_one_test(self):
        results = tap.parse("dev", "x", "1..1\nnot ok 1 - a Could not run test: Test setup\n", 1)
        self.assertEqual(outcomes(results), [("a", FAILED)])

    def test_several_groups(self):
        self.assertEqual(len(tap.parse("dev", "x", "1..1\nok 1 - a\n1..1\nok 1 - b\n", 0)), 2)


class Disk(unittest.TestCase):
    def test_too_little_room_is_said_in_a_line(self):
        gib = 1 << 30
        for free, total, short in ((11, 100, False), (10, 100, True), (0, 0, True), (3, 20, False),
                                   (2, 20, True), (50, 500, True), (52, 500, False)):
            with self.subTest(free=free, total=total):
                space = types.SimpleNamespace(f_bavail=free * gib >> 12, f_blocks=total * gib >> 12,
                                              f_frsize=4096)
                line = disk.shortage(space, "/here")
                self.assertEqual(line is not None, short)
                if short:
                    self.assertRegex(line, r"^the disk of /here has [\d.]+ GB free .* [\d.]+ GB: ")
                    self.assertNotIn("\n", line)


class Pyunit(unittest.TestCase):
    def run_file(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "sample_test.py")
            with open(path, "w", encoding="utf-8") as file:
                file.write("import unittest\nclass T(unittest.TestCase):\n" + text)
            done = subprocess.run([os.path.join(HERE, "driver", "pyunit.py"), path], text=True,
                                  capture_output=True, check=False)
            return tap.parse("py", "sample_test", done.stdout, done.returncode)

    def test_each_method_counts(self):
        results = self.run_file(
            "    def test_a(self): print('ok 9 - forged')\n"
            "    def test_b(self): self.fail('no')\n"
            "    @unittest.skip('not here')\n    def test_c(self): pass\n"
            "    def test_d(self):\n        for i in range(3):\n"
            "            with self.subTest(i): self.assertEqual(i, 9)\n")
        self.assertEqual(outcomes(results), [("test_a", PASSED), ("test_b", FAILED),
                                             ("test_c", SKIPPED), ("test_d", FAILED)])
        self.assertEqual(results[2].detail, "not here")

    def test_file_that_does_not_load_is_a_failure(self):
        self.assertEqual(outcomes(self.run_file("    syntax error here\n")), [("", FAILED)])


class Catalogue(unittest.TestCase):
    def check(self, *results):
        return catalogue.check(catalogue.read(HEADER + ROW), list(results))[0]

    def test_passed_test_proves_its_id(self):
        self.assertEqual(self.check(Result("dev", "x", "s01_bare_lf", PASSED, "")).outcome, PASSED)

    def test_python_test_proves_its_id(self):
        self.assertEqual(self.check(Result("bb", "x", "test_s01_bare_lf", PASSED, "")).outcome,
                         PASSED)

    def test_id_without_a_test_fails(self):
        result = self.check(Result("dev", "x", "s010_other", PASSED, ""))
        self.assertEqual((result.outcome, result.program), (FAILED, "S-01"))
        self.assertIn("no test was executed", result.detail)

    def test_skipped_or_failed_test_proves_nothing(self):
        for outcome in (SKIPPED, FAILED):
            self.assertEqual(self.check(Result("dev", "x", "s01_bare_lf", outcome, "")).outcome,
                             FAILED)

    def test_bad_tables_are_refused(self):
        for text in ("", "id\ttest\n", HEADER + "S-01\ts02_\ta\tb\n", HEADER + "S-01\ts01_\ta\n",
                     HEADER + "S-01\ts01_\t \tb\n", HEADER + ROW + ROW):
            with self.subTest(text), self.assertRaises(ValueError):
                catalogue.read(text)

    def test_the_table_of_the_tree_is_well_formed(self):
        with open(os.path.join(HERE, "catalogue.tsv"), encoding="utf-8") as file:
            ids = [row.id for row in catalogue.read(file.read())]
        for wanted in ("S-01", "S-27", "S-90", "C-05", "C-10", "C-19", "C-24", "C-40", "F-30"):
            self.assertIn(wanted, ids)


class Summary(unittest.TestCase):
    def test_last_line_and_exit_code(self):
        a = Result("dev", "x", "a", PASSED, "")
        self.assertEqual((summary([a]), exit_code([a])), ("1 passed, 0 failed", 0))
        both = [a, a._replace(outcome=FAILED), a._replace(outcome=SKIPPED)]
        self.assertEqual((summary(both), exit_code(both)), ("1 passed, 1 failed, 1 skipped", 1))

    def test_run_of_nothing_fails(self):
        self.assertEqual(exit_code([]), 1)

    def test_skips_are_failures_unless_listed(self):
        skipped = Result("bb", "x_test", "test_a", SKIPPED, "no disk")
        allowed = read_skips("# comment\nbb/x_test/test_a  needs a disk\n")
        self.assertEqual(label(skipped), "bb/x_test/test_a")
        self.assertEqual(forbid_skips([skipped], allowed)[0].outcome, SKIPPED)
        self.assertEqual(forbid_skips([skipped], set())[0].outcome, FAILED)


if __name__ == "__main__":
    sys.exit(unittest.main())
