"""Checks the subjects of the newest commits: `scope: Imperative sentence`, at most 72 characters.

The newest commits are those that origin/main does not have; without such commits, the last ten.
"""

import re

import phase
from release import git

MAX_LENGTH = 72
NEWEST = 10
SUBJECT = re.compile(r"[a-z][a-z0-9/_.-]*: [A-Z`].*[^.]")
# Endings of a first word that is no imperative, and words that have such an ending all the same.
NOT_IMPERATIVE = re.compile(r"[A-Z]\w+(?:ed|ing|s)")
IMPERATIVE = {
    "Address",
    "Bring",
    "Compress",
    "Embed",
    "Feed",
    "Need",
    "Pass",
    "Process",
    "Suppress",
}


def main():
    wrong = [f"{subject}\n    {problem}" for subject in newest() if (problem := check(subject))]
    if wrong:
        raise phase.Failed("Commits whose subject must change:\n  " + "\n  ".join(wrong))


def check(subject):
    """What is wrong with a subject, or None."""
    if len(subject) > MAX_LENGTH:
        return f"it has {len(subject)} characters, at most {MAX_LENGTH} are allowed"
    if not SUBJECT.fullmatch(subject):
        return "it must read `scope: Imperative sentence`, without a full stop"
    first = subject.split(": ", 1)[1].split()[0]
    if NOT_IMPERATIVE.fullmatch(first) and first not in IMPERATIVE:
        return f"it must begin with an imperative, and `{first}` is none"
    return None


def newest():
    if not git("rev-parse", "--git-dir"):
        phase.say("commits", "skipped: this folder is no git repository")
        return []
    ahead = git("log", "--no-merges", "--format=%s", "origin/main..HEAD")
    last = git("log", "--no-merges", "--format=%s", f"--max-count={NEWEST}")
    return (ahead or last).splitlines()


if __name__ == "__main__":
    phase.main(main, "Interrupted.")
