"""What the tests left on the machine: processes, cgroups, mounts, files.

The machine may run other workers meanwhile. So what was there before does not
count, and a process is ours when it carries the mark of this run in its
environment, which children inherit; a cgroup with a living process of
somebody else in it is somebody else's.
"""
import os
import time

MARK = "TEST_RUN_OF_SBX"


def read(path):
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return b""


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def is_ours(pid, run):
    return f"{MARK}={run}".encode() in read(f"/proc/{pid}/environ").split(b"\0")


def name_of(pid):
    return read(f"/proc/{pid}/comm").decode(errors="replace").strip()


def cgroups():
    """Directories named sbx* in any hierarchy."""
    found = set()
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        found |= {os.path.join(folder, name) for name in names if name.startswith("sbx")}
    return found


def mounts(folder):
    """Mount points below `folder`, or with it as their source or layer."""
    lines = read("/proc/self/mountinfo").decode(errors="replace").split("\n")
    return {line.split()[4] for line in lines if folder in line}


class Watch:
    """Looks before the tests and again after them."""

    def __init__(self, run, folder):
        self.run = run
        self.folder = folder
        self.cgroups_before = cgroups()

    def look(self):
        found = [f"process {pid} ({name_of(pid)})" for pid in pids()
                 if pid != os.getpid() and is_ours(pid, self.run)]
        for path in sorted(cgroups() - self.cgroups_before):
            inside = read(os.path.join(path, "cgroup.procs")).split()
            if all(is_ours(int(pid), self.run) for pid in inside):
                found.append(f"cgroup {path}")
        found += [f"mount {path}" for path in sorted(mounts(self.folder))]
        found += [f"file {os.path.join(self.folder, name)}"
                  for name in sorted(os.listdir(self.folder))]
        return found

    def settle(self, seconds=10):
        """What is still there once a dying kernel object has had its time."""
        deadline = time.monotonic() + seconds
        found = self.look()
        while found and time.monotonic() < deadline:
            time.sleep(0.2)
            found = self.look()
        return found
