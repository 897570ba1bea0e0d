"""The section "start" of tests/bench/run: /bin/true in a sandbox, from nothing to its end reaped.

All commands take turns in one loop (bench_spawn). crun and runc get a bundle that is as near to a
box of ours as they can be told: the host's /usr read-only, all their namespaces, no capability,
the system calls that our default profile allows, limits of memory and processes. What is not
installed, or does not start here, is left out, and said.
"""
import contextlib
import glob
import json
import os
import re
import shutil
import subprocess
import time

PEERS = {"unshare": "util-linux", "bwrap": "bubblewrap", "crun": "crun", "runc": "runc"}
PROFILE = "tests/golden/filter.txt"
INSIDE_UID = 1000
OUTSIDE_UID = 1900000000  # mapped to nobody of the host
MASKED = ("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
          "/proc/sched_debug", "/proc/scsi")
READ_ONLY = ("/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
             "/proc/sysrq-trigger")


# --- a bundle for crun and runc -----------------------------------------------


def allowed_calls(root):
    with open(os.path.join(root, PROFILE), encoding="utf-8") as file:
        return sorted(set(re.findall(r"^default [0-9]+ (\w+): .*\ballow$", file.read(),
                                     re.MULTILINE)))


def mount(target, kind, *options, source=None):
    return {"destination": target, "type": kind, "source": source or kind,
            "options": list(options)}


def mounts():
    plain = ("nosuid", "nodev", "noexec")
    return [mount("/usr", "bind", "rbind", "ro", "nosuid", "nodev", source="/usr"),
            mount("/proc", "proc", *plain),
            mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666",
                  "mode=0620"),
            mount("/dev/shm", "tmpfs", *plain, "mode=1777", "size=65536k", source="shm"),
            mount("/dev/mqueue", "mqueue", *plain),
            mount("/tmp", "tmpfs", "nosuid", "nodev", "mode=1777", "size=65536k")]


def config(root, name):
    none = {kind: [] for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")}
    ids = [{"containerID": 0, "hostID": OUTSIDE_UID, "size": INSIDE_UID + 1}]
    return {
        "ociVersion": "1.0.0",
        "process": {"terminal": False, "user": {"uid": INSIDE_UID, "gid": INSIDE_UID},
                    "args": ["/bin/true"], "env": ["PATH=/usr/bin:/bin"], "cwd": "/",
                    "capabilities": none, "noNewPrivileges": True,
                    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 256, "soft": 256}]},
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "bench",
        "mounts": mounts(),
        "linux": {
            "cgroupsPath": f"/{name}",
            "resources": {"memory": {"limit": 512 << 20}, "pids": {"limit": 64}},
            "uidMappings": ids, "gidMappings": ids,
            "namespaces": [{"type": kind} for kind in (
                "pid", "network", "ipc", "uts", "mount", "user", "cgroup")],
            "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
                        "architectures": ["SCMP_ARCH_X86_64"],
                        "syscalls": [{"names": allowed_calls(root), "action": "SCMP_ACT_ALLOW"}]},
            "maskedPaths": list(MASKED), "readonlyPaths": list(READ_ONLY)}}


def make_bundle(bench, name):
    bundle = bench.path("bundle-" + name)
    rootfs = os.path.join(bundle, "rootfs")
    for folder in ("usr", "proc", "dev", "tmp"):
        os.makedirs(os.path.join(rootfs, folder))
    for link in ("bin", "lib", "lib64"):
        os.symlink("usr/" + link, os.path.join(rootfs, link))
    with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as out:
        json.dump(config(bench.root, name), out)
    return bundle


# --- the commands ----------------------------------------------------------------


def bwrap():
    return ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr",
            "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib",
            "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev",
            "--tmpfs", "/tmp"]


def container(program):
    return f"sbx-bench-{program}-{os.getpid()}"


def engine(bench, program, *more):
    return [program, "--root", bench.path("state-" + program), *more]


