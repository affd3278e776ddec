"""What a run of the tests found, and the line that sums it up."""
from collections import namedtuple

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

# suite: "dev", "tsan", "blackbox"…; program: the file; name: the test function; detail: why.
Result = namedtuple("Result", "suite program name outcome detail")


def label(result):
    return "/".join(part for part in (result.suite, result.program, result.name) if part)


def read_skips(text):
    """The labels that may be skipped: one a line, then the reason; # begins a comment."""
    return {line.split()[0] for line in text.splitlines()
            if line.strip() and not line.startswith("#")}


def forbid_skips(results, allowed):
    """The results with every skip that is not allowed turned into a failure."""
    return [result._replace(outcome=FAILED, detail=f"skip not listed: {result.detail}")
            if result.outcome == SKIPPED and label(result) not in allowed else result
            for result in results]


def count(results, outcome):
    return sum(result.outcome == outcome for result in results)


def summary(results):
    """The last line of a run. A run in which nothing passed proves nothing: it is a failure."""
    line = f"{count(results, PASSED)} passed, {count(results, FAILED)} failed"
    skipped = count(results, SKIPPED)
    return f"{line}, {skipped} skipped" if skipped else line


def exit_code(results):
    return 0 if count(results, PASSED) and not count(results, FAILED) else 1
