"""Finds dependencies in a Cargo.toml that no source file names, and prints them.

A dependency counts as used if a line of code names it in a path (`name::`), a `use`
or an attribute.
One that is there for another reason has that reason in the package's Cargo.toml, under
`[package.metadata.unnamed-dependencies]`.
"""

import json
import re
import subprocess
from pathlib import Path

import phase
from install import ROOT

MANIFESTS = ("Cargo.toml", "fuzz/Cargo.toml")


def main():
    unused = []
    for manifest in MANIFESTS:
        metadata = read_metadata(ROOT / manifest)
        for package in metadata["packages"]:
            unused += [f"{package['name']}: {problem}" for problem in problems(package)]
    unused += [
        f"the workspace: no member depends on {name}" for name in unclaimed(ROOT / "Cargo.toml")
    ]
    if unused:
        raise phase.Failed("Dependencies are not used:\n  " + "\n  ".join(unused))


def read_metadata(manifest):
    argv = ["cargo", "metadata", "--no-deps", "--format-version", "1", "--manifest-path", manifest]
    return json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)


def problems(package):
    """What is wrong with the dependencies of a package, as `cargo metadata` describes it."""
    folder = Path(package["manifest_path"]).parent
    reasons = (package["metadata"] or {}).get("unnamed-dependencies", {})
    product = code_in(folder / "src")
    everything = code_in(folder)
    if package["name"] == "fuzz":
        product = everything
    found = []
    for dependency in package["dependencies"]:
        name = (dependency["rename"] or dependency["name"]).replace("-", "_")
        code = everything if dependency["kind"] else product
        if not names(code, name) and name not in reasons:
            found.append(f"no code names {name}")
        elif dependency["kind"] is None and names(code, name) and name in reasons:
            found.append(f"code names {name}, which has a reason to be unnamed")
    return found


def code_in(folder):
    """The lines of code of all Rust files below the folder, without comments."""
    files = [file for file in sorted(folder.rglob("*.rs")) if "target" not in file.parts]
    lines = [line for file in files for line in file.read_text().splitlines()]
    return "\n".join(line for line in lines if not line.lstrip().startswith("//"))


def names(code, crate):
    return bool(re.search(rf"(?<![\w:.]){crate}::|\buse {crate}\b", code))


def unclaimed(manifest):
    """The workspace's dependencies that no member takes."""
    table = manifest.read_text().split("[workspace.dependencies]")[1].split("\n[")[0]
    declared = set(re.findall(r"^([\w-]+) = ", table, re.M))
    members = read_metadata(manifest)["packages"]
    taken = {dependency["name"] for member in members for dependency in member["dependencies"]}
    return sorted(declared - taken)


if __name__ == "__main__":
    phase.main(main, "Interrupted.")
