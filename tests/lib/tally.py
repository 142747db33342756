# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Sums up what tests/run recorded: meson's *.json, pytest's *.xml. The closing line is the whole run's
result; a build that failed counts as one failed test, and with CI or HAFIZ_NO_SKIP set a skipped one does."""
import glob
import json
import os
import sys
import xml.etree.ElementTree as ET

MESON = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}


def meson_results(path):
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.strip():
                row = json.loads(line)
                yield row["name"], MESON.get(row["result"], "failed"), ""


def pytest_results(path):
    for case in ET.parse(path).getroot().iter("testcase"):
        name = "%s::%s" % (case.get("classname"), case.get("name"))
        bad = case.find("failure") is not None or case.find("error") is not None
        skip = case.find("skipped")
        if bad:
            yield name, "failed", ""
        elif skip is not None:
            yield name, "skipped", skip.get("message") or ""
        else:
            yield name, "passed", ""


def main(results, broken):
    count = {"passed": 0, "failed": broken, "skipped": 0}
    notes = []
    for pattern, reader in (("*.json", meson_results), ("*.xml", pytest_results)):
        for path in sorted(glob.glob(os.path.join(results, pattern))):
            # A test and the tear-down of the same test are two records of pytest, but one test.
            seen = {}
            for name, outcome, why in reader(path):
                if seen.get(name) != "failed":
                    seen[name] = outcome
                if outcome != "passed":
                    notes.append("%s: %s%s" % (outcome, name, ": " + why if why else ""))
            for outcome in seen.values():
                count[outcome] += 1
    for note in dict.fromkeys(notes):
        print(note)
    if not sum(count.values()):
        print("failed: no test ran at all")
        count["failed"] = 1
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % count)
    no_skip = os.environ.get("CI", "") not in ("", "0", "false") or os.environ.get("HAFIZ_NO_SKIP")
    return 1 if count["failed"] or (count["skipped"] and no_skip) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
