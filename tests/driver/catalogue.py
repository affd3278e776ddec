"""The catalogue of behaviours (tests/catalogue.tsv): every id needs a test that ran and passed.

A test belongs to an id when its name begins with the prefix in the column `test`: S-01 is proven by
s01_bare_lf_ends_no_command, in C, or by test_s01_bare_lf_ends_no_command, in Python.
"""
import re
from collections import namedtuple

from driver.results import FAILED, PASSED, Result

Row = namedtuple("Row", "id test reply state")
COLUMNS = ("id", "test", "reply expected", "state after")


def prefix_of(identifier):
    """s01_ for S-01."""
    return identifier.replace("-", "").lower() + "_"


def read(text):
    """The rows; ValueError names the line that is wrong."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines or tuple(lines[0].split("\t")) != COLUMNS:
        raise ValueError(f"first line must be: {' / '.join(COLUMNS)}")
    rows = []
    for line in lines[1:]:
        cells = line.split("\t")
        if len(cells) != len(COLUMNS) or not all(cell.strip() for cell in cells):
            raise ValueError(f"needs {len(COLUMNS)} filled columns: {line[:60]}")
        row = Row(*cells)
        if not re.fullmatch(r"[A-Z]+-\d+[a-z]?", row.id) or row.test != prefix_of(row.id):
            raise ValueError(f"{row.id}: the test is to be {prefix_of(row.id)}")
        if row.id in {other.id for other in rows}:
            raise ValueError(f"{row.id} stands twice")
        rows.append(row)
    return rows


def proofs(row, results):
    """The results whose test belongs to the row."""
    return [result for result in results
            if result.name.removeprefix("test_").startswith(row.test)]


def check(rows, results):
    """A failed Result for each id that no executed test proves, and one passed when all are."""
    missing = []
    for row in rows:
        if not any(result.outcome == PASSED for result in proofs(row, results)):
            tried = "its tests did not pass" if proofs(row, results) else "no test was executed"
            missing.append(Result("catalogue", row.id, "", FAILED, f"{row.test}*: {tried}"))
    return missing or [Result("catalogue", "", "", PASSED, f"{len(rows)} ids")]
