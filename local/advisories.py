"""Checks the dependencies for known vulnerabilities, by `cargo deny check advisories`.

The database comes from the internet. Without a connection the last copy is used; if this machine
never had one, the check is skipped and says so. Advisories that we accept are in deny.toml.
"""

import os
import subprocess
from pathlib import Path

import phase
from install import LOCAL, ROOT

UNREACHABLE = "failed to fetch advisory database"
CARGO_HOME = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")


def main():
    done = cargo_deny()
    if UNREACHABLE in done.stderr:
        if not any(CARGO_HOME.glob("advisory-dbs/*/crates")):
            phase.say(
                "skipped", "advisories: the database is unreachable, and there is no copy of it"
            )
            return
        phase.say("advisories", "the database is unreachable; its last copy is used")
        done = cargo_deny("--offline")
    if done.returncode != 0:
        raise phase.Failed(f"A dependency has an advisory:\n{done.stderr}")
    phase.say("advisories", "none that deny.toml does not accept")


def cargo_deny(*options):
    argv = [LOCAL / "deny" / "bin" / "cargo-deny", *options, "--workspace", "check", "advisories"]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)


if __name__ == "__main__":
    phase.main(main, "Interrupted.")
