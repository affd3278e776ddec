"""Reads the TAP that cmocka and tests/driver/pyunit.py write."""
import re

from driver.results import FAILED, PASSED, SKIPPED, Result

PLAN = re.compile(r"^1\.\.(\d+)")
LINE = re.compile(r"(?:^|\s)(not ok|ok) (\d+) (# SKIP|-) ?(\S+)(.*)$")


def parse(suite, program, output, exit_code):
    """One Result per test. A program that planned more tests than it reported, or that reported
    no failure and yet failed, adds one failed result under its own name."""
    results, planned, reported, reasons = [], 0, 0, []
    for line in output.splitlines():
        plan, test = PLAN.match(line), LINE.search(line)
        if plan:
            planned += int(plan.group(1))
        elif test:
            verdict, number, mark, name, rest = test.groups()
            reported += int(number) > 0
            outcome = SKIPPED if mark == "# SKIP" else PASSED if verdict == "ok" else FAILED
            reasons = [rest.strip()] if rest.strip() else []
            results.append(Result(suite, program, name, outcome, " ".join(reasons)))
        elif line.startswith("# ") and results and results[-1].outcome != PASSED:
            reasons.append(line[2:].strip())
            results[-1] = results[-1]._replace(detail=" ".join(reasons))
    failed = any(result.outcome == FAILED for result in results)
    if reported < planned or (exit_code != 0 and not failed) or not (results or planned):
        why = f"exit code {exit_code}, {reported} of {planned} tests reported"
        results.append(Result(suite, program, "", FAILED, why))
    return results
