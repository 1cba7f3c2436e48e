"""Checks what must be on the machine and installs the pinned tools named on the command line into .local/.

Stays readable for old Pythons up to the version check, so that it can say what is missing.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit("Python 3.10 or newer is needed, this is %s. Put a newer python3 first on the PATH." % sys.version.split()[0])

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
CARGO_DENY = "0.20.2"
CARGO_FUZZ = "0.13.2"


def main(tools):
    check_machine(tools)
    LOCAL.mkdir(exist_ok=True)
    with lock("install"):
        for tool in tools:
            INSTALLERS[tool]()


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
                problems.append(f"{command} {wanted} or newer is needed, this is {found.strip() or 'unknown'}: {why}")

    rust = re.search(r'^rust-version\s*=\s*"([\d.]+)"', (ROOT / "Cargo.toml").read_text(), re.M)
    oldest_rust = tuple(map(int, rust.group(1).split("."))) if rust else (0,)
    need("cargo", "install Rust with rustup")
    need("rustc", "run `rustup update`", ["rustc", "--version"], oldest_rust)
    need("cc", "install a C compiler (Debian: apt install build-essential)")
    if "fuzz" in tools:
        need("c++", "install a C++ compiler (Debian: apt install build-essential)")
    if "model" in tools:
        need("node", "install Node.js 20.15 or newer", ["node", "--version"], (20, 15))
        need("npm", "it comes with Node.js")
    if "aws" in tools and platform.system() != "Linux":
        problems.append("the local AWS starts the Lambda binaries as plain processes, which needs Linux: use a container, a VM or WSL")
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        problems.append("Python's venv module is missing: install it (Debian: apt install python3-venv)")
    if problems:
        raise phase.Failed("This machine is not ready:\n" + "\n".join(f"  - {problem}" for problem in problems))


@contextlib.contextmanager
def lock(name):
    """One holder at a time; the system frees it when the holder dies, however it dies."""
    LOCAL.mkdir(exist_ok=True)
    with open(LOCAL / f"{name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            phase.say(name, "waiting for another one in this folder to finish")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install(name, folder, inputs, *commands):
    """Runs the commands unless they once succeeded for the same inputs in the same place."""
    stamp = folder / ".installed"
    digest = hashlib.sha256(repr([inputs, commands, str(ROOT), sys.version]).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for doing, argv in commands:
        # The caches that these tools keep in the home folder belong into the project's.
        caches = {"XDG_CACHE_HOME": str(LOCAL / "cache"), "npm_config_cache": str(LOCAL / "cache" / "npm")}
        phase.run("install", doing, argv, str(LOCAL / "log" / f"install-{name}.log"), env={**os.environ, **caches}, cwd=folder)
    stamp.write_text(digest)


def install_venv(name, doing):
    requirements = ROOT / "local" / f"requirements-{name}.txt"
    folder = LOCAL / name
    install(
        name,
        folder,
        requirements.read_text(),
        (f"{doing}: environment", [sys.executable, "-m", "venv", str(folder)]),
        (doing, [str(folder / "bin" / "pip"), "install", "--disable-pip-version-check", "-r", str(requirements)]),
    )


def install_model():
    folder = LOCAL / "model"
    sources = [ROOT / "local" / "package.json", ROOT / "local" / "package-lock.json"]
    install(
        "model",
        folder,
        [source.read_text() for source in sources],
        ("model stand-in: files", ["cp", *map(str, sources), str(folder)]),
        ("model stand-in", ["npm", "ci", "--no-audit", "--no-fund"]),
    )


def install_cargo(name, version):
    folder = LOCAL / name
    crate = f"cargo-{name}"
    argv = ["cargo", "install", "--locked", "--debug", "--root", str(folder), "--target-dir", str(folder / "target"), f"{crate}@{version}"]
    install(name, folder, version, (crate, argv), (f"{crate}: tidy up", ["rm", "-rf", str(folder / "target")]))


INSTALLERS = {
    "aws": lambda: install_venv("aws", "local AWS"),
    "sam": lambda: install_venv("sam", "SAM CLI, cargo-lambda and cfn-lint"),
    "model": install_model,
    "deny": lambda: install_cargo("deny", CARGO_DENY),
    "fuzz": lambda: install_cargo("fuzz", CARGO_FUZZ),
}

if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except phase.Failed as failure:
        sys.exit(f"\n{failure}")
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command continues.")
