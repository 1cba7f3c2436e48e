"""Measures the start of each function, and of a function that has only the same SDK clients.

    bench_start.py [ROUNDS]     20 rounds by default; prints medians, and ratios to the bare one

Each function is started as Lambda does it: as a process that requests its first event from a
runtime API. The time ends with that request; memory is the process's peak until then. In each
round every function starts once, so that a busy machine slows all of them equally: only the ratios
count.
"""

import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import dashboard

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "target" / "release"
FUNCTIONS = {"api": "ApiFunction", "executor": "ExecutorFunction", "cleanup": "CleanupFunction"}
BARE = "bare"
TASK_QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/tasks"


def main(rounds="20"):
    build()
    programs = {
        BARE: BUILT / "examples" / "bare_function",
        **{name: BUILT / name for name in FUNCTIONS},
    }
    environments = {BARE: {}, **{name: variables(resource) for name, resource in FUNCTIONS.items()}}
    starts = {name: [] for name in programs}
    for number in range(int(rounds) + 1):
        for name, program in programs.items():
            start = measure(program, environments[name])
            # The first round reads the programs from the disk.
            if number > 0:
                starts[name].append(start)
    report(programs, starts)


def build():
    # Without features for tests, as they are deployed.
    subprocess.run(
        ["cargo", "build", "--release", *(f"--package={name}" for name in FUNCTIONS)],
        cwd=ROOT,
        check=True,
    )
    subprocess.run(
        ["cargo", "build", "--release", "--package=shared", "--example=bare_function"],
        cwd=ROOT,
        check=True,
    )


def variables(function):
    """The environment that the template gives a function, with the defaults of its parameters."""
    template = dashboard.template()
    parameters = template["Parameters"]
    known = {
        "TaskQueue": TASK_QUEUE,
        **{name: parameter.get("Default") for name, parameter in parameters.items()},
    }
    named = {
        **template["Globals"]["Function"]["Environment"]["Variables"],
        **template["Resources"][function]["Properties"]["Environment"]["Variables"],
    }
    # A choice, [condition, value, other value], is as without any key of a provider.
    chosen = {
        name: value[-1] if isinstance(value, list) else value for name, value in named.items()
    }
    return {
        name: str(known.get(value, value))
        for name, value in chosen.items()
        if isinstance(value, str | int)
    }


def measure(program, environment):
    """Seconds until the first request, CPU seconds until then, and the peak of memory in MiB."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        lambda_environment = {
            "PATH": os.environ["PATH"],
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.getsockname()[1]}",
            "AWS_LAMBDA_FUNCTION_NAME": program.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        begun = time.perf_counter()
        process = subprocess.Popen(
            [program],
            env=lambda_environment | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(30)
                request = connection.recv(4096)
                seconds = time.perf_counter() - begun
                memory = peak_memory(process.pid)
            if b"/runtime/invocation/next" not in request:
                raise SystemExit(
                    f"{program.name} does not start; run it to see why: {request[:200]!r}"
                )
        finally:
            # Not by `process`, which would reap it.
            os.kill(process.pid, signal.SIGKILL)
            _, _, used = os.wait4(process.pid, 0)
            process.returncode = 0
        return seconds, used.ru_utime + used.ru_stime, memory


def peak_memory(process):
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def report(programs, starts):
    bare = [statistics.median(values) for values in zip(*starts[BARE], strict=True)]
    print(
        f"{'function':10} {'MB':>6} {'init ms':>9} {'ratio':>6} {'cpu ms':>8} {'ratio':>6}"
        f" {'MiB':>6} {'ratio':>6}"
    )
    for name, program in programs.items():
        seconds, cpu, memory = (
            statistics.median(values) for values in zip(*starts[name], strict=True)
        )
        print(
            f"{name:10} {program.stat().st_size / 1e6:6.1f} "
            f"{seconds * 1e3:9.1f} {seconds / bare[0]:6.2f} "
            f"{cpu * 1e3:8.1f} {cpu / bare[1]:6.2f} {memory:6.1f} {memory / bare[2]:6.2f}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
