"""What `make deploy` tells the template of its commit."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import release


class Release(unittest.TestCase):
    def test_the_page_of_a_repository_has_no_user_and_no_password(self):
        page = "https://git.example/team/agents"
        for remote in (
            "https://git.example/team/agents.git",
            "https://someone:s3cret@git.example/team/agents",
            "ssh://git@git.example:2222/team/agents.git",
            "git@git.example:team/agents.git",
        ):
            self.assertEqual(release._page(remote), page, remote)
        for remote in ("", None, "/srv/git/agents.git", "../agents"):
            self.assertIsNone(release._page(remote), remote)

    def test_each_environment_gets_the_commit_before_what_it_says_itself(self):
        config = (release.ROOT / "samconfig.toml").read_text()
        told = release.with_parameters(config, {"Version": "abc", "RunbookUrl": "https://x/r"})
        self.assertEqual(
            told.count('"Version=abc",\n  "RunbookUrl=https://x/r",\n  "Environment='), 3
        )
        self.assertEqual(
            told.replace('\n  "Version=abc",\n  "RunbookUrl=https://x/r",', ""), config
        )

    def test_without_git_or_outside_a_repository_the_version_is_unknown(self):
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(release, "ROOT", Path(folder)),
        ):
            self.assertEqual(release.parameters(), {"Version": "unknown"})
        with mock.patch.object(release.subprocess, "run", side_effect=FileNotFoundError):
            self.assertEqual(release.version(), "unknown")

    def test_functions_and_stack_name_a_commit_in_the_same_way(self):
        script = (release.ROOT / "functions" / "version.rs").read_text()
        for word in ("describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"):
            self.assertIn(f'"{word}"', script)
            self.assertIn(f'"{word}"', Path(release.__file__).read_text())


if __name__ == "__main__":
    unittest.main()
