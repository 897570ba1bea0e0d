#!/usr/bin/python3
"""Each class of attack that is known to have worked somewhere, and which test here tries it.

    tests/attack/test_classes.py

A row names the class, with the numbers under which it became known, and the tests: methods of
test_attacks.py and test_neighbours.py, or a file of the tests and a word in it. A row whose
test is gone fails, and so does an attack program that no test runs.
"""
import glob
import os
import re
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
HOSTILE_WORK = "tests/system/test_36_hostile_work.py"
ROOTS = "tests/system/test_54_roots.py"
SOURCES = "tests/system/test_72_hostile_sources.py"
MKROOT = "tests/system/test_53_mkroot.py"

CLASSES = {
    # runtime and descriptors
    "overwriting /proc/self/exe (CVE-2019-5736)": ["test_exe", "test_proc"],
    "descriptors left open, cwd=/proc/self/fd/N (CVE-2024-21626)":
        ["test_cwd", "test_cwd_that_is_a_descriptor", "test_proc"],
    "races and links on masked paths (CVE-2025-31133, -52565, -52881)":
        [(ROOTS, "test_a_hostile_image_cannot_move_what_the_box_mounts"), "test_mount"],
    "links on the way of a mount (CVE-2021-30465)":
        [(ROOTS, "test_a_hostile_image_cannot_move_what_the_box_mounts")],
    "supplementary groups kept": ["test_privilege"],
    "an archive that writes outside (CVE-2019-14271, CVE-2024-24557)":
        [(MKROOT, "test_names_that_lead_out"),
         (MKROOT, "test_links_that_lead_out_stay_inside"),
         (MKROOT, "test_blobs_that_are_not_what_they_say")],
    # reach of the kernel
    "int 0x80 and x32": ["test_killed"],
    "upper halves of arguments (CVE-2019-10063, CVE-2019-7303)":
        ["test_terminal", "test_sockets", "test_namespaces"],
    "TIOCSTI and TIOCLINUX (CVE-2017-5226)": ["test_terminal"],
    "io_uring's own sockets": ["test_kernel"],
    "user namespaces inside, fsconfig (CVE-2022-0185), overlayfs, nf_tables":
        ["test_namespaces", "test_mount", "test_sockets"],
    "release_agent of cgroup v1 (CVE-2022-0492)": ["test_proc", "test_namespaces", "test_mount"],
    "page cache of read-only files (CVE-2022-0847, CVE-2016-5195, CVE-2022-2590)":
        ["test_page_cache"],
    "AF_ALG (CVE-2026-31431)": ["test_sockets"],
    "bpf, userfaultfd, perf, ptrace, keyctl": ["test_kernel"],
    "open_by_handle_at (shocker)": ["test_killed"],
    "setns": ["test_namespaces"],
    "pidfd_getfd and ptrace of init": ["test_init"],
    "modules, kexec, swap, clock, reboot": ["test_killed"],
    "packet, raw and vsock sockets": ["test_sockets", "test_network"],
    "protocols and tunnels on top of a socket (CVE-2023-0461, CVE-2023-6176, CVE-2022-27666)":
        ["test_options"],
    "tables of the packet filter (CVE-2021-22555, CVE-2024-1086)": ["test_options", "test_sockets"],
    "devices of the host, FUSE under an overlay (CVE-2023-0386)": ["test_devices"],
    "netlink": ["test_sockets", "test_netlink"],
    # between jobs
    "keyrings": ["test_kernel"],
    "abstract sockets and ports of a shared network": ["test_network", "test_two_boxes"],
    "/dev/shm, SysV IPC, POSIX queues": ["test_ipc", "test_two_boxes"],
    "locks, leases, inotify and F_NOTIFY on shared inodes": ["test_host_lock", "test_two_boxes"],
    "/proc/sys, /sys, kallsyms": ["test_proc", "test_host_files"],
    "core files and their handlers": ["test_limits"],
    "secrets in the environment": ["test_environment"],
    "counts of the whole machine (aio, terminals)": ["test_what_the_machine_has_for_all"],
    "counts by user (inotify, waiting signals, timers, locked memory, message queues)":
        ["test_what_the_kernel_counts_by_user"],
    # the kill
    "setsid and double fork": ["test_survivor"],
    "SIGSTOP": ["test_survivor", "test_stuck"],
    "PDEATHSIG taken back": ["test_survivor"],
    "descriptors on their way, counted by user": ["test_descriptors_on_their_way"],
    "fork bomb": ["test_fork_bomb"],
    "set-id helpers": ["test_privilege"],
    "vfork and other waits that signals do not end": ["test_stuck"],
    "a grandchild that holds the streams": ["test_survivor"],
    "signals to the host": ["test_kill_host"],
    "the starter is killed": ["test_killed_sbx_box"],
    # resources
    "a flood on both streams": ["test_output"],
    "sparse and huge files": ["test_huge", "test_disk"],
    "inodes": ["test_inodes"],
    "directories deeper than PATH_MAX": ["test_deep"],
    "memory files, shared memory, pipes": ["test_memory", "test_memory_elsewhere"],
    "socket buffers": ["test_buffers"],
    "the wrong one killed for want of memory": ["test_memory", "test_limits"],
    "limits, priorities and the oom score taken back": ["test_limits"],
    # artifacts and cleaning up
    "links, pipes and devices as artifacts": [
        ("tests/unit/worker/test_artifacts.c", "link"), (HOSTILE_WORK, "link"), "test_devices"],
    "a file swapped between the look and the opening":
        [(HOSTILE_WORK, "test_files_that_are_swapped_while_they_are_collected")],
    "names that hurt, directories of mode 000": ["test_deep", (HOSTILE_WORK, "left")],
    "ownership changed through links (CVE-2024-28185, -28189, CVE-2018-15664)":
        [("tests/unit/sandbox/test_files.c", "link"), "test_privilege"],
    # the diff
    "a patch through a link (CVE-2023-23946)": [("tests/unit/snapshots/test_patch.c", "SYMLINK")],
    "hooks, filters, .git in any spelling (CVE-2024-32002, CVE-2025-48384)":
        [("tests/unit/snapshots/test_patch.c", ".git")],
    "submodules (CVE-2024-32002)": [("tests/unit/snapshots/test_patch.c", "submodule")],
    # the source
    "a repository of somebody else's, with links and alternates (CVE-2022-24765, CVE-2022-39253, "
    "CVE-2024-32004)": [(SOURCES, "test_alternates"),
                        (SOURCES, "test_links_to_objects_and_refs_outside"),
                        (SOURCES, "test_a_git_file_that_leads_elsewhere")],
    "its configuration, hooks and filters (CVE-2023-29007)":
        [(SOURCES, "test_a_configuration_that_would_run_something")],
    # the layer
    "forged whiteouts and marks of the overlay": ["test_devices"],
    "directories moved and links made in the layer": ["test_layer_leaves_the_base"],
}


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as stream:
        return stream.read()


class Classes(unittest.TestCase):
    def setUp(self):
        self.here = read(HERE, "test_attacks.py") + read(HERE, "test_neighbours.py")

    def test_each_class_is_tried(self):
        for name, tests in CLASSES.items():
            for test in tests:
                with self.subTest(name, test=test):
                    if isinstance(test, str):
                        self.assertTrue(f"def {test}(self):" in self.here)
                    else:
                        self.assertTrue(test[1] in read(ROOT, test[0]))

    def test_each_program_is_run(self):
        for path in glob.glob(os.path.join(HERE, "attack_*.c")):
            name = os.path.basename(path)[len("attack_"):-2]
            self.assertTrue(re.search(rf'"{name}"', self.here), name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
