#!/usr/bin/python3
"""Templates make what Jinja2 and Handlebars make of them.

tests/templates has for each dialect a context and templates, each with the text that it makes; the
same text is demanded of us and, where they are installed, of the other implementations. What they
write in different ways is compared in one of them: Jinja2 has other references for quotes and none
for '/', and says True where JSON says true.

    /usr/bin/python3 tests/blackbox/templates_test.py --write     asks the others for the texts
"""
import json
import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402

PROBE = os.path.join(os.path.dirname(harness.BIN), "tests", "mail-probe")
FOLDER = os.path.join(harness.ROOT, "tests", "templates")
HANDLEBARS = "/usr/share/javascript/handlebars/handlebars.js"
SPELLINGS = [("&#34;", "&quot;"), ("&#39;", "&#x27;"), ("&#x2f;", "/")]

# Reads the requests of the probe, and answers them as it does.
NODE = r"""
const handlebars = require(process.argv[1]);
for (const line of require("fs").readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const request = JSON.parse(line);
  const options = { compat: true, noEscape: !request.html };
  const text = handlebars.compile(request.template, options)(request.context);
  console.log(JSON.stringify({ text }));
}
"""


def read(dialect):
    with open(os.path.join(FOLDER, f"{dialect}.json"), encoding="utf-8") as file:
        return json.load(file)


def requests(dialect):
    corpus = read(dialect)
    return [{"do": "render", "dialect": dialect, "html": case["html"],
             "template": case["template"], "context": case.get("context", corpus["context"])}
            for case in corpus["cases"]]


def run(command, asked):
    text = "".join(json.dumps(request) + "\n" for request in asked)
    done = subprocess.run(command, input=text, text=True, encoding="utf-8", capture_output=True,
                          check=False, timeout=60)
    if done.returncode != 0:
        raise AssertionError(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def ours(asked):
    return run([PROBE], asked)


def jinja2_texts(asked):
    import jinja2  # pylint: disable=import-outside-toplevel
    import markupsafe  # pylint: disable=import-outside-toplevel

    words = {True: "true", False: "false", None: "none"}

    def as_json(value):
        return words[value] if value is None or isinstance(value, bool) else value

    texts = []
    for request in asked:
        # The keys of a mapping are all that it has: no methods of Python's.
        class Environment(jinja2.Environment):
            def getattr(self, obj, attribute):
                return self.getitem(obj, attribute) if isinstance(obj, dict) else super().getattr(
                    obj, attribute)

        environment = Environment(autoescape=request["html"], finalize=as_json)
        text = environment.from_string(request["template"]).render(request["context"])
        texts.append({"text": str(markupsafe.Markup(text))})
    return texts


def handlebars_texts(asked):
    return run(["node", "-e", NODE, HANDLEBARS], asked)


def one_spelling(text):
    for one, other in SPELLINGS:
        text = text.replace(one, other)
    return text


class Templates(unittest.TestCase):
    def compare(self, dialect, texts, spelling=lambda text: text):
        cases = read(dialect)["cases"]
        self.assertEqual(len(texts), len(cases))
        for case, made in zip(cases, texts):
            with self.subTest(case["name"]):
                self.assertEqual(spelling(made.get("text", str(made))), spelling(case["text"]))

    def test_jinja_templates_make_their_texts(self):
        self.compare("jinja", ours(requests("jinja")))

    def test_handlebars_templates_make_their_texts(self):
        self.compare("handlebars", ours(requests("handlebars")))

    def test_jinja2_makes_the_same(self):
        self.compare("jinja", jinja2_texts(requests("jinja")), one_spelling)

    def test_handlebars_makes_the_same(self):
        if shutil.which("node") is None or not os.path.exists(HANDLEBARS):
            self.skipTest("needs node and libjs-handlebars")
        self.compare("handlebars", handlebars_texts(requests("handlebars")))


def write():
    """Texts of ours where the others agree; those of the others where not, to be looked at."""
    for dialect, others in (("jinja", jinja2_texts), ("handlebars", handlebars_texts)):
        corpus = read(dialect)
        asked = requests(dialect)
        for case, mine, theirs in zip(corpus["cases"], ours(asked), others(asked)):
            same = one_spelling(mine.get("text", str(mine))) == one_spelling(theirs["text"])
            case["text"] = mine["text"] if same else theirs["text"]
            if not same:
                print(f"{dialect}: {case['name']}\n  {mine}\n  {theirs}")
        with open(os.path.join(FOLDER, f"{dialect}.json"), "w", encoding="utf-8") as file:
            json.dump(corpus, file, ensure_ascii=False, indent=1)
            file.write("\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write()
    else:
        unittest.main()
