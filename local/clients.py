"""Generates clients of docs/openapi.json, compiles them, and drives the API that API_URL names.

Two public generators make the clients, one for Python and one for TypeScript. Nobody edits what
they make. The programs in tests/clients/ use nothing else, and their types are checked strictly.
"""

import os
import shutil

import phase
from install import LOCAL, ROOT

DOCUMENT = ROOT / "docs" / "openapi.json"
DRIVERS = ROOT / "tests" / "clients"
GENERATED = LOCAL / "clients"


def main():
    shutil.rmtree(GENERATED, ignore_errors=True)
    for language, tools, make in (
        ("Python", LOCAL / "client-python", python),
        ("TypeScript", LOCAL / "client-typescript", typescript),
    ):
        folder = GENERATED / language.lower()
        folder.mkdir(parents=True)
        for step, argv in make(folder, tools).items():
            run(f"{language}: {step}", argv, folder, tools)


def python(folder, tools):
    """The steps, each with its command. They run in `folder`."""
    programs = tools / "bin"
    generate = [programs / "openapi-python-client", "generate", "--path", DOCUMENT]
    generate += ["--output-path", folder, "--overwrite", "--fail-on-warning"]
    driver = DRIVERS / "drive.py"
    return {
        "generate": generate,
        "check types": [programs / "mypy", "--strict", "agents_api_client", driver],
        "drive": [programs / "python", driver],
    }


def typescript(folder, tools):
    """The steps, each with its command. They run in `folder`."""
    programs = tools / "node_modules" / ".bin"
    (folder / "node_modules").symlink_to(tools / "node_modules")
    for file in ("package.json", "tsconfig.json", "drive.ts"):
        shutil.copy(DRIVERS / file, folder)
    # Without it, requests must have what has a default.
    generate = [programs / "openapi-typescript", DOCUMENT, "--output", "api.ts"]
    generate += ["--default-non-nullable", "false"]
    return {
        "generate": generate,
        "check types": [programs / "tsc", "--project", "."],
        "drive": ["node", "drive.js"],
    }


def run(doing, argv, folder, tools):
    # The generator of the Python client formats its code with the `ruff` of its environment.
    path = f"{tools / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "MYPYPATH": str(folder)}
    log = LOCAL / "log" / "clients.log"
    phase.run("clients", doing, list(map(str, argv)), str(log), cwd=folder, env=environment)


if __name__ == "__main__":
    phase.main(main, "Interrupted.")
