"""What tests leave on the machine: processes, cgroups, mounts, files.

Whoever looks becomes the reaper of its descendants, so that whatever its
children lose is found below it, however detached. The machine may run other
workers meanwhile: what was there before does not count, and a cgroup with a
living process in it that does not descend from us is somebody else's.
"""
import ctypes
import os
import time

PR_SET_CHILD_SUBREAPER = 36


def read(path):
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return b""


def become_reaper():
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become the reaper of descendants")


def parents():
    """pid -> (parent, name) of every process that is not a zombie."""
    found = {}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        text = read(f"/proc/{pid}/stat").decode(errors="replace")
        name, _, rest = text.partition("(")[2].rpartition(")")
        fields = rest.split()
        if fields and fields[0] not in "ZX":
            found[pid] = (int(fields[1]), name)
    return found


def descendants(top):
    """pid -> name of all below `top`, but not the processes of a private broker."""
    table = parents()
    found = {}
    for pid in table:
        at = pid
        while at in table and at != top:
            at = table[at][0]
        if at == top and pid != top:
            found[pid] = table[pid][1]
    return found


def is_broker(pid):
    return any(each.startswith(b"SBX_BROKER_DIR=")
               for each in read(f"/proc/{pid}/environ").split(b"\0"))


def cgroups():
    """Directories named sbx* in any hierarchy."""
    found = set()
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        found |= {os.path.join(folder, name) for name in names if name.startswith("sbx")}
    return found


def mounts(folder):
    """Mount points of lines that name `folder`: as target, source or layer."""
    lines = read("/proc/self/mountinfo").decode(errors="replace").split("\n")
    return {line.split()[4] for line in lines if folder in line}


class Watch:
    """Looks before the work and again after it."""

    def __init__(self, folder, broker_may_stay, is_own_cgroup=lambda name: True):
        become_reaper()
        self.folder = folder
        self.broker_may_stay = broker_may_stay
        self.is_own_cgroup = is_own_cgroup
        self.before = cgroups()
        self.processes_before = set(descendants(os.getpid()))

    def look(self):
        ours = descendants(os.getpid())
        found = [f"process {pid} ({name})" for pid, name in sorted(ours.items())
                 if pid not in self.processes_before
                 and not (self.broker_may_stay and is_broker(pid))]
        for path in sorted(cgroups() - self.before):
            inside = read(os.path.join(path, "cgroup.procs")).split()
            if self.is_own_cgroup(os.path.basename(path)) and all(int(pid) in ours
                                                                  for pid in inside):
                found.append(f"cgroup {path}")
        return found + [f"mount {path}" for path in sorted(mounts(self.folder))]

    def settle(self, seconds=10):
        """What is still there once what is dying has had its time."""
        deadline = time.monotonic() + seconds
        found = self.look()
        while found and time.monotonic() < deadline:
            time.sleep(0.1)
            found = self.look()
        return found
