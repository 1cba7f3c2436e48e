"""Sends random requests to the API that API_URL names, and compares it with docs/openapi.json.

The tool is schemathesis, with a fixed seed. It uses the deployment's own key, with all checks and
all phases, and the keys of two tenants, neither of which may read or change what the other one
created. schemathesis.toml says what the checks expect, and why.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import phase
from install import LOCAL, ROOT
from platform_api import Api

SEED = "7"
EXAMPLES = "60"
SECONDS = "90"
# The local AWS takes its time for a request, but not for several at once, so these run at once. Not
# as threads of one process: Python 3.11 cannot compile code in several threads.
RUNS = {
    "agents": ["--include-tag", "agents"],
    "tasks": ["--include-tag", "tasks", "--include-tag", "dead-letters"],
    "others": [
        "--exclude-tag",
        "agents",
        "--exclude-tag",
        "tasks",
        "--exclude-tag",
        "dead-letters",
    ],
}
# They end a key that the run uses, or need the key of an operator, as all routes on tenants do.
NOT_FOR_TENANTS = ("revoke_key", "rotate_key", "change_key", "renew_key_seals")
TENANTS = ("fuzz-left", "fuzz-right")
SCOPES = (
    "agents:read",
    "agents:write",
    "tasks:read",
    "tasks:submit",
    "tasks:limits",
    "dead_letters",
    "keys",
)


def main():
    api = Api(os.environ["API_URL"], os.environ["API_KEY"], lambda target: f"make {target}")
    ours = ROOT / "local" / "schemathesis.toml"
    requests = ["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES]
    # The two runs of sequences begin again until their time is over.
    sequences = ["--phases", "stateful", "--max-examples", EXAMPLES, "--max-time", SECONDS]
    tenants = ["--phases", "fuzzing,stateful", "--max-examples", "30", "--max-time", SECONDS]
    tenants += ["--checks", "object_level_authorization", "--exclude-tag", "tenants"]
    for operation in NOT_FOR_TENANTS:
        tenants += ["--exclude-operation-id", operation]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = [new_key(api, tenant) for tenant in TENANTS]
        check(
            {
                "agents": start("agents", folder, ours, [*requests, *RUNS["agents"]]),
                "tasks": start("tasks", folder, ours, [*requests, *RUNS["tasks"]]),
                "tenants": start("tenants", folder, two_tenants(keys, folder), tenants),
            }
        )
        for key in keys:
            # A run whose key no longer worked has found nothing.
            Api(api.url, key, api.make).call("GET", "/v1/agents")
        # These suspend and delete any tenant, so they begin after the run that needs its tenants.
        check(
            {
                "others": start("others", folder, ours, [*requests, *RUNS["others"]]),
                "sequences": start("sequences", folder, ours, sequences),
            }
        )


def start(name, folder, config, arguments):
    """Its caches are in the folder, so that no run repeats what an earlier one found."""
    log = LOCAL / "log" / f"api-fuzz-{name}.log"
    command = [str(LOCAL / "schemathesis" / "bin" / "schemathesis"), "--config-file", str(config)]
    command += ["run", str(ROOT / "docs" / "openapi.json"), "--url", os.environ["API_URL"]]
    command += ["--seed", SEED, "--continue-on-failure", *arguments]
    with open(log, "w") as file:
        process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file)
    return process, log, time.monotonic()


def check(runs):
    """Waits for all runs, and fails if one of them found something."""
    failed = []
    for name, (process, log, began) in runs.items():
        if process.wait() != 0:
            failed.append(log)
            print(log.read_text())
        summary = log.read_text().strip().rsplit("\n", 1)[-1].strip(" =")
        phase.say("api-fuzz", f"{name}: {summary} ({time.monotonic() - began:.0f} s)")
    if failed:
        raise phase.Failed(
            "The API differs from docs/openapi.json. See above, or read "
            + ", ".join(map(str, failed))
        )


def new_key(api, tenant):
    """The only key of a new tenant."""
    api.call("POST", "/v1/tenants", {"id": tenant})
    return api.call("POST", f"/v1/tenants/{tenant}/keys", {"name": "fuzz", "scopes": SCOPES})[
        "token"
    ]


def two_tenants(keys, folder):
    """The configuration of a run with the keys of two tenants."""
    users = []
    for tenant, key in zip(TENANTS, keys, strict=True):
        header = {"name": "Authorization", "value": f"Bearer {key}"}
        users.append({"name": tenant, "fixedHeaders": [header]})
    # JSON is YAML.
    (folder / "users.yaml").write_text(json.dumps({"schema_version": "0.2.0", "auth": users}))
    config = folder / "schemathesis.toml"
    peers = json.dumps(TENANTS)
    config.write_text(f'[auth.wfc]\npath = "{folder}/users.yaml"\npeers = {peers}\n')
    return config


if __name__ == "__main__":
    phase.main(main, "Interrupted.")
