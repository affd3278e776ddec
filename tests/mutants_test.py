#!/usr/bin/python3
"""tools/mutants on a tree of two files: it must tell a mutant that dies from one that lives."""
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TREE = {
    "CMakeLists.txt": "cmake_minimum_required(VERSION 3.25)\nproject(t LANGUAGES C)\n"
                      "enable_testing()\nadd_executable(x_test x_test.c)\n"
                      "add_test(NAME x_test COMMAND x_test)\n",
    "CMakePresets.json": '{"version": 6, "configurePresets": [{"name": "dev", '
                         '"generator": "Ninja", "binaryDir": "build/dev"}], '
                         '"buildPresets": [{"name": "dev", "configurePreset": "dev"}]}',
    "x.c": "static int limit(int n)\n{\n    return n > 9 ? 9 : n;\n}\n"
           "static int spare(int n)\n{\n    return n + 1;\n}\n",
    "x_test.c": '#include "x.c"\n\nint main(void)\n{\n    (void)spare(0);\n'
                "    return limit(10) != 9;\n}\n",
}
HEADER = "name\tfile\tfind\treplace\ttests\n"
FOUND = "no_limit\tx.c\treturn n > 9 ? 9 : n;\treturn n;\tx_test\n"
SURVIVES = "spare_off\tx.c\treturn n + 1;\treturn n;\tx_test\n"
NO_BUILD = "syntax\tx.c\treturn n + 1;\treturn n\tx_test\n"


class Mutants(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        os.mkdir(os.path.join(self.folder.name, "tests"))
        for path, text in TREE.items():
            self.write(path, text)

    def write(self, path, text):
        with open(os.path.join(self.folder.name, path), "w", encoding="utf-8") as file:
            file.write(text)

    def run_tool(self, rows, *options):
        self.write("tests/mutants.tsv", HEADER + rows)
        done = subprocess.run([os.path.join(ROOT, "tools", "mutants"), "--root", self.folder.name,
                               *options], text=True, capture_output=True, check=False)
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout

    def test_found_mutant(self):
        code, said = self.run_tool(FOUND)
        self.assertEqual(code, 0, said)
        self.assertRegex(said, "no_limit .* found")

    def test_survivor_fails_the_run_and_the_next_is_still_tried(self):
        code, said = self.run_tool(SURVIVES + FOUND)
        self.assertEqual(code, 1, said)
        self.assertRegex(said, "spare_off .* SURVIVED x_test")
        self.assertRegex(said, "no_limit .* found")

    def test_mutant_that_does_not_build_fails_the_run(self):
        code, said = self.run_tool(NO_BUILD)
        self.assertEqual(code, 1)
        self.assertIn("does not build", said)

    def test_test_that_fails_without_a_mutant_fails_the_run(self):
        self.write("x_test.c", TREE["x_test.c"].replace("!= 9", "!= 8"))
        code, said = self.run_tool(FOUND)
        self.assertEqual(code, 1)
        self.assertIn("fails without any mutant: x_test", said)

    def test_the_tree_itself_is_never_changed(self):
        self.run_tool(FOUND)
        with open(os.path.join(self.folder.name, "x.c"), encoding="utf-8") as file:
            self.assertEqual(file.read(), TREE["x.c"])

    def test_check_names_rows_that_no_longer_fit(self):
        for row, why in (("a\tx.c\treturn 7;\t\tx_test\n", "stands 0 times"),
                         ("a\tx.c\tint n\t\tx_test\n", "stands 2 times"),
                         ("a\ty.c\tint n\t\tx_test\n", "y.c is gone"),
                         ("a\tx.c\treturn n + 1;\treturn n + 1;\tx_test\n", "changes nothing"),
                         ("a\tx.c\treturn n + 1;\t\ty_test\n", "no such test: y_test"),
                         (FOUND + FOUND, "stands twice")):
            with self.subTest(why):
                code, said = self.run_tool(row, "--check")
                self.assertEqual(code, 1)
                self.assertIn(why, said)

    def test_check_builds_nothing(self):
        self.assertEqual(self.run_tool(FOUND, "--check"), (0, "1 mutants fit\n"))
        self.assertFalse(os.path.exists(os.path.join(self.folder.name, "build")))


if __name__ == "__main__":
    sys.exit(unittest.main())
