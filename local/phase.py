"""What a script prints: its progress, its failures, and that a long command still runs."""

import contextlib
import os
import subprocess
import sys
import threading
import time


class Failed(Exception):
    """A failure with its cause and what to do about it, for a person to read."""


def main(script, interrupted):
    """Runs a script, and ends it without a traceback if the cause is no defect."""
    try:
        script()
    except Failed as failure:
        sys.exit(f"\n{failure}")
    except KeyboardInterrupt:
        sys.exit(f"\n{interrupted}")
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe. Without this, Python complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(title, text):
    print(f"{title:<9} {text}", flush=True)


def run(title, doing, argv, log, **options):
    """Runs one long command with its output in a log, and shows the log's end if it fails."""
    os.makedirs(os.path.dirname(log), exist_ok=True)
    began = time.monotonic()
    with open(log, "w+b") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **options
        )
        done = threading.Event()
        ticker = threading.Thread(target=_tick, args=(title, doing, log, began, done), daemon=True)
        ticker.start()
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            done.set()
            ticker.join()
    if status != 0:
        raise Failed(f"{title} failed (exit {status}). The end of {log}:\n\n{_tail(log, 25)}")
    say(title, f"{doing} ({time.monotonic() - began:.0f} s)")


def _tick(title, doing, log, began, done):
    # The next write of the script fails too, and ends it.
    with contextlib.suppress(BrokenPipeError):
        _show_progress(title, doing, log, began, done)


def _show_progress(title, doing, log, began, done):
    terminal = sys.stdout.isatty()
    while not done.wait(1 if terminal else 20):
        elapsed = f"{time.monotonic() - began:.0f} s"
        if terminal:
            last = _tail(log, 1).strip()
            print(f"\r\033[K{title:<9} {doing}: {elapsed}  {last}"[: _width()], end="", flush=True)
        else:
            say(title, f"{doing}: {elapsed}")
    if terminal:
        print("\r\033[K", end="", flush=True)


def _width():
    try:
        return os.get_terminal_size().columns + len("\r\033[K") - 1
    except OSError:
        return 80


def _tail(path, lines):
    with open(path, "rb") as log:
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - 64 * 1024))
        text = log.read().decode("utf-8", "replace")
    return "\n".join(
        [line for line in text.replace("\r", "\n").split("\n") if line.strip()][-lines:]
    )
