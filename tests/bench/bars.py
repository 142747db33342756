# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""What hafiz must reach in each row, as ratios to the best other client of the same run, and whether it did.
A bar whose counterpart was not measured says so and is neither passed nor missed."""
import dataclasses
import typing

MIB = 1 << 20


@dataclasses.dataclass
class Verdict:
    text: str
    passed: typing.Optional[bool]  # None: there is nothing to compare with


class Facts:
    """Medians of the run, looked up by row and client."""

    def __init__(self, medians, rtt_ms, limits=()):
        self.medians, self.rtt_ms, self.limits = medians, rtt_ms, set(limits)

    def of(self, row, client, field="seconds"):
        got = self.medians.get(row, {}).get(client)
        return got.get(field) if got else None

    def hafiz(self, row, field="seconds"):
        return self.of(row, "hafiz", field)

    def best(self, row, field="seconds"):
        """(value, name) of the best peer."""
        found = [(got[field], name) for name, got in self.medians.get(row, {}).items()
                 if name != "hafiz" and name not in self.limits and got and got.get(field) is not None]
        return min(found) if found else (None, None)


def amount(value, unit):
    return ("%.2f %s" % (value, unit) if unit else "%g" % value).strip()


def ratio(what, value, factor, base, name, unit="s"):
    if value is None:
        return None
    text = "%s: %s, must be ≤ %g × %s" % (what, amount(value, unit), factor, name or "the best peer")
    if base is None:
        return Verdict(text + ", which was not measured", None)
    if factor != 1:
        text += ", %s," % amount(base, unit)
    return Verdict("%s = %s" % (text, amount(factor * base, unit)), value <= factor * base)


def at_most(what, value, limit, unit):
    if value is None:
        return None
    return Verdict("%s: %s, must be ≤ %g" % (what, amount(value, unit), limit), value <= limit)


def against_best(facts, row, factor=1.0, field="seconds", what="seconds", of=None):
    base, name = facts.best(of or row, field)
    return ratio(what, facts.hafiz(row, field), factor, base, name)


def against(facts, row, factor, client, of=None):
    """Compared with a limit, which may stand in another row."""
    return ratio("seconds", facts.hafiz(row), factor, facts.of(of or row, client), client)


def fetched(facts, row, limit_mib):
    value = facts.hafiz(row, "fetched")
    return at_most("fetched", None if value is None else value / MIB, limit_mib, "MiB")


def requests_of(facts, row, kinds):
    got = facts.hafiz(row, "requests")
    return None if got is None else sum(got.get(k, 0) for k in kinds)


def no_object_request(facts, row):
    return at_most("requests for objects", requests_of(facts, row, ("get", "range")), 0, "")


def restart_only_revalidates(facts):
    before, after = (requests_of(facts, row, ("list", "head", "get", "range"))
                     for row in ("ls-ttl", "ls-restart"))
    if after is None or before is None:
        return None
    return Verdict("requests: %d, must be ≤ the %d of listing again without a restart" % (after, before),
                   after <= before)


def trips(facts):
    value = facts.hafiz("first")
    if value is None:
        return None
    # A round trip and some: what the machine itself needs is no round trip.
    return at_most("round trips", round(value * 1000 / facts.rtt_ms * 4) / 4, 2, "")


def memory(facts):
    peaks = [(got["hafiz"]["pss"], row) for row, got in facts.medians.items()
             if got.get("hafiz") and got["hafiz"].get("pss")]
    if not peaks:
        return None
    peak, row = max(peaks)
    return at_most("both programs together at most (Pss, in %s)" % row, peak / MIB, 150, "MiB")


def verdicts(facts):
    """row → verdicts; the row "" has what is about all of them."""
    small8 = facts.hafiz("small8")
    found = {
        "first": [trips(facts)],
        "seq": [against_best(facts, "seq"), against_best(facts, "seq", 1.0, "cpu", "client CPU seconds")],
        "model": [against_best(facts, "model")],
        # Root's read-only mounts are passed through, ordinary users' read by pread.
        "model2": [no_object_request(facts, "model2"), against(facts, "model2", 1.2, "local")],
        "model-user": [no_object_request(facts, "model-user"),
                       against(facts, "model-user", 1.0, "bare FUSE", of="model2")],
        "reread": [against(facts, "reread", 1.2, "local")],
        "reread-user": [no_object_request(facts, "reread-user"),
                        against_best(facts, "reread-user", 0.8, of="reread")],
        "rand64": [against_best(facts, "rand64"), fetched(facts, "rand64", 40)],
        "small8": [against_best(facts, "small8", 0.7)],
        "small1": [ratio("seconds", facts.hafiz("small1"), 1.5, small8, "its own 8 threads")],
        "ls": [against_best(facts, "ls")],
        "ls-ttl": [against_best(facts, "ls-ttl", 0.5)],
        "ls-restart": [restart_only_revalidates(facts)],
        "find": [against_best(facts, "find")],
        "": [memory(facts)],
    }
    return {row: [v for v in list_ if v] for row, list_ in found.items()}
