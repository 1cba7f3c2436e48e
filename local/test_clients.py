"""The clients are generated, checked and used in this order, and the drivers use nothing else."""

import re
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import clients
import phase

STEPS = [
    f"{language}: {step}"
    for language in ("Python", "TypeScript")
    for step in ("generate", "check types", "drive")
]


class Steps(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.generated = Path(folder.name) / "clients"
        patch = mock.patch.object(clients, "GENERATED", self.generated)
        patch.start()
        self.addCleanup(patch.stop)

    def steps(self, failing=None):
        """The steps that are run when this one fails."""
        done = []

        def run(_, doing, *arguments, **options):
            done.append(doing)
            if doing == failing:
                raise phase.Failed(doing)

        with mock.patch("phase.run", side_effect=run):
            if failing:
                self.assertRaises(phase.Failed, clients.main)
            else:
                clients.main()
        return done

    def test_each_client_is_generated_checked_and_used(self):
        self.assertEqual(self.steps(), STEPS)

    def test_the_first_failure_ends_it(self):
        for count, step in enumerate(STEPS, 1):
            self.assertEqual(self.steps(failing=step), STEPS[:count])

    def test_nothing_of_an_earlier_run_is_used(self):
        self.steps()
        left = self.generated / "typescript" / "api.ts"
        left.touch()
        self.steps()
        self.assertFalse(left.exists())


class Drivers(unittest.TestCase):
    def imports(self, file, pattern):
        return set(re.findall(pattern, (clients.DRIVERS / file).read_text(), re.M))

    def test_they_import_only_the_generated_client_and_its_http_client(self):
        python = self.imports("drive.py", r"^(?:from|import) (\w+)") - sys.stdlib_module_names
        self.assertEqual(python, {"agents_api_client", "httpx"})
        typescript = self.imports("drive.ts", r'^import .*"([^"]+)";$')
        standard = {name for name in typescript if name.startswith("node:")}
        self.assertEqual(typescript - standard, {"./api.js", "openapi-fetch"})


if __name__ == "__main__":
    unittest.main()
