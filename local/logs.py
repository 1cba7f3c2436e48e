"""Prints the functions' log lines as they arrive, one short line each."""

import json
import time

import boto3

# Said on every line anyway, or of no use to a reader.
QUIET = {"timestamp", "level", "message", "name", "service", "target"}
HISTORY_SECONDS = 600


def follow(groups):
    client = boto3.client("logs")
    since = dict.fromkeys(groups, int((time.time() - HISTORY_SECONDS) * 1000))
    seen = set()
    try:
        while True:
            lines = []
            for function, group in groups.items():
                for page in client.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since[function]):
                    for event in page["events"]:
                        identity = (event["logStreamName"], event["timestamp"], event["message"])
                        if identity not in seen:
                            seen.add(identity)
                            since[function] = max(since[function], event["timestamp"])
                            lines.append((event["timestamp"], function, event["message"]))
            for _, function, message in sorted(lines, key=lambda line: line[0]):
                text = pretty(function, message)
                if text:
                    print(text, flush=True)
            time.sleep(1)  # what `aws logs tail --follow` does: there is nothing to wait on
    except KeyboardInterrupt:
        print()


def pretty(function, message):
    message = message.strip()
    if message.startswith(("START ", "END ", "REPORT ")):
        return None
    try:
        record = json.loads(message)
        fields = {**record}
    except (ValueError, TypeError):
        return f"{function:<9} {message}"
    text = fields.get("message", "")
    rest = " ".join(f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in fields.items() if name not in QUIET)
    return f"{str(fields.get('timestamp', ''))[11:23]} {fields.get('level', ''):<5} {function:<9} {text}  {rest}".rstrip()
