"""The drawing of a task's life shows what it waited for, what it did, and what it cost."""

import io
import json
import re
import tempfile
import trace
import unittest
import urllib.error
from pathlib import Path
from unittest import mock

import dashboard
import phase
import terminal

USAGE = {
    "input_tokens": 1000,
    "output_tokens": 20,
    "cache_read_tokens": 12,
    "cache_write_tokens": 0,
    "reasoning_tokens": 0,
}
TASK = {
    "id": "tsk_1",
    "status": "failed",
    "agent_id": "agt_1",
    "agent_version": 2,
    "steps": 2,
    "hops": 1,
    "attempts": 3,
    "model_attempts": 4,
    "cost_micro_usd": 658,
    "unpriced_calls": 1,
    "spent": USAGE,
    "created_at": "2026-11-25T10:00:00.000Z",
    "updated_at": "2026-11-25T10:00:10.000Z",
    "finished_at": "2026-11-25T10:00:10.000Z",
    "error": {
        "code": "model_unavailable",
        "message": "try again",
        "attempts": [
            {
                "provider": "anthropic",
                "model": "m",
                "code": "model_unavailable",
                "status": 529,
                "request_id": "req_9",
            }
        ],
    },
    "history": [
        {"at": "2026-11-25T10:00:00.000Z", "event": "submitted"},
        {"at": "2026-11-25T10:00:01.000Z", "event": "claimed", "worker": "wrk_0123456789abcdef"},
        {"at": "2026-11-25T10:00:04.000Z", "event": "handed_over", "hop": 1},
        {"at": "2026-11-25T10:00:04.500Z", "event": "resent"},
        {"at": "2026-11-25T10:00:05.000Z", "event": "claimed", "worker": "wrk_0123456789fedcba"},
        {
            "at": "2026-11-25T10:00:06.000Z",
            "event": "parked",
            "reason": "breaker",
            "until": "2026-11-25T10:00:09.000Z",
        },
        {"at": "2026-11-25T10:00:09.000Z", "event": "claimed", "worker": "wrk_01234567890a0b0c"},
        {"at": "2026-11-25T10:00:10.000Z", "event": "failed", "code": "model_unavailable"},
    ],
}
MODEL = {"provider": "anthropic", "model": "m"}
STEPS = [
    {
        "number": 1,
        "started_at": "2026-11-25T10:00:01.100Z",
        "finished_at": "2026-11-25T10:00:03.100Z",
        "kind": "model_call",
        "requested_model": {"provider": "openai", "model": "first"},
        "model": MODEL,
        "usage": USAGE,
        "cost_micro_usd": 658,
        "model_attempts": 3,
        "origin": "provider",
        "stop_reason": "tool_use",
        "tool_calls": [{"name": "calculator"}],
    },
    {
        "number": 2,
        "started_at": "2026-11-25T10:00:03.200Z",
        "finished_at": "2026-11-25T10:00:03.700Z",
        "kind": "tool_call",
        "name": "calculator",
        "by": "platform",
        "text": "é\n",
        "is_error": True,
    },
]
DRAWING = """\
tsk_1 failed after 10.00 s, of agt_1 version 2

      +0 ms     1.00 s  ░░░                               queued
    +1.00 s     3.00 s     ▒▒▒▒▒▒▒▒▒▒                     worker 89abcdef → handed over hop 1
    +1.10 s     2.00 s     ██████                           1 model m instead of first, x3, 1000 (12 cached) → 20 tokens, 0.000658 USD, calls calculator
    +3.20 s     500 ms            ██                        2 tool calculator, 3 bytes, error
    +4.00 s     1.00 s              ░░░                   queued
    +4.50 s                           ┃                     resent
    +5.00 s     1.00 s                  ▒▒▒               worker 89fedcba → parked breaker
    +6.00 s     3.00 s                     ░░░░░░░░░░     waits: breaker
    +9.00 s     1.00 s                              ▒▒▒   worker 890a0b0c → failed model_unavailable

waited 5.00 s, worked 5.00 s (2.00 s in answered model calls, 500 ms in tools)
2 steps (1 model call, 4 attempts), 1 hop, 3 workers
1,000 (12 cached) tokens in, 20 out, 0.000658 USD and 1 unpriced call
model_unavailable: try again
  anthropic/m: model_unavailable, 529, req_9"""  # noqa: E501


STATUSES = dashboard.ROOT / "shared" / "src" / "domain" / "status.rs"


