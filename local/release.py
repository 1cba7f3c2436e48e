"""The commit that is deployed, and the address of its runbook.

release.py    writes samconfig.toml with both parameters into .local/, and prints its path, for
              `sam deploy --config-file`
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNBOOK = "docs/operations.md"


def version():
    """The commit, with -dirty if files differ from it. functions/version.rs does the same."""
    return git("describe", "--always", "--dirty", "--exclude=*", "--abbrev=12") or "unknown"


def parameters():
    """The template's parameters for both. Without a remote repository there is no RunbookUrl."""
    found = {"Version": version()}
    page = _page(git("remote", "get-url", "origin"))
    commit = git("rev-parse", "HEAD")
    if page and commit:
        found["RunbookUrl"] = f"{page}/blob/{commit}/{RUNBOOK}"
    return found


def with_parameters(config, values):
    """The text of a samconfig.toml with these values first in each list of parameters.

    A value that the list itself has comes later, and counts.
    """
    added = "".join(f'\n  "{name}={value}",' for name, value in values.items())
    return re.sub(
        r"^(parameter_overrides = \[)$", lambda found: found[1] + added, config, flags=re.M
    )


def _page(remote):
    """The web page of the repository at this URL, without user and password; else None."""
    over_web = re.fullmatch(
        r"(?:https?|ssh)://(?:[^@/]*@)?([^/:]+)(?::\d+)?/(.+?)(?:\.git)?/?", remote or ""
    )
    by_ssh = re.fullmatch(r"[^@/]+@([^:/]+):(.+?)(?:\.git)?/?", remote or "")
    found = over_web or by_ssh
    return f"https://{found[1]}/{found[2]}" if found else None


def git(*arguments):
    """What git prints, without blanks around it. Nothing if git fails or is missing."""
    try:
        answer = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


if __name__ == "__main__":
    target = ROOT / ".local" / "samconfig.toml"
    target.parent.mkdir(exist_ok=True)
    target.write_text(with_parameters((ROOT / "samconfig.toml").read_text(), parameters()))
    print(target)
