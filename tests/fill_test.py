#!/usr/bin/python3
"""tools/fill changes long comments only, and only by where their lines end."""
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORDS = "word " * 30


def fill(text):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x.h")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        subprocess.run([os.path.join(ROOT, "tools", "fill"), path], check=True,
                       capture_output=True)
        with open(path, encoding="utf-8") as file:
            return file.read()


class Fill(unittest.TestCase):
    def test_long_comment_is_filled_and_keeps_its_words(self):
        filled = fill(f"int a;\n    /* {WORDS}*/\nint b;\n")
        self.assertLessEqual(max(map(len, filled.split("\n"))), 100)
        self.assertEqual(filled.count("word"), 30)
        self.assertTrue(filled.startswith("int a;\n    /*\n     * word"))
        self.assertTrue(filled.endswith("     */\nint b;\n"))

    def test_list_keeps_its_items(self):
        filled = fill(f"/*\n * - {WORDS}\n * - short\n *\n * end\n */\n")
        self.assertIn("\n *   word", filled)
        self.assertIn("\n * - short\n *\n * end\n", filled)

    def test_banner_is_cut(self):
        self.assertEqual(fill("/* --- reading " + "-" * 90 + " */\n"),
                         "/* --- reading " + "-" * 82 + " */\n")

    def test_the_rest_is_left_alone(self):
        for text in ("/* short */\n", "int " + "a" * 120 + "; /* behind code */\n",
                     f"/*\n *     set  out by hand {WORDS.strip()}\n */\n"):
            with self.subTest(text):
                self.assertEqual(fill(text), text)


if __name__ == "__main__":
    sys.exit(unittest.main())
