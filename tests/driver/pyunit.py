#!/usr/bin/python3
"""Runs the unittest cases of one file and reports each as a TAP line on the standard output.

usage: tests/driver/pyunit.py [--apart] FILE    whatever the tests print goes to standard error
       --apart: in a network namespace of their own, where we may have one
"""
import importlib.util
import os
import sys
import unittest


SHARED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "blackbox")


class TapResult(unittest.TestResult):
    def __init__(self, out):
        super().__init__()
        self.out, self.number, self.bad = out, 0, set()

    def report(self, test, verdict, mark="-", reason=""):
        self.number += 1
        name = test.id().rpartition(".")[2] if hasattr(test, "_testMethodName") else test.id()
        line = f"{verdict} {self.number} {mark} {name.split()[0]} {reason}".rstrip()
        print(line, file=self.out, flush=True)

    def fail(self, test, error):
        if test.id() not in self.bad:
            self.bad.add(test.id())
            last = str(error[1]).splitlines() or [""]
            self.report(test, "not ok", reason=f"{error[0].__name__}: {last[0]}")
        print(self._exc_info_to_string(error, test), file=sys.stderr)

    def addSuccess(self, test):
        if test.id() not in self.bad:
            self.report(test, "ok")

    def addFailure(self, test, err):
        self.fail(test, err)

    def addError(self, test, err):
        self.fail(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            print(f"{subtest}", file=sys.stderr)
            self.fail(test, err)

    def addSkip(self, test, reason):
        self.report(test, "not ok", mark="# SKIP", reason=reason)


def main(arguments):
    path = os.path.abspath(arguments[-1])
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path[:0] = [os.path.dirname(path), SHARED]
    if "--apart" in arguments:
        importlib.import_module("netns").enter()
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    print(f"1..{suite.countTestCases()}", file=out, flush=True)
    result = TapResult(out)
    suite.run(result)
    return 1 if result.bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
