# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""The figures as text: for a terminal of 100 columns, and as the table of README.md."""
import statistics

import bars
from limits import LIMITS
from measure import QUIET_SHARE

MIB = 1 << 20
LETTERS = {"range": "R", "get": "G", "head": "H", "list": "L", "put": "P", "post": "O", "delete": "D",
           "other": "X"}
LEGEND = """\
Seconds: the median, and the least and the most. ×best: compared with the best peer. CPU: seconds of all
of the client's processes, without the kernel's threads and the reader. RSS, Pss, fetched: MiB; memory is
the peak of all processes together. Requests: R ranges, G whole objects, H HEAD, L lists. (…): limits.
~: only measured while other programs used the processors."""


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def undisturbed(runs):
    """Those during which nobody else used much of the processors."""
    return [r for r in runs if r.get("disturbed", 0) < QUIET_SHARE]


def summary(runs):
    """Of several runs of a row: the median of each figure, and the fastest and the slowest. What was
    disturbed counts only when all were."""
    disturbed = not undisturbed(runs)
    runs = undisturbed(runs) or runs
    got = {k: median([r.get(k) for r in runs])
           for k in ("seconds", "cpu", "rss", "pss", "fetched", "connections", "proxy_cpu")}
    got["disturbed"] = disturbed
    got["least"], got["most"] = min(r["seconds"] for r in runs), max(r["seconds"] for r in runs)
    if any("requests" in r for r in runs):
        kinds = {k for r in runs for k in r.get("requests", {})}
        got["requests"] = {k: int(median([r.get("requests", {}).get(k, 0) for r in runs])) for k in kinds}
    return got


def summaries(results):
    """row → client → summary, for those that have one."""
    return {row: {name: summary(got) for name, got in clients.items() if isinstance(got, list) and got}
            for row, clients in results.items()}


def seconds(value):
    if value is None:
        return ""
    return "%.0f" % value if value >= 100 else "%.1f" % value if value >= 10 else \
        "%.2f" % value if value >= 0.1 else "%.3f" % value


def mib(value):
    if value is None:
        return ""
    value /= MIB
    return "%.0f" % value if value >= 10 else "%.1f" % value


def requests(got):
    return " ".join("%d%s" % (n, LETTERS[k]) for k, n in
                    sorted(got.get("requests", {}).items(), key=lambda kn: -kn[1]))


def times(value, best):
    return "" if value is None or not best else "%.2f" % (value / best)


HEAD = ("", "seconds", "", "×best", "CPU", "×best", "RSS", "Pss", "fetched", "conn", "requests")
WIDTHS = (15, 7, -12, 5, 5, 5, 5, 5, 7, 4, -20)


def line(cells):
    parts = []
    for cell, width in zip(cells, WIDTHS):
        parts.append(cell.ljust(-width) if width < 0 else cell.rjust(width))
    parts[0] = cells[0].ljust(WIDTHS[0])
    return "  " + " ".join(parts).rstrip()


def client_line(name, got, best, best_cpu):
    spread = "" if got["least"] == got["most"] else "%s–%s" % (seconds(got["least"]), seconds(got["most"]))
    return line((name, "~" * got["disturbed"] + seconds(got["seconds"]), spread,
                 times(got["seconds"], best), seconds(got["cpu"]), times(got["cpu"], best_cpu),
                 mib(got["rss"]), mib(got["pss"]), mib(got["fetched"]),
                 "" if got["connections"] is None else "%d" % got["connections"], requests(got)))


def row_text(row, got, failed, facts, found):
    """One row: the clients in the order of their speed, the limits, what failed, and the bars."""
    lines = [row.title, line(HEAD)]
    (best, _), (best_cpu, _) = facts.best(row.id), facts.best(row.id, "cpu")
    limits = LIMITS.get(row.id, {})
    peers = sorted((n for n in got if n not in limits), key=lambda n: (n != "hafiz", got[n]["seconds"]))
    lines += [client_line(n, got[n], best, best_cpu) for n in peers]
    lines += [client_line("(%s)" % n, got[n], best, best_cpu) for n in limits if n in got]
    lines += ["  %-16s %s" % (n, why) for n, why in failed.items()]
    lines += [verdict_line(v) for v in found]
    return "\n".join(lines) + "\n"


def verdict_line(verdict):
    mark = {True: "PASS", False: "miss", None: "  – "}[verdict.passed]
    return "  %s  %s" % (mark, verdict.text)


class Report:
    def __init__(self, rows, results, rtt_ms):
        self.rows, self.results = rows, results
        self.medians = summaries(results)
        names = {n for limits in LIMITS.values() for n in limits}
        self.facts = bars.Facts(self.medians, rtt_ms, names)
        self.verdicts = bars.verdicts(self.facts)

    def failed(self, row):
        return {n: got for n, got in self.results.get(row.id, {}).items() if isinstance(got, str)}

    def text(self):
        out = [LEGEND + "\n"]
        for row in self.rows:
            if row.id in self.results:
                out.append(row_text(row, self.medians[row.id], self.failed(row), self.facts,
                                    self.verdicts.get(row.id, [])))
        out += [verdict_line(v) for v in self.verdicts[""]]
        marks = [v.passed for found in self.verdicts.values() for v in found]
        out.append("bars: %d passed, %d missed, %d without a counterpart"
                   % (marks.count(True), marks.count(False), marks.count(None)))
        return "\n".join(out)

    def markdown(self):
        """Seconds, and for hafiz what it took; one line per row."""
        names = [n for n in ("hafiz", "mount-s3", "goofys", "geesefs", "s3fs", "rclone")
                 if any(n in got for got in self.medians.values())]
        out = ["| seconds | " + " | ".join(names) + " | hafiz: CPU s, Pss MiB, fetched MiB |",
               "|---|" + "---|" * (len(names) + 1)]
        for row in self.rows:
            got = self.medians.get(row.id)
            if not got:
                continue
            best = min((got[n]["seconds"] for n in names if n in got), default=None)
            cells = []
            for n in names:
                cell = seconds(got[n]["seconds"]) if n in got else \
                    "–" if n in self.results[row.id] else ""
                cells.append("**%s**" % cell if n in got and got[n]["seconds"] == best else cell)
            ours = got.get("hafiz")
            out.append("| %s | %s | %s |" % (row.title, " | ".join(cells), "%s, %s, %s" % (
                seconds(ours["cpu"]), mib(ours["pss"]), mib(ours["fetched"])) if ours else ""))
        return "\n".join(out)
