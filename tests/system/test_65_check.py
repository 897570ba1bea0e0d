"""sbx-worker check: all that is wrong, at once, each with its fix; and what `serve` says then."""
import json
import os

import sbxtest


class Check(sbxtest.Case):
    def check(self, name="good", **config):
        """Runs the check; returns (exit status, name -> check, text)."""
        worker = self.worker_of(name, **config)
        done = worker.check("--json")
        report = json.loads(done.stdout)
        self.assertEqual(report["ok"], done.returncode == 0)
        return done.returncode, {each["name"]: each for each in report["checks"]}

    def assert_fails(self, check, **config):
        status, found = self.check("bad-" + check, **config)
        self.assertEqual(status, 1)
        self.assertEqual(found[check]["status"], "fail", found)
        self.assertTrue(found[check]["fix"])

    def test_a_good_one(self):
        status, found = self.check()
        self.assertEqual(status, 0, found)
        self.assertIn("RabbitMQ", found["broker_version"]["detail"])
        for name in ("sources", "state_dir", "sandbox.seccomp", "sandbox.trial", "broker"):
            self.assertEqual(found[name]["status"], "ok", found[name])

    def test_each_fault_is_named(self):
        self.assert_fails("broker", queue__url="amqp://guest:sesame@127.0.0.1:1/")
        self.assert_fails("commands", commands__allow="")
        self.assert_fails("sources", sources__allow="")
        self.assert_fails("queues", queue__passive="true")
        os.makedirs(os.path.join(self.folder, "file"), exist_ok=True)
        path = os.path.join(self.folder, "file", "state")
        with open(path, "w", encoding="utf-8"):
            pass
        self.assert_fails("state_dir", worker__state_dir=path)

    def test_all_faults_at_once(self):
        status, found = self.check("all", commands__allow="", sources__allow="",
                                   queue__url="amqp://127.0.0.1:1/")
        self.assertEqual(status, 1)
        self.assertEqual([found[name]["status"] for name in ("commands", "sources", "broker")],
                         ["fail"] * 3)

    def test_a_mistyped_key_is_answered_with_the_nearest(self):
        worker = self.worker_of("typo", worker__slot=3)
        done = worker.check()
        self.assertEqual(done.returncode, 1)
        self.assertIn("worker.ini", done.stdout + done.stderr)
        self.assertIn("slots", done.stdout + done.stderr)

    def test_a_password_is_never_shown(self):
        worker = self.worker_of("secret", queue__url="amqp://guest:sesame@127.0.0.1:1/")
        done = worker.check()
        self.assertNotIn("sesame", done.stdout + done.stderr)
        worker.start(ready=False)
        worker.wait()
        self.assertNotIn("sesame", worker.log())

    def test_serve_ends_at_once_where_the_broker_is_not_there(self):
        worker = self.worker_of("alone", queue__url="amqp://127.0.0.1:1/")
        worker.start(ready=False)
        self.assertEqual(worker.wait(), 1)
        self.assertIn("127.0.0.1:1", worker.log())

    def test_serve_warns_of_empty_lists(self):
        for name, full, empty in (("sources", "no command", "no source"),
                                  ("commands", "no source", "no command")):
            worker = self.worker_of("empty-" + name, **{name + "__allow": ""})
            worker.start()
            self.assertIn(empty + " is allowed", worker.log())
            self.assertNotIn(full + " is allowed", worker.log())
            worker.stop()

    def test_the_template_is_a_valid_configuration(self):
        template = self.program("sbx-worker", "template")
        self.assertEqual(template.returncode, 0)
        path = os.path.join(self.folder, "template.ini")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(template.stdout)
        done = self.program("sbx-worker", "check", "--json", "--config", path)
        found = [each for each in json.loads(done.stdout)["checks"]
                 if each["name"] == "configuration" and each["status"] == "fail"]
        self.assertEqual(found, [])


if __name__ == "__main__":
    sbxtest.main(verbosity=2)
