"""What the tests of sbx-submit share that run no worker: queues that are empty at first."""
import os
import subprocess

import msgpack
import sbxtest


class SubmitCase(sbxtest.Case):
    emptied = ("jobs", "jobs.high", "jobs.low", "dead")

    def setUp(self):
        self.declare()
        for suffix in self.emptied:
            self.client.purge(suffix)

    def declare(self):
        """Whoever publishes first makes the topology."""
        done = self.submit("--repo", "/r", "--commit", "c")
        self.assertEqual(done.returncode, 0, done.stderr)

    def command(self, *arguments):
        return [*arguments, "--queue", sbxtest.BROKER_URL, "--prefix", self.prefix]

    def submit(self, *arguments, stdin=None, timeout=60):
        return self.program("sbx-submit", *self.command(*arguments), stdin=stdin, timeout=timeout)

    def start(self, *arguments, **options):
        """A sbx-submit that runs beside the test."""
        command = [os.path.join(sbxtest.BIN, "sbx-submit"), *self.command(*arguments)]
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                   "stderr": subprocess.PIPE, "text": True, **options}
        process = subprocess.Popen(command, cwd=self.folder, env=sbxtest.clean_env(self.folder),
                                   **options)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream and not stream.closed:
                stream.close()

    def take(self, suffix="jobs"):
        """The next message of a queue, waited for: (properties, raw body)."""
        def got():
            method, properties, body = self.client.with_channel(
                lambda channel: channel.basic_get(self.client.name(suffix), auto_ack=True))
            return (properties, body) if method else None

        return sbxtest.poll(got, f"a message in {suffix}")

    def queued(self, *suffixes):
        """All messages that are in these queues, taken: [(properties, job)]."""
        return [(properties, msgpack.unpackb(body)) for suffix in suffixes or ("jobs",)
                for _, properties, body in self.client.take_all(suffix)]
