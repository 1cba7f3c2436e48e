"""Installs survive a kill, a move and a copy; scripts end as a person expects it."""

import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

import install
import phase

HERE = str(Path(__file__).parent)
KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
import install, pathlib
install.LOCAL = pathlib.Path(sys.argv[2])
with install.lock("install") as held:
    install.install(held, "tool", "1", ("slow", ["sh", "-c", "echo; sleep 2; echo > ../late"]))
"""
ENDS = """
import sys
sys.path.insert(0, sys.argv[1])
import phase
def script():
    {}
phase.main(script, "Interrupted.")
"""
# As pip writes them: the usual one, and one for a path that is too long or has a space.
HEADS = [
    "#!/gone/bin/python3.11\n",
    "#!/bin/sh\n'''exec' \"/is gone/bin/python\" \"$0\" \"$@\"\n' '''\n",
]


class Installs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name) / "a checkout"
        self.local = self.root / ".local"
        self.local.mkdir(parents=True)
        for patch in (mock.patch("install.LOCAL", self.local), mock.patch("phase.say")):
            patch.start()
            self.addCleanup(patch.stop)

    def install(self, *commands, inputs="1"):
        with install.lock("install") as held:
            install.install(held, "tool", inputs, *(("tool", command) for command in commands))

    def test_what_is_installed_stays_until_its_inputs_change(self):
        count = ["sh", "-c", "echo >> ../count"]
        for inputs in ("1", "1", "2"):
            self.install(count, inputs=inputs)
        self.assertEqual((self.local / "count").read_text(), "\n\n")

    def test_a_moved_checkout_has_what_is_installed(self):
        count = ["sh", "-c", "echo >> ../count"]
        self.install(count)
        moved = self.root.rename(self.root.with_name("moved")) / ".local"
        with mock.patch("install.LOCAL", moved):
            self.install(count)
        self.assertEqual((moved / "count").read_text(), "\n")

    def test_an_install_that_broke_off_begins_again_without_its_leftovers(self):
        with self.assertRaises(phase.Failed):
            self.install(["sh", "-c", "echo > leftover; exit 1"])
        self.install(["sh", "-c", "test ! -e leftover"])

    def test_nobody_installs_while_a_command_of_a_killed_install_still_writes(self):
        argv = [sys.executable, "-c", KILLED, HERE, str(self.local)]
        killed = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        log = self.local / "log" / "install-tool.log"
        while not (log.exists() and log.read_text()):
            time.sleep(0.01)
        killed.kill()
        killed.wait()
        self.install(["test", "-e", "../late"], inputs="2")

    def test_scripts_run_with_the_python_of_their_environment_wherever_that_is(self):
        programs = self.local / "tool" / "bin"
        programs.mkdir(parents=True)
        (programs / "python").symlink_to(sys.executable)
        for number, head in enumerate(HEADS):
            script = programs / f"script{number}"
            script.write_text(head + "import sys\nprint(sys.argv[1:])\n")
            script.chmod(0o755)
        install.make_movable(self.local / "tool")
        moved = self.root.rename(self.root.with_name("moved here")) / ".local" / "tool" / "bin"
        for number in range(len(HEADS)):
            shown = subprocess.run(
                [moved / f"script{number}", "a b"], capture_output=True, text=True, check=True
            ).stdout
            self.assertEqual(shown, "['a b']\n")


class Endings(unittest.TestCase):
    def run_script(self, body):
        argv = [sys.executable, "-c", ENDS.format(body), HERE]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_a_reader_that_has_read_enough_ends_a_script_silently(self):
        script = self.run_script("while True: phase.say('a', 'b')")
        script.stdout.readline()
        script.stdout.close()
        said = script.stderr.read()
        script.stderr.close()
        self.assertEqual((script.wait(timeout=10), said), (0, ""))

    def test_a_failure_is_said_without_a_traceback(self):
        script = self.run_script("raise phase.Failed('Say which task.')")
        _, said = script.communicate()
        self.assertEqual((script.returncode, said), (1, "\nSay which task.\n"))


class Targets(unittest.TestCase):
    def make(self, *arguments):
        ours = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ENV")
        environment = {name: value for name, value in os.environ.items() if name not in ours}
        argv = ["make", "-s", "-C", str(install.ROOT), *arguments]
        return subprocess.run(argv, env=environment, capture_output=True, text=True)

    def test_deploy_says_what_is_missing_before_it_installs_anything(self):
        for arguments in ((), ("ENV=production",)):
            said = self.make("deploy", "PYTHON=true", *arguments)
            self.assertEqual((said.returncode, said.stdout), (2, ""))
            self.assertTrue(
                said.stderr.startswith("Name the environment: make deploy ENV=dev|staging|prod\n"),
                said.stderr,
            )

    def test_help_lists_every_target_that_has_a_word_on_it(self):
        described = re.findall("^([a-z-]+):.* ## ", (install.ROOT / "Makefile").read_text(), re.M)
        self.assertEqual(
            [line.split()[0] for line in self.make("help").stdout.splitlines()],
            ["help", *described[1:]],
        )


if __name__ == "__main__":
    unittest.main()
