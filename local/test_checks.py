"""The checks of `make check` that are scripts find what they are for."""

import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import advisories
import commits
import dependencies
import phase


class Commits(unittest.TestCase):
    def test_a_subject_is_a_scope_and_an_imperative_of_at_most_72_characters(self):
        right = "executor: Acknowledge terminal failures"
        self.assertIsNone(commits.check(right))
        self.assertIsNone(commits.check(f"api: {'A' * 67}"))
        for wrong, problem in (
            (f"api: {'A' * 68}", "73 characters"),
            ("Acknowledge terminal failures", "must read"),
            ("executor: acknowledge terminal failures", "must read"),
            (f"{right}.", "must read"),
            ("executor: Acknowledged terminal failures", "imperative"),
            ("executor: Acknowledging terminal failures", "imperative"),
            ("executor: Acknowledges terminal failures", "imperative"),
        ):
            self.assertIn(problem, commits.check(wrong) or "", wrong)

    def test_the_newest_commits_are_those_that_origin_lacks(self):
        answers = {"origin/main..HEAD": "api: New\n", "--max-count=10": "api: New\napi: Old\n"}
        git = mock.patch.object(commits, "git", side_effect=lambda *words: answers.get(words[-1]))
        with git, mock.patch("phase.say"):
            answers["--git-dir"] = ".git"
            self.assertEqual(commits.newest(), ["api: New"])
            del answers["origin/main..HEAD"]
            self.assertEqual(commits.newest(), ["api: New", "api: Old"])
            answers.clear()
            self.assertEqual(commits.newest(), [])


class Dependencies(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        for file, text in (
            ("src/lib.rs", "use serde::Serialize;\n// use tokio::time;\nfn f() { my_time::now() }"),
            ("tests/it.rs", "use proptest::prelude::*;"),
        ):
            (self.root / file).parent.mkdir()
            (self.root / file).write_text(text)

    def problems(self, *names, kind=None, reasons=None):
        package = {
            "name": "it",
            "manifest_path": str(self.root / "Cargo.toml"),
            "metadata": {"unnamed-dependencies": reasons or {}},
            "dependencies": [{"name": name, "rename": None, "kind": kind} for name in names],
        }
        return dependencies.problems(package)

    def test_a_dependency_that_no_code_names_is_found(self):
        self.assertEqual(self.problems("serde", "my-time"), [])
        self.assertEqual(self.problems("time"), ["no code names time"])
        self.assertEqual(self.problems("tokio"), ["no code names tokio"])

    def test_tests_may_name_what_only_they_need(self):
        self.assertEqual(self.problems("proptest", kind="dev"), [])
        self.assertEqual(self.problems("proptest"), ["no code names proptest"])

    def test_a_dependency_may_have_a_reason_but_no_needless_one(self):
        self.assertEqual(self.problems("tokio", reasons={"tokio": "why"}), [])
        self.assertEqual(len(self.problems("serde", reasons={"serde": "why"})), 1)

    def different(self, reasons=(), **functions):
        crates = {
            name: {"serde v1.0.1": {frozenset(asked.split())}} for name, asked in functions.items()
        }
        return dependencies.differences(crates, reasons)

    def test_functions_that_build_a_crate_twice_are_found(self):
        self.assertEqual(self.different(api="rc std", executor="std rc"), [])
        self.assertEqual(
            self.different(api="rc std", executor=""),
            ["serde v1.0.1 (api: rc, std; executor: none)"],
        )

    def test_a_crate_may_have_a_reason_to_differ_but_no_needless_one(self):
        self.assertEqual(self.different(["serde"], api="rc", executor=""), [])
        self.assertEqual(len(self.different(["serde"], api="rc", executor="rc")), 1)

    def test_the_crates_of_a_function_have_the_features_that_it_asks_for(self):
        (asked,) = (
            builds
            for crate, builds in dependencies.features("executor").items()
            if crate.startswith("indexmap v2")
        )
        self.assertTrue(all("serde" in build for build in asked))


class Advisories(unittest.TestCase):
    """With a `cargo deny` that answers as the real one does."""

    OFFLINE = subprocess.CompletedProcess([], 1, stdout="", stderr=advisories.UNREACHABLE)
    CLEAN = subprocess.CompletedProcess([], 0, stdout="", stderr="")
    FOUND = subprocess.CompletedProcess([], 1, stdout="", stderr="error[vulnerability]")

    def check(self, *answers, copy=False):
        with tempfile.TemporaryDirectory() as home:
            if copy:
                (Path(home) / "advisory-dbs" / "db" / "crates").mkdir(parents=True)
            with (
                mock.patch.object(advisories, "CARGO_HOME", Path(home)),
                mock.patch.object(advisories, "cargo_deny", side_effect=answers),
                mock.patch("phase.say") as said,
            ):
                advisories.main()
        return [call.args[0] for call in said.call_args_list]

    def test_an_advisory_fails_the_check(self):
        with self.assertRaises(phase.Failed):
            self.check(self.FOUND)
        with self.assertRaises(phase.Failed):
            self.check(self.OFFLINE, self.FOUND, copy=True)

    def test_without_a_connection_the_last_copy_is_used(self):
        self.assertEqual(self.check(self.OFFLINE, self.CLEAN, copy=True), ["advisories"] * 2)

    def test_without_a_connection_and_a_copy_the_check_is_skipped(self):
        self.assertEqual(self.check(self.OFFLINE), ["skipped"])


if __name__ == "__main__":
    unittest.main()