def tried(argv):
    """What the command complains of; nothing when it works."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit {done.returncode}"


def engine_row(bench, program, name, legacy):
    """Name of the row and its command; nothing when it does not start here."""
    argv = engine(bench, program, "run", "--bundle", make_bundle(bench, name), name)
    said = tried(argv)
    if not said:
        return {f"{program} run": argv}
    # crun refuses a machine that has both versions of control groups in use: it is shown one.
    if legacy and not tried(["nsenter", f"--mount={legacy}", *argv]):
        return {f"{program} run, shown cgroup v1 alone": ["@" + legacy, *argv]}
    print(f"  {program}: left out, it does not start: {said}")
    return {}


@contextlib.contextmanager
def legacy_view():
    """A mount namespace in which version 2 of control groups is hidden, where there are both."""
    hidden = "/sys/fs/cgroup/unified"
    if os.geteuid() != 0 or not os.path.isdir(hidden):
        yield None
        return
    script = f"mount -t tmpfs tmpfs {hidden} && echo && exec cat"
    with subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield f"/proc/{process.pid}/ns/mnt" if process.stdout.readline() else None
        process.stdin.close()


def ours(bench):
    # As installed: what a linker has just written lies in the page cache in
    # small pieces, and costs a fault for each.
    box = shutil.copy(os.path.join(bench.bin, "sbx-box"), bench.path("sbx-box"))
    lower = bench.path("lower")
    os.makedirs(lower, exist_ok=True)
    found = {"sbx-box, every layer": [box, "--empty", "--", "/bin/true"]}
    if os.geteuid() == 0:
        found["sbx, a box made ahead"] = ["+", os.path.join(bench.tools, "bench_warm"), "serve",
                                          lower]
    return found


def commands(bench, there, legacy):
    """Name of the row to its command."""
    found = {"posix_spawn": ["/bin/true"]}
    if "unshare" in there:
        found["unshare, namespaces alone"] = [
            "unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--net", "--ipc",
            "--uts", "--cgroup", "--time", "--mount-proc", "/bin/true"]
    if "bwrap" in there:
        found["bwrap --unshare-all"] = [*bwrap(), "/bin/true"]
        found["bwrap --unshare-all + seccomp"] = [*bwrap(), "--seccomp", "10", "/bin/true"]
    for program in ("crun", "runc"):
        if program in there:
            found.update(engine_row(bench, program, container(program), legacy))
    found.update(ours(bench))
    return found


def installed():
    found = []
    for program, package in PEERS.items():
        if program in ("crun", "runc") and os.geteuid() != 0:
            print(f"  {program}: left out, only root can be given its limits")
        elif shutil.which(program) is None:
            print(f"  {program}: left out, it is not here (apt-get install {package})")
        else:
            found.append(program)
    return found


def sweep(name):
    """crun gives up on a group whose last process is not quite gone."""
    left = glob.glob(f"/sys/fs/cgroup/{name}") + glob.glob(f"/sys/fs/cgroup/*/{name}")
    until = time.monotonic() + 5
    while left and time.monotonic() < until:
        for group in left:
            with contextlib.suppress(OSError):
                os.rmdir(group)
        left = [group for group in left if os.path.isdir(group)]
    if left:
        print(f"  left behind: {' '.join(left)}")


def measure(bench, there):
    program = bench.path("filter.bpf")
    with open(program, "wb") as out:
        subprocess.run([os.path.join(bench.tools, "bench_filter")], stdout=out, check=True)
    argv = [os.path.join(bench.tools, "bench_spawn"), str(bench.options.rounds), program]
    with legacy_view() as legacy:
        try:
            for name, command in commands(bench, there, legacy).items():
                argv += [name, *command, ";"]
            out = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True,
                                 cwd=bench.folder).stdout
        finally:  # an interrupted run leaves its container
            for each in sorted({"crun", "runc"}.intersection(there)):
                tried(engine(bench, each, "delete", "--force", container(each)))
                sweep(container(each))
    return {row["name"]: row for row in map(json.loads, out.splitlines())}


def run(bench):
    print("start: one process from start to end reaped, p50")
    found = measure(bench, installed())
    base = found["posix_spawn"]["p50_us"]
    for name, row in found.items():
        failed = f", {row['failed']} FAILED" if row["failed"] else ""
        bench.row("start", name, row["p50_us"] / 1000, "ms",
                  f"{row['p50_us'] / base:.2f} x posix_spawn; p95 {row['p95_us'] / 1000:.3f} ms"
                  f"{failed}", p95=row["p95_us"] / 1000)
    ours_us = found["sbx-box, every layer"]["p50_us"]
    for name, row in found.items():
        if "seccomp" in name or " run" in name:
            bench.row("start", f"ratio sbx-box / {name}", ours_us / row["p50_us"], "x",
                      "at most 1 is the aim" if "bwrap" in name else "")
