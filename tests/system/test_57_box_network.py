"""sbx-box --network: none is a loopback of its own, host is the host's network and no more."""
import json
import os
import secrets
import socket
import unittest

import sbxtest

# Says what it sees of the network; {port} and {name} are the host's.
LOOK = """
import errno, json, os, socket
def attempt(make, *arguments):
    try:
        return bool(make(*arguments)) or True
    except OSError as error:
        return errno.errorcode[error.errno]
def tcp():
    return socket.create_connection(("127.0.0.1", {port}), 5)
def abstract(name):
    return socket.socket(socket.AF_UNIX).connect("\\0" + name)
def own():
    server = socket.socket(socket.AF_UNIX)
    server.bind("\\0own-" + str(os.getpid()))
    server.listen()
    return socket.socket(socket.AF_UNIX).connect(server.getsockname())
def route_sockets():
    held = []
    try:
        for _ in range(200):
            held.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
    except OSError:
        pass
    return len(held)
def again():
    for _ in range(100):
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
def lower():
    import fcntl, struct
    fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14x", b"lo", 0))
print(json.dumps(dict(
    interfaces=[line.split(":")[0].strip() for line in open("/proc/self/net/dev")
                if ":" in line],
    tcp=attempt(tcp), abstract=attempt(abstract, {name!r}), own=attempt(own),
    route=route_sockets(), again=attempt(again), lower=attempt(lower),
    packet=attempt(socket.socket, socket.AF_PACKET, socket.SOCK_RAW),
    raw=attempt(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1),
    resolver=open("/etc/resolv.conf").read())))
"""


def landlock_has_scopes():
    """By asking the kernel: landlock_create_ruleset(NULL, 0, VERSION)."""
    import ctypes
    return ctypes.CDLL(None).syscall(444, None, 0, 1) >= 6


class Network(sbxtest.Case):
    needs_broker = False

    def setUp(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.server.close)
        self.name = "sbx-test-" + secrets.token_hex(8)
        self.abstract = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.abstract.close)
        self.abstract.bind("\0" + self.name)
        self.abstract.listen()

    def look(self, *options):
        script = LOOK.format(port=self.server.getsockname()[1], name=self.name)
        path = os.path.join(self.folder, "outcome.json")
        missing = ["--allow-missing", "cgroup"] if self.user else []
        done = self.program("sbx-box", "--empty", *missing, "--outcome-file", path, *options, "--",
                            "python3", "-c", script)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with open(path, encoding="utf-8") as stream:
            return json.loads(done.stdout), json.load(stream)

    def assert_harmless(self, seen):
        """What holds with either network."""
        self.assertIs(seen["own"], True)
        self.assertEqual(seen["lower"], "EPERM")
        self.assertNotIn(True, (seen["packet"], seen["raw"]))

    def test_none_is_the_default(self):
        for options in ((), ("--network", "none")):
            seen, outcome = self.look(*options)
            self.assertEqual(seen["interfaces"], ["lo"])
            self.assertEqual((seen["tcp"], seen["abstract"]), ("ECONNREFUSED", "ECONNREFUSED"))
            self.assertEqual(seen["resolver"], "# no network\n")
            self.assertTrue(1 <= seen["route"] <= 32, seen)
            self.assertIs(seen["again"], True)
            self.assert_harmless(seen)
            self.assertEqual(outcome["network"], "none")
            self.assertNotIn("network_namespace", outcome["missing"])

    def test_host_is_the_hosts(self):
        seen, outcome = self.look("--network", "host")
        self.assertEqual(seen["interfaces"], [name for _, name in socket.if_nameindex()])
        # Nobody could count them among the host's.
        self.assertEqual((seen["route"], seen["again"]), (0, "EAFNOSUPPORT"))
        self.assertIs(seen["tcp"], True)
        # The one thing of the host's network that is no network.
        self.assertEqual(seen["abstract"], "EPERM" if landlock_has_scopes() else True)
        with open("/etc/resolv.conf", encoding="utf-8") as stream:
            self.assertEqual(seen["resolver"], stream.read())
        self.assert_harmless(seen)
        self.assertEqual(outcome["network"], "host")
        self.assertIn("network_namespace", outcome["missing"])

    def test_those_who_are_trusted_may_ask_for_routes(self):
        seen, _ = self.look("--network", "host", "--profile", "trusted")
        self.assertEqual((seen["route"], seen["again"]), (200, True))

    def test_a_file_of_ones_own_goes_before_the_hosts(self):
        path = os.path.join(self.folder, "resolv.conf")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write("# mine\n")
        seen, _ = self.look("--network", "host", "--ro-bind", path + ":/etc/resolv.conf")
        self.assertEqual(seen["resolver"], "# mine\n")

    def test_the_layer_that_is_off_is_explained(self):
        lines = {}
        for network in ("none", "host"):
            missing = ["--allow-missing", "cgroup"] if self.user else []
            done = self.program("sbx-box", *missing, "--network", network, "--explain",
                                "--ro-bind", "/usr/share")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            lines[network] = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
        self.assertEqual([line[:3] for line in lines["none"] if line[0] == "network_namespace"],
                         [["network_namespace", "required", "yes"]])
        [line] = [line for line in lines["host"] if line[0] == "network_namespace"]
        self.assertEqual(line[:3], ["network_namespace", "optional", "no"])
        said = "stay out of reach" if landlock_has_scopes() else "can be reached"
        self.assertRegex(line[3], "^off, as asked for: .*abstract sockets " + said)
        self.assertEqual([line[0] for line in lines["none"]], [line[0] for line in lines["host"]])

    def test_no_other_network(self):
        done = self.program("sbx-box", "--network", "bridge", "--", "true")
        self.assertEqual(done.returncode, 125)
        self.assertIn("--network: expected none or host: 'bridge'", done.stderr)


class OfAUser(Network):
    user = 65534

    def setUp(self):
        sbxtest.need_root()
        super().setUp()


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
