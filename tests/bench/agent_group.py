"""Control groups of the agent's bench: whose CPU time it was, and who comes first when the cores are busy."""

import os
import pathlib
import re
import time

MOUNT = pathlib.Path("/sys/fs/cgroup")


def hierarchies():
    """Where groups are made: the v1 controllers that are mounted, or the one v2 tree."""
    found = {name: MOUNT / name for name in ("cpuacct", "cpu") if (MOUNT / name / "cgroup.procs").exists()}
    if not found and (MOUNT / "cgroup.controllers").exists():
        found = {"v2": MOUNT}
    return found


class Group:
    """One group of processes, under a name that `remove_all` knows."""

    def __init__(self, prefix, name, weight=None):
        self.folders = {kind: root / f"{prefix}-{name}" for kind, root in hierarchies().items()}
        for folder in self.folders.values():
            folder.mkdir(exist_ok=True)
        self.weighted = weight is not None and self.weigh(weight)

    def weigh(self, weight):
        for kind, file, value in (("cpu", "cpu.shares", weight * 1024 // 100), ("v2", "cpu.weight", weight)):
            try:
                (self.folders[kind] / file).write_text(str(value))
                return True
            except (KeyError, OSError):
                pass
        return False

    def enter(self):
        """The shell words that put the shell itself in."""
        return "; ".join(f"echo 0 >{folder}/cgroup.procs" for folder in self.folders.values()) or ":"

    def processes(self):
        ids = set()
        for folder in self.folders.values():
            ids.update(int(word) for word in (folder / "cgroup.procs").read_text().split())
        return ids

    def cpu(self):
        """CPU seconds so far, children that have ended included."""
        if "cpuacct" in self.folders:
            return int((self.folders["cpuacct"] / "cpuacct.usage").read_text()) / 1e9
        usage = re.search(r"usage_usec (\d+)", (self.folders["v2"] / "cpu.stat").read_text())
        return int(usage[1]) / 1e6


def remove_all(prefix, tries=100):
    """Removes the groups of a bench whose processes have ended or, with more than one try, are about to."""
    for root in hierarchies().values():
        for folder in root.glob(f"{prefix}-*"):
            for _ in range(tries):
                try:
                    folder.rmdir()
                    break
                except OSError:
                    time.sleep(0.05)


def memory(processes):
    """Resident and proportional memory in MiB, threads, and context switches so far."""
    rss = pss = threads = switches = 0
    for process in processes:
        base = pathlib.Path(f"/proc/{process}")
        try:
            rollup = (base / "smaps_rollup").read_text()
            for task in os.listdir(base / "task"):
                status = (base / "task" / task / "status").read_text()
                switches += sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", status))
                threads += 1
        except OSError:
            continue
        rss += int(re.search(r"^Rss:\s+(\d+)", rollup, re.M)[1])
        pss += int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1])
    return {"rss": rss / 1024, "pss": pss / 1024, "threads": threads, "switches": switches}
