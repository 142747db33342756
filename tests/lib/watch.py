# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""Reads what the programs said: a test that passes while a daemon reports an error, a leak or a broken
invariant has not passed. Tests that provoke an error name it with expect()."""
import glob
import os
import re

SANITIZER = re.compile(r"Sanitizer|runtime error:|SUMMARY: ")
SUSPICIOUS = re.compile(r"\berror\b|\bassert|\bmust\b|\babort|\bbug\b", re.I)
# Said by the tools, not by our programs.
HARMLESS = re.compile(r"ASan runtime does not come first|LeakSanitizer: Soft RSS limit")


class Watch:
    def __init__(self, directory):
        self.directory = str(directory)
        self.patterns = []
        self.paths = []
        os.makedirs(self.sanitizer_dir, exist_ok=True)
        os.chmod(self.sanitizer_dir, 0o1777)

    @property
    def sanitizer_dir(self):
        return os.path.join(self.directory, "san")

    def add(self, path):
        self.paths.append(str(path))

    def expect(self, *patterns):
        """Lines that match one of these regular expressions are part of the test."""
        self.patterns += [re.compile(p, re.I) for p in patterns]

    def environment(self, leaks=True):
        """Where the sanitizers of a sanitized build write to; without effect in another build."""
        log = "log_path=%s/report" % self.sanitizer_dir
        return {
            "ASAN_OPTIONS": log + ":detect_leaks=%d"
                            ":detect_stack_use_after_return=1:quarantine_size_mb=16:exitcode=86" % leaks,
            "UBSAN_OPTIONS": log + ":print_stacktrace=1",
            "LSAN_OPTIONS": log + ":exitcode=86",
        }

    def logs(self):
        found = list(self.paths)
        for root, dirs, files in os.walk(self.directory):
            dirs[:] = [d for d in dirs if d not in ("mnt", "cache", "bucket", "s3")
                       and not os.path.ismount(os.path.join(root, d))]
            found += [os.path.join(root, f) for f in files if f.endswith(".log")]
        return list(dict.fromkeys(found))

    def complaints(self):
        """What must not be there, as a list of texts."""
        bad = []
        for path in sorted(glob.glob(self.sanitizer_dir + "/report*")):
            with open(path, encoding="utf-8", errors="replace") as f:
                bad.append("%s:\n%s" % (path, f.read(8000)))
        for path in self.logs():
            bad += self._lines(path)
        return bad

    def _lines(self, path):
        bad = []
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                for line in f:
                    if HARMLESS.search(line):
                        continue
                    if SANITIZER.search(line):
                        bad.append("%s: %s" % (path, line.rstrip() + f.read(8000)))
                        break
                    if SUSPICIOUS.search(line) and not any(p.search(line) for p in self.patterns):
                        bad.append("%s: %s" % (path, line.rstrip()))
        except FileNotFoundError:
            pass
        return bad

    def text(self):
        """Everything the programs said, for tests that look for a word or for the absence of one."""
        out = []
        for path in self.logs():
            try:
                with open(path, encoding="utf-8", errors="replace") as f:
                    out.append(f.read())
            except FileNotFoundError:
                pass
        return "\n".join(out)
