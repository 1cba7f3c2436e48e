"""Runs the commands with which README.md shows the API, against the API that API_URL names.

They are run as they are written, in one shell. Then the usage must have what the task cost.
"""

import json
import os
import re
import subprocess
import time

import phase
from install import ROOT
from platform_api import Api

README = ROOT / "README.md"
HEADING = "## The API"
PATIENCE_SECONDS = 30


def main():
    lines = commands(README.read_text())
    shown = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join([*lines, 'echo; echo "$AGENT $TASK"'])],
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    if shown.returncode != 0:
        raise phase.Failed(f"A command of {README.name} failed (exit {shown.returncode}).")
    agent, task = shown.stdout.split()[-2:]
    api = Api(os.environ["API_URL"], os.environ["API_KEY"], "make {}".format)
    check(api, agent, task)
    phase.say("readme", f"{len(lines)} commands, {task}")


def commands(text):
    """The commands of the first code block after the heading."""
    section = text.partition(f"\n{HEADING}\n")[2].partition("\n## ")[0]
    block = re.search(r"^```\n(.*?)^```$", section, re.M | re.S)
    if not block:
        raise phase.Failed(f"{README.name} has no commands under {HEADING!r}.")
    return block[1].splitlines()


def check(api, agent, task):
    """The task ran the agent's second version, and its cost is in the usage."""
    found = api.call("GET", f"/v1/tasks/{task}")
    ran = (found["status"], found["agent_id"], found["agent_version"])
    if ran != ("completed", agent, 2):
        raise phase.Failed(f"The task is not a completed one of version 2: {json.dumps(found)}")
    # A worker adds to the usage after it has ended the task.
    began = time.monotonic()
    while True:
        usage = api.call("GET", "/v1/usage?group_by=agent")
        if any(entry["group"] == agent for entry in usage["data"]):
            return
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise phase.Failed(f"The usage does not have agent {agent}: {json.dumps(usage)}")
        time.sleep(1)


if __name__ == "__main__":
    phase.main(main, "Interrupted.")
