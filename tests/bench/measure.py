# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the hafiz authors
"""What a client's processes use while a row runs: processor time, memory, and what passed on the line.
Everything a client runs is a descendant of a process that the benchmark started. The kernel's own threads
(the network's soft interrupts, writing back) are in nobody's account, and neither is the reader's part."""
import os
import threading
import time

PSS_SHARE = 50  # reading smaps_rollup stops the process: at most one part of so many of the time
SAMPLE_S = 0.1
QUIET_SHARE = 0.08  # of the processors may be used by others
QUIET_S, QUIET_CPU_S, SETTLE_S = 0.1, 0.003, 3.0


def stat_fields(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()
    except OSError:
        return None


def descendants(roots):
    """The roots that live and all that came from them."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = stat_fields(int(name))
            if fields and fields[0] != "Z":
                parents[int(name)] = int(fields[1])
    found = {p for p in roots if p in parents}
    while True:
        more = {p for p, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


class Machine:
    """How much of the processors others took meanwhile: programs that are not the benchmark's, and the
    host, if this is a virtual machine."""

    def __init__(self):
        self.begin, self.first = time.monotonic(), self._others()

    @staticmethod
    def _others():
        ours = descendants([os.getpid()])
        ticks = 0
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) not in ours:
                fields = stat_fields(int(name))
                if fields and fields[1] != "2":  # the kernel's threads work for everybody
                    ticks += sum(map(int, fields[11:15]))
        with open("/proc/stat", encoding="ascii") as f:
            return ticks + int(f.readline().split()[8])

    def disturbed(self):
        """The share of all processors, since the beginning."""
        seconds = (self._others() - self.first) / os.sysconf("SC_CLK_TCK")
        return max(0.0, seconds / max(time.monotonic() - self.begin, 0.01) / os.cpu_count())


class Cpu:
    """Seconds of processor time of a set of processes that may grow; what ended keeps counting."""

    def __init__(self):
        self.last, self.ended = {}, 0.0

    @staticmethod
    def _of(pid):
        fields = stat_fields(pid)
        if not fields:
            return None
        waited = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
        try:
            # The process's clock as in clock_getcpuclockid(3): nanoseconds, with its ended threads.
            return time.clock_gettime((~pid << 3) | 2) + waited
        except OSError:
            return None

    def total(self, pids):
        for pid in set(pids) | set(self.last):
            now = self._of(pid)
            if now is not None:
                self.last[pid] = now
        return sum(self.last.values())


class Memory(threading.Thread):
    """Peaks of the sums over all processes."""

    def __init__(self, pids):
        super().__init__(daemon=True)
        self.pids, self.done = pids, threading.Event()
        self.rss = self.pss = 0
        self.page = os.sysconf("SC_PAGE_SIZE")

    def _rss(self, pids):
        total = 0
        for pid in pids:
            try:
                with open("/proc/%d/statm" % pid, encoding="ascii") as f:
                    total += int(f.read().split()[1]) * self.page
            except OSError:
                pass
        return total

    @staticmethod
    def _pss(pids):
        total = 0
        for pid in pids:
            try:
                with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
                    for line in f:
                        if line.startswith("Pss:"):
                            total += int(line.split()[1]) * 1024
                            break
            except OSError:
                pass
        return total

    def sample(self):
        """Returns how long the expensive part took."""
        self.rss = max(self.rss, self._rss(self.pids))
        begin = time.monotonic()
        self.pss = max(self.pss, self._pss(self.pids))
        return time.monotonic() - begin

    def run(self):
        next_pss = 0.0
        while True:
            if time.monotonic() >= next_pss:
                next_pss = time.monotonic() + PSS_SHARE * self.sample()
            else:
                self.rss = max(self.rss, self._rss(self.pids))
            if self.done.wait(SAMPLE_S):
                break
        self.sample()

    def end(self):
        self.done.set()
        self.join()


def wait_quiet(patience_s):
    """Until nobody else uses the processors, or patience ends."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        machine = Machine()
        time.sleep(1)
        if machine.disturbed() < QUIET_SHARE:
            return


class Measure:
    """with Measure(client.roots, proxy) as m: …; afterwards m.figures."""

    def __init__(self, roots, proxy):
        self.roots, self.proxy, self.cpu = roots, proxy, Cpu()
        self.figures = {}

    def __enter__(self):
        self.pids = descendants(self.roots)
        if self.proxy:
            self.proxy.figures()
        self.begin_cpu = self.cpu.total(self.pids)
        self.memory = Memory(self.pids)
        self.memory.start()
        self.machine = Machine()
        return self

    def __exit__(self, kind, *_):
        disturbed = self.machine.disturbed()
        if not kind:
            self._settle()
        self.memory.end()
        cpu = self.cpu.total(descendants(self.roots)) - self.begin_cpu
        line = self.proxy.figures() if self.proxy else {}
        self.figures = {
            "disturbed": disturbed, "cpu": cpu, "rss": self.memory.rss, "pss": self.memory.pss,
            "fetched": line.get("bytes_down", 0), "connections": line.get("peak_open", 0),
            "opened": line.get("opened", 0), "proxy_cpu": line.get("cpu_seconds", 0),
            "requests": {k: n for k, n in line.get("requests", {}).items() if n}}

    def _settle(self):
        """What the client still does because of the row belongs to it: wait until it is quiet."""
        end = time.monotonic() + SETTLE_S
        before = self.cpu.total(self.pids)
        while time.monotonic() < end:
            time.sleep(QUIET_S)
            now = self.cpu.total(self.pids)
            if now - before < QUIET_CPU_S:
                return
            before = now
