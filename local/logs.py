"""Prints the functions' log lines as they arrive, one short line each."""

import json
import time

import boto3

import terminal

# Said on every line anyway, or of no use to a reader.
QUIET = {"timestamp", "level", "message", "name", "service", "target"}
LEVELS = {"ERROR": "red", "WARN": "yellow", "INFO": "green", "DEBUG": "dim", "TRACE": "dim"}
FUNCTIONS = {"api": "blue", "executor": "magenta", "cleanup": "cyan"}
HISTORY_SECONDS = 600
# Lines of one function arrive later than those of another: so long they wait for each other, to be printed in their order.
SETTLE_SECONDS = 2


def follow(groups, task):
    """Of one task, from its beginning, or else of all that happens, from ten minutes ago."""
    client = boto3.client("logs")
    paint = terminal.painter()
    since = dict.fromkeys(groups, 0 if task else int((time.time() - HISTORY_SECONDS) * 1000))
    only = {"filterPattern": f'"{task}"'} if task else {}
    seen, lines = set(), []
    try:
        while True:
            settled = int((time.time() - SETTLE_SECONDS) * 1000)
            for function, group in groups.items():
                for page in client.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since[function], **only):
                    for event in page["events"]:
                        identity = (event["logStreamName"], event["timestamp"], event["message"])
                        if identity not in seen:
                            seen.add(identity)
                            since[function] = max(since[function], event["timestamp"])
                            lines.append((event["timestamp"], function, event["message"]))
            lines.sort(key=lambda line: line[0])
            while lines and lines[0][0] <= settled:
                _, function, message = lines.pop(0)
                text = pretty(function, message, paint) if task in message else None
                if text:
                    print(text, flush=True)
            time.sleep(1)  # what `aws logs tail --follow` does: there is nothing to wait on
    except KeyboardInterrupt:
        print()


def pretty(function, message, paint):
    """One line for an event; None for what the platform says of itself, unless it is bad news, and for metrics."""
    message = message.strip()
    if message.startswith(("START ", "END ", "REPORT ", "INIT_START ")):
        return None
    name = paint(f"{function:<9}", FUNCTIONS.get(function))
    try:
        fields = {**json.loads(message)}
    except (ValueError, TypeError):
        return f"{name} {terminal.printable(message)}"
    if "_aws" in fields or (str(fields.get("type", "")).startswith("platform.") and not _is_bad_news(fields)):
        return None
    clock = paint(str(fields.get("timestamp", fields.get("time", "")))[11:23], "dim")
    level = paint(f"{fields.get('level', ''):<5}", LEVELS.get(fields.get("level")))
    rest = [
        paint(f"{field}=", "dim") + terminal.printable(value if isinstance(value, str) else json.dumps(value))
        for field, value in fields.items()
        if field not in QUIET
    ]
    said = paint(terminal.printable(str(fields.get("message", ""))), "bold")
    return f"{clock} {level} {name} {said}  {' '.join(rest)}".rstrip()


def _is_bad_news(fields):
    record = fields.get("record")
    return isinstance(record, dict) and record.get("status") in ("timeout", "error", "failure")
