"""Draws a task's life as a waterfall: its waits, its workers, their steps, and captured spans.

Everything comes from the API: the task's history and its steps. Spans come from a file, if there is
one.
"""

import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import datetime, timezone

import phase
import terminal

BAR = 32
MOST_SPANS = 300
WHERE = "Is API_URL the output ApiUrl of the deployment?"
# The fields of a span that are shown after its name.
TOLD = ("gen_ai.request.model", "decision", "cache", "settled", "status", "error.type", "condition")
ENDINGS = ("completed", "failed", "timed_out", "canceled")
# The state of a task after each event; other events are only marks.
AFTER = {
    "submitted": "queued",
    "requeued": "queued",
    "handed_over": "queued",
    "awakened": "queued",
    "answered": "queued",
    "resumed": "queued",
    "reopened": "queued",
    "parked": "waits",
    "input_required": "waits for its client",
    "paused": "paused",
    "claimed": "worker",
}
FILLS = {"wait": "░", "work": "▒", "lost": "▒", "model": "█", "tool": "█", "span": "━", "mark": "┃"}
STYLES = {
    "wait": "dim",
    "work": "bold",
    "lost": "red",
    "model": "cyan",
    "tool": "magenta",
    "span": "blue",
    "mark": "yellow",
    "bad": "red",
}


@dataclass
class Row:
    start: float
    end: float
    kind: str
    label: str
    depth: int = 0
    bad: str = ""


def show(url, key, task_id, spans_file):
    task, steps = fetch(url, key, task_id)
    spans = read_spans(spans_file, task_id) if spans_file.exists() else []
    print(render(task, steps, spans, terminal.painter(), terminal.width()))


