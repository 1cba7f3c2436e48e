"""What must hold for the local scripts on a machine that they share with other work."""

import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from contextlib import redirect_stdout
from datetime import datetime, timezone
from pathlib import Path
from unittest import mock

import failed_invocations
import logs
import phase
import servers
import stack
import terminal

SLEEPER = [sys.executable, "-c", "print(flush=True); import time; time.sleep(60)"]

LISTENER = """
import socket, sys, time
listener = socket.socket()
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
print(flush=True)
time.sleep(60)
"""

# What one answer holds at most of a log.
MOST_EVENTS = 4

NO_FAILURES = mock.Mock(**{"read.return_value": []})


class Processes(unittest.TestCase):
    def start(self, argv=SLEEPER, cwd=None, **environment):
        process = subprocess.Popen(
            argv, env={**os.environ, **environment}, stdout=subprocess.PIPE, cwd=cwd
        )
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        process.stdout.readline()
        return process

    def test_only_marked_processes_are_stopped(self):
        with tempfile.TemporaryDirectory() as folder:
            ours = self.start(**{servers.MARK: folder})
            neighbour = self.start(**{servers.MARK: folder + "-of-another-clone"})
            stranger = self.start()
            self.assertTrue(servers.stop(Path(folder)))
            self.assertIsNotNone(ours.wait(timeout=5))
            self.assertIsNone(neighbour.poll())
            self.assertIsNone(stranger.poll())
            self.assertFalse(servers.stop(Path(folder)))

    def test_processes_are_found_from_where_their_checkout_was_moved_to_and_not_from_a_copy(self):
        with tempfile.TemporaryDirectory() as folder:
            old, new, copy = (Path(folder) / name for name in ("old", "new", "copy"))
            (old / "tmp").mkdir(parents=True)
            (copy / "tmp").mkdir(parents=True)
            server = self.start(cwd=old / "tmp", **{servers.MARK: str(old)})
            function = self.start(cwd="/", **{servers.MARK: str(old)})
            old.rename(new)
            self.assertFalse(servers.stop(copy))
            self.assertTrue(servers.stop(new))
            self.assertIsNotNone(server.wait(timeout=5))
            self.assertIsNotNone(function.wait(timeout=5))

    def test_a_port_that_another_checkout_has_leads_to_it(self):
        ports = {"AWS_PORT": servers.free_port(), "MODEL_PORT": servers.free_port()}
        listener = [sys.executable, "-c", LISTENER, str(ports["AWS_PORT"])]
        self.start(listener, **{servers.MARK: "/home/me/other/.local/stacks/run"})
        with self.assertRaisesRegex(phase.Failed, "the local stack of /home/me/other "):
            servers.Servers("never-started", ports).check_ports()

    def taken_ports(self):
        """Ports for a stack, of which a stranger - this process - has that of the model."""
        taken = socket.socket()
        self.addCleanup(taken.close)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        return {"AWS_PORT": servers.free_port(), "MODEL_PORT": taken.getsockname()[1]}

    def test_a_taken_port_is_named_with_its_variable(self):
        ports = self.taken_ports()
        with self.assertRaisesRegex(phase.Failed, f"{ports['MODEL_PORT']}.*MODEL_PORT"):
            servers.Servers("never-started", ports).start()

    def test_a_taken_port_leaves_the_running_stack_alone(self):
        stack_servers = servers.Servers("never-started", self.taken_ports())
        running = self.start(**{servers.MARK: str(stack_servers.folder)})
        with self.assertRaises(phase.Failed):
            stack_servers.start()
        self.assertIsNone(running.poll())

    def test_a_taken_port_is_noticed_before_anything_is_built(self):
        stack_servers = servers.Servers("never-started", self.taken_ports())
        patches = {
            "lock": mock.MagicMock(),
            "run_servers": lambda: stack_servers,
            "up": mock.DEFAULT,
            "one_task": mock.DEFAULT,
        }
        with mock.patch.multiple("stack", **patches) as mocks, self.assertRaises(phase.Failed):
            stack.run()
        mocks["up"].assert_not_called()

    def test_a_port_of_the_running_stack_is_not_taken(self):
        ports = {"AWS_PORT": servers.free_port(), "MODEL_PORT": servers.free_port()}
        stack_servers = servers.Servers("never-started", ports)
        listener = [sys.executable, "-c", LISTENER, str(ports["AWS_PORT"])]
        self.start(listener, **{servers.MARK: str(stack_servers.folder)})
        stack_servers.check_ports()
        other = servers.Servers("never-started-either", ports)
        with self.assertRaisesRegex(phase.Failed, str(ports["AWS_PORT"])):
            other.check_ports()

    def test_the_local_environment_holds_no_credentials_of_the_caller(self):
        environment = servers.aws_environment("http://127.0.0.1:1")
        self.assertEqual(environment["AWS_ACCESS_KEY_ID"], "test")
        self.assertEqual(environment["AWS_SHARED_CREDENTIALS_FILE"], "/dev/null")