class Statuses(unittest.TestCase):
    def test_each_status_is_the_end_of_a_drawing_or_the_state_after_an_event(self):
        source = STATUSES.read_text()
        names = dict(re.findall(r"Self::(\w+) => \"(\w+)\"", source))
        ended = re.search(r"((?:Self::\w+ ?\|? ?)+)=> true", source)[1]
        endings = {names[name] for name in re.findall(r"Self::(\w+)", ended)}
        self.assertEqual(set(trace.ENDINGS), endings)
        shown = {"running": "worker", "waiting": "waits", "input_required": "waits for its client"}
        states = {shown.get(name, name) for name in names.values()} - endings
        self.assertEqual(set(trace.AFTER.values()), states)


class Waterfall(unittest.TestCase):
    maxDiff = None

    def test_waits_workers_and_steps_stand_one_below_the_other(self):
        self.assertEqual(trace.render(TASK, STEPS, [], terminal.plain, None), DRAWING)

    def test_every_bar_is_within_its_column_and_every_line_within_the_terminal(self):
        for line in trace.render(TASK, STEPS, [], terminal.plain, 80).splitlines()[2:11]:
            self.assertLessEqual(len(line), 80)
            self.assertEqual(line[22:24] + line[56:58], "    ")

    def test_a_task_that_waits_is_drawn_until_now(self):
        task = {**TASK, "status": "waiting", "error": None, "history": TASK["history"][:6]}
        rows = trace.timeline(task, [])
        self.assertEqual(rows[-1].label, "waits: breaker …")
        self.assertGreater(rows[-1].end, rows[-1].start)

    def test_a_task_that_was_opened_again_has_no_bar_between(self):
        reopened = {"at": "2026-11-25T10:00:20.000Z", "event": "reopened", "base": 1}
        rows = trace.timeline({**TASK, "history": [*TASK["history"], reopened]}, [])
        self.assertEqual(
            [(row.label, row.end - row.start > 0) for row in rows[-2:]],
            [
                ("worker 890a0b0c → failed model_unavailable", True),
                ("queued …", True),
            ],
        )
        self.assertEqual(rows[-1].start - rows[-2].end, 10)

    def test_a_worker_that_disappeared_is_told_from_one_that_gave_the_task_back(self):
        def after(event, steps=()):
            task = {
                **TASK,
                "history": [*TASK["history"][:2], {"at": "2026-11-25T10:01:01.000Z", **event}],
            }
            rows = trace.timeline(task, steps)
            worked = [
                (row.label, round(row.end - row.start, 1))
                for row in rows
                if row.kind in ("work", "lost")
            ]
            return worked, "lost worker" in trace.totals(task, steps, rows, terminal.plain)[0]

        self.assertEqual(
            after({"event": "requeued"}), ([("worker 89abcdef → requeued", 60)], False)
        )
        for event in ("requeued", "timed_out", "canceled"):
            lost = [(f"lost worker 89abcdef → {event.replace('_', ' ')}", 60)]
            self.assertEqual(after({"event": event, "lost": True}), (lost, True))
        replaced, told = after({"event": "claimed", "worker": "wrk_2"})
        self.assertEqual((replaced[0], told), (("lost worker 89abcdef", 60), True))
        with_a_step, _ = after({"event": "requeued", "lost": True}, STEPS[:1])
        self.assertEqual(
            with_a_step, [("worker 89abcdef", 2.1), ("lost worker 89abcdef → requeued", 57.9)]
        )

    def test_a_task_that_timed_out_says_of_what(self):
        task = {
            **TASK,
            "status": "timed_out",
            "error": None,
            "limits": {"timeout_seconds": 10},
            "deadline_at": "2026-11-25T10:00:10.000Z",
        }
        task["history"] = [
            *TASK["history"][:-1],
            {"at": "2026-11-25T10:00:10.000Z", "event": "timed_out"},
        ]
        self.assertIn("→ timed out\n", trace.render(task, [], [], terminal.plain, None))
        self.assertIn(
            "timed out: its timeout_seconds of 10 were over at 2026-11-25T10:00:10.000Z",
            trace.render(task, [], [], terminal.plain, None),
        )

    def test_a_span_says_what_was_asked_and_what_came_of_it(self):
        attempt = {
            "id": "1",
            "name": "model attempt",
            "start_time": 1,
            "fault": True,
            "http": {"response": {"status": 529}},
        }
        attempt["metadata"] = {
            "gen_ai.request.model": "m",
            "error.type": "model_unavailable",
            "service.name": "executor",
        }
        chat = {
            "id": "2",
            "name": "chat m",
            "start_time": 2,
            "metadata": {"gen_ai.request.model": "m", "cache": "miss"},
        }
        labels = [row.label for row in trace.span_rows([attempt, chat])]
        self.assertEqual(labels, ["model attempt, m, 529, model_unavailable", "chat m, miss"])

    def test_an_address_that_is_not_the_platforms_is_told_from_a_task_that_is_not_there(self):
        ids = "tsk_01a215d6-fbf8-7000-8000-000000000000"
        cases = {
            (404, f'{{"detail": "task {ids} not found"}}'): "another tenant or another stack",
            (404, "no such route"): "Is API_URL",
            (200, "[1]"): "Is API_URL",
        }
        for (status, body), expected in cases.items():
            answer = io.BytesIO(body.encode())
            answers = (
                {"return_value": answer}
                if status == 200
                else {"side_effect": urllib.error.HTTPError("", status, "", {}, answer)}
            )
            with (
                mock.patch("urllib.request.urlopen", **answers),
                self.assertRaisesRegex(phase.Failed, expected),
            ):
                trace.fetch("http://127.0.0.1", "key", ids)

    def test_a_long_history_is_read_whole(self):
        task = {**TASK, "history_first": 2, "history": TASK["history"][2:]}
        pages = {
            "": task,
            "/history?limit=100": {"data": TASK["history"][:5], "next_cursor": "4"},
            "/history?limit=100&cursor=4": {"data": TASK["history"][5:], "next_cursor": None},
            "/steps?limit=100": {"data": STEPS, "next_cursor": None},
        }
        identity = "tsk_01a215d6-fbf8-7000-8000-000000000000"
        base = f"http://127.0.0.1/v1/tasks/{identity}"

        def urlopen(request, timeout):
            return io.BytesIO(json.dumps(pages[request.full_url.removeprefix(base)]).encode())

        with mock.patch("urllib.request.urlopen", urlopen):
            read, steps = trace.fetch("http://127.0.0.1", "key", identity)
        self.assertEqual((read["history"], steps), (TASK["history"], STEPS))

    def test_nothing_but_an_id_goes_into_the_url(self):
        for task_id in ("", "tsk_", "tsk_1/../../agents", "agt_1"):
            with self.assertRaisesRegex(phase.Failed, "TASK=tsk_"):
                trace.fetch("http://127.0.0.1:1", "key", task_id)

    def test_text_of_others_moves_no_cursor(self):
        steps = [{**STEPS[1], "name": "x\033[2J\n"}]
        self.assertNotIn("\033", trace.render(TASK, steps, [], terminal.plain, None))

    def test_durations_are_short(self):
        shown = [
            trace.duration(seconds) for seconds in (0, 0.9994, 1, 99.9, 100, 5999, 6000, 86400)
        ]
        self.assertEqual(
            shown,
            [
                "0 ms",
                "999 ms",
                "1.00 s",
                "99.90 s",
                "1 m 40 s",
                "99 m 59 s",
                "1 h 40 m",
                "24 h 00 m",
            ],
        )


