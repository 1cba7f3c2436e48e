"""Prints the functions' log lines as they arrive: the fields that a person reads, or all."""

import json
import time
from datetime import datetime

import boto3
import phase
import terminal

# Shown on every line anyway, or of no use to a reader.
QUIET = {"timestamp", "level", "message", "name", "service", "target"}
# Ids that lead to other lines, and fields that follow from the message.
ONLY_IN_FULL = {
    "function_request_id",
    "xray_trace_id",
    "request_id",
    "client_request_id",
    "message_id",
}
ONLY_IN_FULL |= {
    "version",
    "tenant_id",
    "agent_id",
    "worker",
    "method",
    "hop",
    "receives",
    "held_level",
    "location",
}
# Shown in short too: submissions that a client or a proxy repeated have the same id.
SENDER = ("client_request_id", "task accepted")
LEVELS = {"ERROR": "red", "WARN": "yellow", "INFO": "green", "DEBUG": "dim", "TRACE": "dim"}
FUNCTIONS = {"api": "blue", "executor": "magenta", "cleanup": "cyan"}
HISTORY_SECONDS = 600
# Lines of one function arrive later than lines of another. Lines are held for this time, so that
# they can be printed in order. The local AWS has an invocation's lines only when it has ended.
SETTLE_SECONDS = 2


def follow(groups, failures, task, full=False, once=False, nothing=""):
    """Follows one task from its beginning, or everything from ten minutes ago.

    If `once`, stops after the lines that are there now. `failures` are the stack's
    FailedInvocations. They name no task, and may be why a task waits. `nothing` is said if there is
    no line of the task yet.
    """
    began = _submitted_at(task) if task else time.time() - HISTORY_SECONDS
    hidden = QUIET if full else in_short(task)
    client = boto3.client("logs")
    paint = terminal.painter()
    since = dict.fromkeys(groups, 0 if task else int(began * 1000))
    only = {"filterPattern": f'"{task}"'} if task else {}
    seen, lines = set(), []
    try:
        while True:
            now = time.time()
            settled, until = now - SETTLE_SECONDS, {"endTime": int(now * 1000), **only}
            # Polls until there are no more lines: a response may be cut without a sign of it.
            # Lines that arrive meanwhile are for the next poll: a busy log must not delay others.
            while found := [
                line
                for function, group in groups.items()
                for line in _look(client, function, group, since, seen, until)
            ]:
                lines += [line for line in found if task in line[2]]
            if nothing and not lines:
                phase.say("logs", nothing)
            nothing = ""
            lines += [line for line in failures.read() if line[0] >= int(began)]
            lines.sort(key=lambda line: line[0])
            while lines and (once or lines[0][0] <= settled):
                _, function, message = lines.pop(0)
                text = pretty(function, message, paint, hidden)
                if text:
                    print(text, flush=True)
            if once:
                return
            time.sleep(1)  # as `aws logs tail --follow` does: there is no event to wait for
    except KeyboardInterrupt:
        print()


def so_far(groups, task, paint):
    """The lines of a task until now, with the short list of fields."""
    client, since, seen = boto3.client("logs"), dict.fromkeys(groups, 0), set()
    only = {"filterPattern": f'"{task}"'}
    lines = [
        line
        for function, group in groups.items()
        for line in _look(client, function, group, since, seen, only)
    ]
    printed = [
        pretty(function, message, paint, in_short(task)) for _, function, message in sorted(lines)
    ]
    return [line for line in printed if line]


def in_short(task):
    """The fields that the short form leaves out."""
    return QUIET | ONLY_IN_FULL | ({"task_id"} if task else set())


def _submitted_at(task):
    """In seconds. A task's id begins with its time in milliseconds (UUIDv7, RFC 9562)."""
    return int(task.removeprefix("tsk_").replace("-", "")[:12], 16) / 1000


def _look(client, function, group, since, seen, only):
    """The function's new lines, each with its time."""
    # Lines of another instance may have arrived since, and be older.
    begin = max(0, since[function] - SETTLE_SECONDS * 1000)
    for page in client.get_paginator("filter_log_events").paginate(
        logGroupName=group, startTime=begin, **only
    ):
        for event in page["events"]:
            identity = (event["logStreamName"], event["timestamp"], event["message"])
            if identity not in seen:
                seen.add(identity)
                since[function] = max(since[function], event["timestamp"])
                yield _said_at(event), function, event["message"]


def _said_at(event):
    """The line's own time in seconds, else the event's, which may be the invocation's end."""
    try:
        return datetime.fromisoformat(
            json.loads(event["message"])["timestamp"].replace("Z", "+00:00")
        ).timestamp()
    except (ValueError, TypeError, KeyError, AttributeError):
        return event["timestamp"] / 1000


def pretty(function, message, paint, hidden=QUIET):
    """One line for an event; None for an event that is not shown.

    Not shown are metrics, Lambda's own events without a failure, and, in the short form, successful
    requests that only read.
    """
    message = message.strip()
    if message.startswith(("START ", "END ", "REPORT ", "INIT_START ")):
        return None
    name = paint(f"{function:<9}", FUNCTIONS.get(function))
    try:
        fields = {**json.loads(message)}
    except (ValueError, TypeError):
        return f"{name} {terminal.printable(message)}"
    if "_aws" in fields or (
        str(fields.get("type", "")).startswith("platform.") and not _is_bad_news(fields)
    ):
        return None
    if hidden != QUIET and _is_answered_read(fields):
        return None
    clock = paint(f"{str(fields.get('timestamp', fields.get('time', '')))[11:23]:<12}", "dim")
    level = paint(f"{fields.get('level', ''):<5}", LEVELS.get(fields.get("level")))
    rest = [
        paint(f"{field}=", "dim")
        + terminal.printable(value if isinstance(value, str) else json.dumps(value))
        for field, value in fields.items()
        if field not in hidden or (field, fields.get("message")) == SENDER
    ]
    said = paint(terminal.printable(str(fields.get("message", ""))), "bold")
    return f"{clock} {level} {name} {said}  {' '.join(rest)}".rstrip()


def _is_answered_read(fields):
    """A client that polls for a task: there may be thousands of these lines."""
    return (
        fields.get("message") == "request handled"
        and fields.get("method") == "GET"
        and int(fields.get("status", 500)) < 400
    )


def _is_bad_news(fields):
    record = fields.get("record")
    return isinstance(record, dict) and record.get("status") in ("timeout", "error", "failure")