class Prompt(unittest.TestCase):
    def test_make_hands_on_every_character(self):
        prompt = "a \"q\" 's' $5 $HOME $(shell id) `id` \\n #c é漢 %s ; | &\nline 2"
        show = f"show: ; @{sys.executable} -c 'import os; print(ascii(os.environ[\"PROMPT\"]))'\n"
        with tempfile.NamedTemporaryFile("w", suffix=".mk") as file:
            file.write(show)
            file.flush()
            argv = [
                "make",
                "-s",
                "-C",
                str(servers.ROOT),
                "-f",
                "Makefile",
                "-f",
                file.name,
                "show",
                f"PROMPT={prompt}",
            ]
            environment = {
                name: value
                for name, value in os.environ.items()
                if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
            }
            shown = subprocess.run(
                argv, env=environment, capture_output=True, text=True, check=True
            ).stdout
        self.assertEqual(shown.strip(), ascii(prompt))


class LogLines(unittest.TestCase):
    def follow(self, *looks, task="", failures=NO_FAILURES, once=False, **more):
        """What is printed if these lines arrive a second apart.

        Each line has a function, the seconds since it arrived, and the seconds since its time.
        """
        now, pending, events, printed = 1_800_000_000, list(looks), [], io.StringIO()

        def sleep(_):
            if not pending:
                raise KeyboardInterrupt
            for function, arrived, said, text in pending.pop(0):
                line = {
                    "timestamp": datetime.fromtimestamp(now - said, timezone.utc).isoformat(),
                    "message": text,
                }
                event = {
                    "logStreamName": "s",
                    "timestamp": (now - arrived) * 1000,
                    "message": json.dumps(line),
                }
                events.append((function, event))

        def paginate(logGroupName, startTime, endTime, filterPattern='""'):
            found = [
                event
                for function, event in events
                if function == logGroupName and startTime <= event["timestamp"] <= endTime
                if filterPattern.strip('"') in event["message"]
            ]
            return [{"events": found[:1]}, {"events": found[1:MOST_EVENTS]}]

        clock = mock.Mock(time=lambda: now - len(pending), sleep=sleep)
        client = mock.Mock(**{"get_paginator.return_value.paginate": paginate})
        with (
            mock.patch("logs.time", clock),
            mock.patch("boto3.client", return_value=client),
            redirect_stdout(printed),
        ):
            if once:
                sleep(0)
            logs.follow({"api": "api", "executor": "executor"}, failures, task, once=once, **more)
        return [line.split()[-1] for line in printed.getvalue().splitlines() if line]

    def test_they_are_printed_in_the_order_in_which_they_were_said(self):
        in_one_look = [
            ("api", 50, 50, "second"),
            ("api", 40, 40, "third"),
            ("executor", 39, 55, "first"),
        ]
        self.assertEqual(self.follow(in_one_look), ["first", "second", "third"])
        in_two = [("api", 3, 3, "second")], [("executor", 2, 4, "first")]
        self.assertEqual(self.follow(*in_two, [], []), ["first", "second"])

    def test_once_prints_what_is_there_and_ends(self):
        first, later = [("api", 5, 5, "second"), ("api", 4, 6, "first")], [("api", 0, 0, "later")]
        self.assertEqual(self.follow(first, later, once=True), ["first", "second"])

    def test_a_task_without_a_line_is_reported_once(self):
        task, more = "tsk_0", {"task": "tsk_0", "nothing": "no-line"}
        others, own = [("api", 5, 5, "another-task's")], [("api", 4, 4, task)]
        self.assertEqual(self.follow(others, once=True, **more), ["no-line"])
        self.assertEqual(self.follow(others, own, [], [], [], **more), ["no-line", task])
        self.assertEqual(self.follow(own, once=True, **more), [task])

    def test_one_that_comes_in_after_a_newer_one_is_not_missed(self):
        self.assertEqual(
            self.follow([("executor", 20, 20, "newer")], [("executor", 21, 21, "older")]),
            ["newer", "older"],
        )

    def test_all_of_them_are_there_before_one_is_printed(self):
        many = [("executor", age, age, str(age)) for age in range(500, 400, -10)]
        self.assertEqual(self.follow([*many, ("api", 405, 405, "405")])[-2:], ["410", "405"])

    def test_a_log_in_which_something_is_said_all_the_time_is_printed_all_the_same(self):
        now, looks, printed = time.time(), [], io.StringIO()

        def paginate(endTime, **_):
            looks.append(endTime)
            self.assertLess(len(looks), 10, "looks for more without end")
            line = json.dumps(
                {
                    "timestamp": datetime.fromtimestamp(now - 60, timezone.utc).isoformat(),
                    "message": "old",
                }
            )
            said = [
                (now - 60, line),
                *((now + 0.01 * place, f"new {place}") for place in range(len(looks))),
            ]
            events = [
                {"logStreamName": "s", "timestamp": int(at * 1000), "message": text}
                for at, text in said
            ]
            return [{"events": [event for event in events if event["timestamp"] <= endTime]}]

        clock = mock.Mock(time=lambda: now, sleep=mock.Mock(side_effect=KeyboardInterrupt))
        client = mock.Mock(**{"get_paginator.return_value.paginate": paginate})
        with (
            mock.patch("logs.time", clock),
            mock.patch("boto3.client", return_value=client),
            redirect_stdout(printed),
        ):
            logs.follow({"api": "api"}, NO_FAILURES, "")
        self.assertIn("old", printed.getvalue())

    def test_of_a_task_failed_invocations_are_printed_from_its_submission_on(self):
        submitted = 1_799_999_900  # in its id, in milliseconds
        task = f"tsk_{submitted * 1000:012x}"
        task = f"{task[:12]}-{task[12:]}-7000-8000-000000000000"
        failures = mock.Mock(
            **{
                "read.side_effect": [
                    [(submitted + age, "executor", str(age)) for age in (-5, 0, 5)],
                    [],
                ]
            }
        )
        self.assertEqual(
            self.follow([("api", 90, 90, "another-task's")], task=task, failures=failures),
            ["0", "5"],
        )

    def test_a_json_line_becomes_one_readable_line(self):
        line = (
            '{"timestamp":"2026-11-22T12:00:01.500Z","level":"INFO",'
            '"message":"task finished","task_id":"tsk_1","n":2}'
        )
        self.assertEqual(
            logs.pretty("executor", line, terminal.plain),
            "12:00:01.500 INFO  executor  task finished  task_id=tsk_1 n=2",
        )

    def test_in_short_a_line_has_no_ids_that_lead_elsewhere_and_a_read_that_was_answered_none(self):
        request = {
            "level": "INFO",
            "message": "request handled",
            "status": 200,
            "task_id": "tsk_1",
            "request_id": "r",
            "tenant_id": "default",
        }
        hidden = logs.QUIET | logs.ONLY_IN_FULL

        def short(**fields):
            return logs.pretty("api", json.dumps(request | fields), terminal.plain, hidden)

        self.assertEqual(short(method="POST").split()[-2:], ["status=200", "task_id=tsk_1"])
        self.assertIsNone(short(method="GET"))
        accepted = short(message="task accepted", client_request_id="c")
        self.assertIn("client_request_id=c", accepted)
        self.assertNotIn("client_request_id", short(method="POST", client_request_id="c"))
        self.assertIn("status=404", short(method="GET", status=404))
        answered = short(message="model answered", provider_request_id="req_1")
        self.assertIn("provider_request_id=req_1", answered)
        self.assertIn(
            "request_id=r tenant_id=default method=GET",
            logs.pretty("api", json.dumps(request | {"method": "GET"}), terminal.plain),
        )

    def test_fields_that_are_left_out_in_short_are_fields_of_our_lines(self):
        schema = (servers.ROOT / "shared" / "src" / "testing" / "log_schema.rs").read_text()
        for field in logs.ONLY_IN_FULL:
            self.assertIn(f'"{field}"', schema)

    def test_other_lines_pass_and_the_platform_s_own_are_dropped(self):
        self.assertEqual(
            logs.pretty("api", "panicked at x\nhere\n", terminal.plain),
            "api       panicked at x⏎here",
        )
        self.assertIsNone(logs.pretty("api", "START RequestId: 1 Version: $LATEST", terminal.plain))

    def test_metrics_and_the_platform_s_good_news_are_dropped(self):
        self.assertIsNone(
            logs.pretty("api", '{"_aws":{"Timestamp":1},"Requests":1}', terminal.plain)
        )
        report = (
            '{"time":"2026-11-22T12:00:01.500Z","type":"platform.report","record":{"status":"%s"}}'
        )
        self.assertIsNone(logs.pretty("api", report % "success", terminal.plain))
        self.assertIn("timeout", logs.pretty("api", report % "timeout", terminal.plain))

    def test_colours_are_ours_only(self):
        line = logs.pretty(
            "api",
            '{"level":"ERROR","message":"no","error":"\\u001b[2Jgone\\nx"}',
            terminal.coloured,
        )
        self.assertIn("\033[31mERROR\033[0m", line)
        self.assertIn("·[2Jgone⏎x", line)