class Spans(unittest.TestCase):
    def spans(self, *lines):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "traces.jsonl"
            file.write_text(
                "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
            )
            return trace.read_spans(file, "tsk_1")

    def test_all_spans_of_the_task_s_traces_are_drawn_below_their_parents(self):
        spans = self.spans(
            {
                "trace_id": "1-a",
                "id": "s3",
                "parent_id": "s2",
                "name": "send",
                "start_time": 3,
                "end_time": 4,
                "fault": True,
            },
            {
                "trace_id": "1-a",
                "id": "s1",
                "name": "api",
                "start_time": 1,
                "end_time": 2,
                "annotations": {"task_id": "tsk_1"},
                "subsegments": [{"id": "s2", "name": "put", "start_time": 1.2, "end_time": 1.5}],
            },
            {
                "trace_id": "1-b",
                "id": "s9",
                "name": "another task's",
                "start_time": 1,
                "annotations": {"task_id": "tsk_2"},
            },
            {
                "trace_id": "1-c",
                "id": "s8",
                "name": "GET /v1/tasks/id",
                "start_time": 9,
                "annotations": {"task_id": "tsk_1"},
            },
            '{"half',
        )
        self.assertEqual(
            [(row.label, row.depth, row.bad) for row in trace.span_rows(spans)],
            [("api", 0, ""), ("put", 1, ""), ("send", 2, "fault")],
        )

    def test_a_span_in_progress_is_replaced_by_its_end(self):
        began = {
            "trace_id": "1-a",
            "id": "s1",
            "name": "api",
            "start_time": 1,
            "in_progress": True,
            "annotations": {"task_id": "tsk_1"},
        }
        ended = {**began, "end_time": 2}
        self.assertEqual([one.get("end_time") for one in self.spans(began, ended)], [2])

    def test_spans_that_are_each_other_s_parents_end_the_drawing_all_the_same(self):
        loop = [
            {
                "trace_id": "1-a",
                "id": one,
                "parent_id": other,
                "name": one,
                "start_time": 1,
                "annotations": {"task_id": "tsk_1"},
            }
            for one, other in (("s1", "s2"), ("s2", "s1"))
        ]
        self.assertLessEqual(len(trace.span_rows(self.spans(*loop))), 2)


if __name__ == "__main__":
    unittest.main()