def is_task_id(text):
    return bool(re.fullmatch(r"tsk_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text))


def fetch(url, key, task_id):
    if not is_task_id(task_id):
        raise phase.Failed("Give the whole id of the task: make trace TASK=tsk_…")
    task = _get(f"{url}/v1/tasks/{task_id}", key, "history")
    if task["history_first"] > 0:
        task["history"] = _list(f"{url}/v1/tasks/{task_id}/history", key)
    return task, _list(f"{url}/v1/tasks/{task_id}/steps", key)


def _list(url, key):
    entries, cursor = [], ""
    while cursor is not None:
        page = _get(
            f"{url}?limit=100" + (f"&cursor={cursor}" if cursor else ""), key, "next_cursor"
        )
        entries += page["data"]
        cursor = page["next_cursor"]
    return entries


def _get(url, key, expected):
    try:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=40) as response:
            answer = json.load(response)
        if not isinstance(answer, dict) or expected not in answer:
            raise ValueError(f"the response has no {expected}. {WHERE}")
        return answer
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")
        # Other servers return 404 too, but not with this text.
        no_task = (
            "The owner of the API key has no such task. It may be a task of another tenant or "
            "another stack, or it was deleted, or its record has expired. Check the task's id, "
            "and the stack: AWS_PORT, or API_URL and API_KEY."
            if f"task {url.rsplit('/', 1)[-1]} not found" in said
            else WHERE
        )
        why = {401: "The API refuses API_KEY.", 404: no_task}.get(error.code, said)
        raise phase.Failed(f"GET {url} returned {error.code}: {why}") from None
    except (OSError, ValueError) as error:
        raise phase.Failed(f"GET {url} failed: {error}") from None


def read_spans(file, task_id):
    """The X-Ray segments and subsegments of all traces about the task, as a flat list."""
    documents = []
    for line in file.read_text(errors="replace").splitlines():
        try:
            documents += _flat(json.loads(line), None, None)
        except (ValueError, AttributeError):
            continue  # the last line may be incomplete
    about = [one for one in documents if (one.get("annotations") or {}).get("task_id") == task_id]
    # Requests that only read the task have their own traces. They would stretch the picture.
    traces = {one["trace_id"] for one in about} - {
        one["trace_id"] for one in about if str(one.get("name")).startswith("GET ")
    }
    newest = {
        one["id"]: one
        for one in documents
        if one["trace_id"] in traces and {"id", "start_time"} <= one.keys()
    }
    return sorted(newest.values(), key=lambda one: one["start_time"])


def _flat(document, trace_id, parent_id):
    document = {
        **document,
        "trace_id": document.get("trace_id", trace_id),
        "parent_id": document.get("parent_id", parent_id),
    }
    children = document.pop("subsegments", None) or []
    return [
        document,
        *(
            one
            for child in children
            for one in _flat(child, document["trace_id"], document.get("id"))
        ),
    ]


def render(task, steps, spans, paint, width):
    rows = timeline(task, steps)
    begin = rows[0].start if rows else _seconds(task["created_at"])
    end = max([row.end for row in rows] + [begin])
    lines = [_title(task, end - begin, paint), ""]
    lines += [_line(row, begin, end, paint, width) for row in rows]
    if spans:
        drawn = span_rows(spans)
        traces = " ".join(sorted({one["trace_id"] for one in spans}))
        lines += ["", paint(f"spans of {traces}", "bold"), ""]
        first = min(begin, *(row.start for row in drawn))
        last = max(end, *(row.end for row in drawn))
        lines += [_line(row, first, last, paint, width) for row in drawn[:MOST_SPANS]]
        if len(drawn) > MOST_SPANS:
            lines.append(f"and {len(drawn) - MOST_SPANS} more")
    return "\n".join([*lines, "", *totals(task, steps, rows, paint)])


def timeline(task, steps):
    """The states of the task in order, with the steps below their workers."""
    rows, current = [], None
    for change in task["history"]:
        at, event = _seconds(change["at"]), change["event"]
        state = AFTER.get(event)
        if state is None and event not in ENDINGS:
            rows.append(Row(at, at, "mark", event.replace("_", " "), 1))
            continue
        if current:
            current.end = at
            if current.kind == "work" and (event == "claimed" or change.get("lost")):
                current = _lost(current, rows, steps)
            if event != "claimed":
                current.label += f" → {_event(change)}"
            if event in ("failed", "timed_out"):
                current.bad = event.replace("_", " ")
        current = None
        if state == "worker":
            current = Row(at, at, "work", f"worker {change.get('worker', '')[-8:]}")
        elif state:
            reason = change.get("reason") or change.get("limit")
            current = Row(at, at, "wait", f"{state}: {reason}" if reason else state)
        if current:
            rows.append(current)
    if current:
        current.end = max(
            current.end, _seconds(task["updated_at"]), datetime.now(timezone.utc).timestamp()
        )
        current.label += " …"
    rows += [_step(step) for step in steps]
    # A step that ended at the moment of the loss comes before the loss.
    return sorted(rows, key=lambda row: (row.start, row.kind == "lost", row.depth))


def _lost(worker, rows, steps):
    """Cuts the row of a lost worker: it certainly worked until its last step, or its claim."""
    finished = [_seconds(step["finished_at"]) for step in steps if step.get("by") != "client"]
    lost = Row(worker.start, worker.end, "lost", f"lost {worker.label}", bad="lost")
    lost.start = worker.end = max(
        (end for end in finished if worker.start < end <= lost.end), default=worker.start
    )
    if worker.end == worker.start:
        rows.remove(worker)
    rows.append(lost)
    return lost


def _event(change):
    words = [change["event"].replace("_", " ")]
    words += [f"hop {change['hop']}"] if "hop" in change else []
    words += [str(change[name]) for name in ("reason", "limit", "code") if name in change]
    words += [f"after step {change['base']}"] if change.get("base") else []
    return " ".join(words)


def _step(step):
    start, end = _seconds(step["started_at"]), _seconds(step["finished_at"])
    if step["kind"] == "tool_call":
        label = f"{step['number']} tool {step['name']}"
        label += (
            ""
            if step["by"] == "platform"
            else f", by {'its client' if step['by'] == 'client' else 'nobody'}"
        )
        return Row(
            start,
            end,
            "tool",
            f"{label}, {len(step['text'].encode())} bytes",
            1,
            "error" if step["is_error"] else "",
        )
    model, wanted = step["model"]["model"], step["requested_model"]["model"]
    usage = step["usage"]
    parts = [
        f"{step['number']} model {model}" + (f" instead of {wanted}" if model != wanted else "")
    ]
    parts += [f"x{step['model_attempts']}"] if step["model_attempts"] > 1 else []
    parts += [step["origin"]] if step["origin"] != "provider" else []
    cached = f" ({usage['cache_read_tokens']} cached)" if usage["cache_read_tokens"] else ""
    parts += [
        f"{usage['input_tokens']}{cached} → {usage['output_tokens']} tokens",
        _money(step["cost_micro_usd"]),
    ]
    parts += (
        [f"calls {', '.join(call['name'] for call in step['tool_calls'])}"]
        if step["tool_calls"]
        else [step["stop_reason"]]
    )
    return Row(start, end, "model", ", ".join(parts), 1)


def span_rows(spans):
    by_id = {one.get("id"): one for one in spans}

    def depth(one):
        deep, seen = 0, set()
        while (one := by_id.get(one.get("parent_id"))) is not None and one.get("id") not in seen:
            seen.add(one.get("id"))
            deep += 1
        return deep

    children = {}
    for one in spans:
        parent = one.get("parent_id")
        children.setdefault(
            parent if parent in by_id and parent != one.get("id") else None, []
        ).append(one)
    rows, stack = [], list(reversed(children.get(None, [])))
    while stack:
        one = stack.pop()
        bad = next((word for word in ("fault", "error", "throttle") if one.get(word)), "")
        start = float(one["start_time"])
        rows.append(
            Row(start, float(one.get("end_time") or start), "span", _span(one), depth(one), bad)
        )
        stack += reversed(children.get(one.get("id"), []))
    return rows


def _span(one):
    said = {
        **(one.get("metadata") or {}),
        "status": ((one.get("http") or {}).get("response") or {}).get("status"),
    }
    name = str(one.get("name", ""))
    told = [
        str(said[field])
        for field in TOLD
        if said.get(field) is not None and str(said[field]) not in name.split()
    ]
    return ", ".join([name, *told])


def totals(task, steps, rows, paint):
    spent = {
        kind: sum(row.end - row.start for row in rows if row.kind == kind)
        for kind in ("wait", "work", "lost", "model", "tool")
    }
    used = task["spent"]
    calls = sum(step["kind"] == "model_call" for step in steps)
    cached = f" ({used['cache_read_tokens']:,} cached)" if used["cache_read_tokens"] else ""
    lost = f", {duration(spent['lost'])} until a lost worker was detected" if spent["lost"] else ""
    workers = sum(change["event"] == "claimed" for change in task["history"])
    unpriced = (
        f" and {_some(task['unpriced_calls'], 'unpriced call')}" if task["unpriced_calls"] else ""
    )
    lines = [
        f"waited {duration(spent['wait'])}, worked {duration(spent['work'])} "
        f"({duration(spent['model'])} in answered model calls, "
        f"{duration(spent['tool'])} in tools){lost}",
        f"{_some(task['steps'], 'step')} ({_some(calls, 'model call')}, "
        f"{_some(task['model_attempts'], 'attempt')}), "
        f"{_some(task['hops'], 'hop')}, {_some(workers, 'worker')}",
        f"{used['input_tokens']:,}{cached} tokens in, {used['output_tokens']:,} out, "
        f"{_money(task['cost_micro_usd'])}{unpriced}",
    ]
    if error := task.get("error"):
        lines.append(paint(terminal.printable(f"{error['code']}: {error['message']}"), "red"))
        for attempt in error.get("attempts", []):
            status, request = (
                attempt.get("status") or "no response",
                attempt.get("request_id") or "no request id",
            )
            lines.append(
                terminal.printable(
                    f"  {attempt['provider']}/{attempt['model']}: "
                    f"{attempt['code']}, {status}, {request}"
                )
            )
    if task["status"] == "timed_out":
        lines.append(
            paint(
                f"timed out: its timeout_seconds of {task['limits']['timeout_seconds']} "
                f"were over at {task['deadline_at']}",
                "red",
            )
        )
    if task["history"] and task["history"][0]["event"] != "submitted":
        lines.append(
            paint("An earlier version of the platform did not keep the first transitions.", "dim")
        )
    return lines


def _title(task, seconds, paint):
    status = task["status"]
    bad = status in ("failed", "timed_out")
    style = "green" if status == "completed" else "red" if bad else "yellow"
    when = "after" if status in ENDINGS else "for"
    agent = f"{task['agent_id']} version {task['agent_version']}"
    took = f"{paint(status, style)} {when} {duration(seconds)}"
    return f"{paint(task['id'], 'bold')} {took}, of {agent}"


def _line(row, begin, end, paint, width):
    scale = BAR / (end - begin) if end > begin else 0
    left = min(BAR - 1, int((row.start - begin) * scale))
    length = max(1, min(BAR - left, round((row.end - row.start) * scale)))
    bar = " " * left + FILLS[row.kind] * length + " " * (BAR - left - length)
    took = duration(row.end - row.start) if row.kind != "mark" else ""
    label = terminal.printable(
        "  " * row.depth
        + row.label
        + (f", {row.bad}" if row.bad and row.bad not in row.label else "")
    )
    room = width and max(20, width - BAR - 27)
    label = label if not room or len(label) <= room else label[: room - 1] + "…"
    style = STYLES["bad" if row.bad else row.kind]
    start = "+" + duration(row.start - begin)
    return f"{start:>11} {took:>10}  {paint(bar, style)}  {paint(label, style)}".rstrip()


def duration(seconds):
    milliseconds = round(max(0, seconds) * 1000)
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    if milliseconds < 100_000:
        return f"{milliseconds / 1000:.2f} s"
    minutes, whole = divmod(milliseconds // 1000, 60)
    return (
        f"{minutes} m {whole:02} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} m"
    )


def _some(count, what):
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _money(micro_usd):
    return f"{micro_usd / 1e6:.6f} USD"


def _seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