class FailedInvocations(unittest.TestCase):
    # As the local AWS writes it: a good invocation, and functions that do not start or end.
    LOG = "\n".join(
        (
            "2026-11-28 11:28:44 INFO [lambda] Lambda provided-runtime environment spawned for "
            "agents-local-ApiFunction-1 (cold start)",
            "2026-11-28 11:28:45 ERROR [lambda] Warm provided-runtime execution error for "
            "agents-local-ExecutorFunction-2: bootstrap exited during init with code 1: "
            '{"timestamp":"2026-11-28T11:28:45.449Z","level":"ERROR",'
            '"message":"configuration refused","variable":"BREAKER_FAILURES"}',
            "Error: ConfigError",
            "2026-11-28 11:28:45 WARNING [lambda] ESM: Lambda agents-local-ExecutorFunction-2 "
            "failed processing SQS batch (errorMessage=bootstrap exited)",
            "2026-11-28 11:28:46 ERROR [lambda] Warm provided-runtime execution error for "
            "agents-local-CleanupFunction-3: Couldn't execute the bootstrap "
            "binary: [Errno 8] Exec format error: '/tmp/x'",
            "2026-11-28 11:28:46 INFO [lambda_runtime] Lambda agents-local-ApiFunction-1: "
            "init exceeded 10s; re-running it under the function timeout (30s)",
            "2026-11-28 11:28:47 WARNING [lambda_runtime] Lambda agents-local-ApiFunction-1: "
            "Task timed out after 30.00 seconds",
            "",
        )
    )

    def read(self, *parts):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "aws.log"
            log.touch()
            failures = failed_invocations.FailedInvocations(log)
            for part in parts:
                with open(log, "a") as file:
                    file.write(part)
                for _, function, message in failures.read():
                    yield logs.pretty(function, message, terminal.plain).split(maxsplit=1)[1]

    def test_a_function_that_can_not_start_says_why_and_so_does_one_that_is_ended(self):
        self.assertEqual(
            list(self.read(self.LOG)),
            [
                "ERROR executor  configuration refused  variable=BREAKER_FAILURES",
                "Error: ConfigError",
                "ERROR executor  invocation failed  error=bootstrap exited during init with code 1",
                "ERROR cleanup   invocation failed  error=Couldn't execute the bootstrap binary: "
                "[Errno 8] Exec format error: '/tmp/x'",
                "ERROR api       invocation failed  error=Task timed out after 30.00 seconds",
            ],
        )

    def test_each_is_read_once(self):
        half = self.LOG.index("2026-11-28 11:28:46")
        self.assertEqual(
            list(self.read(self.LOG[:half], self.LOG[half:], "")), list(self.read(self.LOG))
        )


if __name__ == "__main__":
    unittest.main()
