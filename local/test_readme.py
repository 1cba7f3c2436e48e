"""README.md shows the API in five commands, and the script that runs them finds exactly these."""

import os
import subprocess
import tempfile
import unittest
from unittest import mock

import phase
import readme

STORY = [
    ("POST", "/v1/agents"),
    ("PATCH", "/v1/agents/$AGENT"),
    ("POST", "/v1/agents/$AGENT/execute"),
    ("GET", "/v1/tasks/$TASK?wait=25"),
    ("GET", "/v1/usage?group_by=agent"),
]

# A curl that says what it was called with, and returns an object with an id.
CURL = """curl() { printf '%s ' "$@" >> "$CALLS"; echo >> "$CALLS"; echo '{"id": "x_1"}'; }"""


class Commands(unittest.TestCase):
    def test_the_readme_creates_patches_executes_and_shows_the_usage(self):
        lines = readme.commands(readme.README.read_text())
        for line, (method, path) in zip(lines, STORY, strict=True):
            with self.subTest(path):
                self.assertEqual(line.count("curl "), 1)
                self.assertIn(f'"$API_URL{path}"', line)
                self.assertIn('-H "Authorization: Bearer $API_KEY"', line)
                self.assertEqual("--json '{" in line, method != "GET")
                self.assertEqual("-X PATCH" in line, method == "PATCH")

    def test_the_commands_are_shell_that_uses_the_ids_of_earlier_responses(self):
        lines = readme.commands(readme.README.read_text())
        with tempfile.NamedTemporaryFile("r") as calls:
            subprocess.run(
                ["bash", "-euo", "pipefail", "-c", "\n".join([CURL, *lines])],
                env={**os.environ, "CALLS": calls.name, "API_URL": "u", "API_KEY": "k"},
                check=True,
                stdout=subprocess.DEVNULL,
            )
            called = calls.read().splitlines()
        for call, (_, path) in zip(called, STORY, strict=True):
            self.assertIn("u" + path.replace("$AGENT", "x_1").replace("$TASK", "x_1"), call)

    def test_without_the_section_the_script_says_what_is_missing(self):
        for text in ("# Title\n", f"\n{readme.HEADING}\n\nwords\n\n## Next\n\n```\ncurl\n```\n"):
            with self.assertRaisesRegex(phase.Failed, "The API"):
                readme.commands(text)


TASK = {"status": "completed", "agent_id": "agt_1", "agent_version": 2}


class Check(unittest.TestCase):
    def check(self, task, *usages):
        api = mock.Mock()
        api.call.side_effect = [task, *({"data": usage} for usage in usages)]
        with mock.patch("time.sleep"), mock.patch("readme.PATIENCE_SECONDS", -1):
            readme.check(api, "agt_1", "tsk_1")

    def test_a_task_of_another_version_or_without_usage_fails(self):
        self.check(TASK, [{"group": "agt_1"}])
        for task, usage in (
            ({**TASK, "agent_version": 1}, []),
            ({**TASK, "status": "failed"}, []),
            (TASK, [{"group": "agt_2"}]),
        ):
            with self.subTest(task), self.assertRaises(phase.Failed):
                self.check(task, usage)


if __name__ == "__main__":
    unittest.main()
