"""Finds dependencies that no source file names, or that the functions do not share.

A dependency counts as used if a line of code names it in a path (`name::`), a `use`
or an attribute.
One that is there for another reason has that reason in the package's Cargo.toml, under
`[package.metadata.unnamed-dependencies]`.

Each function is built alone. If two functions ask for different features of a crate, cargo compiles
it and all that depends on it twice. A crate that may differ has its reason in the workspace's
Cargo.toml, under `[workspace.metadata.different-features]`.
"""

import json
import re
import subprocess
from pathlib import Path

import phase
from install import ROOT

MANIFESTS = ("Cargo.toml", "fuzz/Cargo.toml")
FUNCTIONS = ("api", "executor", "cleanup")


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
    reasons = read_metadata(ROOT / "Cargo.toml")["metadata"]["different-features"]
    different = differences({name: features(name) for name in FUNCTIONS}, reasons)
    if different:
        raise phase.Failed(
            "The functions do not share one build of their dependencies. Let shared/Cargo.toml ask "
            "for all features that a function asks for:\n  " + "\n  ".join(different)
        )


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


def features(function):
    """The crates that the function is built from: each with its features in each of its builds."""
    argv = ["cargo", "tree", "--locked", "--package", function, "--edges", "normal"]
    argv += ["--prefix", "none", "--format", "{p}|{f}|"]
    tree = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout
    found = {}
    for line in tree.splitlines():
        crate, enabled, _ = line.split("|")
        found.setdefault(crate, set()).add(frozenset(filter(None, enabled.split(","))))
    return found


def differences(functions, reasons):
    """The crates that functions build with different features, apart from those with a reason."""
    found, needed = [], set()
    for crate in sorted({crate for crates in functions.values() for crate in crates}):
        builds = {name: crates[crate] for name, crates in functions.items() if crate in crates}
        if all(build == next(iter(builds.values())) for build in builds.values()):
            continue
        name = crate.split()[0]
        needed.add(name)
        if name not in reasons:
            asked = (
                f"{function}: {', '.join(sorted(frozenset().union(*build))) or 'none'}"
                for function, build in builds.items()
            )
            found.append(f"{crate} ({'; '.join(asked)})")
    found += [
        f"{name} has a reason to differ, but does not" for name in sorted(set(reasons) - needed)
    ]
    return found


if __name__ == "__main__":
    phase.main(main, "Interrupted.")
