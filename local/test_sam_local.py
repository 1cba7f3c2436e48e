"""What leads from a container to the stack, and what counts as a right answer."""

import asyncio
import json
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import dashboard
import forwarder
import phase
import pictures
import sam_local
import terminal
from servers import ROOT, free_port

EVENTS = sorted((ROOT / "events").glob("*.json"))


class Events(unittest.TestCase):
    def prepared(self, file):
        api = mock.Mock(
            key="the key",
            **{"submit.side_effect": [{"id": f"tsk_{number}"} for number in range(9)]},
        )
        containers = mock.Mock(api=api, agent="agt_1")
        return sam_local.SamLocal.event(containers, file)

    def test_each_names_what_exists_and_nothing_of_the_samples(self):
        self.assertGreater(len(EVENTS), 5)
        for file in EVENTS:
            with self.subTest(file.name):
                event, tasks = self.prepared(file)
                text = json.dumps(event)
                for sample in ("01939a3", "local-invoke-key"):
                    self.assertNotIn(sample, text)
                for task in tasks:
                    self.assertIn(task, text)

    def test_each_has_a_function_by_its_name(self):
        for file in EVENTS:
            self.assertIn(file.name.split("-")[0], sam_local.FUNCTIONS)

    def test_an_answer_is_right_if_the_poison_and_only_the_poison_fails(self):
        event, _ = self.prepared(ROOT / "events" / "sqs-mixed-batch.json")
        good, poison, other = (record["messageId"] for record in event["Records"])

        def wrong(*failed):
            return sam_local.wrong(
                "sqs",
                event,
                json.dumps(
                    {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}
                ),
            )

        self.assertIsNone(wrong(poison))
        for failed in ((), (good,), (good, poison), (poison, other)):
            self.assertIn("failed are", wrong(*failed))

    def test_of_two_messages_for_one_task_one_may_come_back(self):
        event, _ = self.prepared(ROOT / "events" / "sqs-duplicate.json")
        messages = [{"itemIdentifier": record["messageId"]} for record in event["Records"]]
        self.assertIsNone(
            sam_local.wrong("sqs", event, json.dumps({"batchItemFailures": messages[:1]}))
        )
        self.assertIsNotNone(
            sam_local.wrong("sqs", event, json.dumps({"batchItemFailures": messages}))
        )

    def test_errors_and_refusals_are_wrong(self):
        self.assertEqual(
            sam_local.wrong("schedule", {}, '{"errorType": "X", "errorMessage": "no store"}'),
            "no store",
        )
        self.assertEqual(sam_local.wrong("api", {}, '{"statusCode": 401}'), "status 401")
        self.assertIsNone(sam_local.wrong("api", {}, '{"statusCode": 202}'))
        self.assertIn("no JSON", sam_local.wrong("api", {}, "Killed"))

    def test_without_docker_it_says_so(self):
        with (
            mock.patch("shutil.which", return_value=None),
            self.assertRaisesRegex(sam_local.NoDocker, "install Docker"),
        ):
            sam_local.require_docker()
        with tempfile.TemporaryDirectory() as folder:
            docker = Path(folder) / "docker"
            docker.write_text("#!/bin/sh\necho 'is the daemon running?' >&2\nexit 1\n")
            docker.chmod(0o755)
            with (
                mock.patch.dict("os.environ", PATH=folder),
                self.assertRaisesRegex(phase.Failed, "is the daemon running"),
            ):
                sam_local.require_docker()


class Variables(unittest.TestCase):
    def test_no_variable_of_a_function_is_a_number_with_which_the_local_aws_could_not_start_it(
        self,
    ):
        for name, function in dashboard.resources("AWS::Serverless::Function").items():
            for variable, value in function["Properties"]["Environment"]["Variables"].items():
                self.assertNotIsInstance(value, int, f"{name}: {variable}")


class Forwarder(unittest.TestCase):
    def test_it_hands_on_both_ways_until_either_side_ends(self):
        async def echo(reader, writer):
            writer.write(await reader.read())
            writer.close()

        async def exchange():
            port, front = free_port(), free_port()
            echoing = await asyncio.start_server(echo, "127.0.0.1", port)
            forward = forwarder.forward_to(port)
            forwarding = await asyncio.start_server(forward, "127.0.0.1", front)
            async with echoing, forwarding:
                reader, writer = await asyncio.open_connection("127.0.0.1", front)
                writer.write(b"x" * 300_000)
                writer.write_eof()
                answer = await reader.read()
                writer.close()
                return len(answer)

        self.assertEqual(asyncio.run(asyncio.wait_for(exchange(), 20)), 300_000)


class Pictures(unittest.TestCase):
    def test_a_line_keeps_its_columns_and_colours(self):
        line = "a <b> " + terminal.coloured("█", "cyan") + " c"
        drawn = pictures.svg([line])
        self.assertIn("a &lt;b&gt; <", drawn)
        place = pictures.MARGIN + 6 * pictures.CHARACTER
        self.assertIn(f'x="{place:g}"', drawn)
        self.assertIn(pictures.COLOURS["36"], drawn)
        self.assertNotIn("\033", drawn)

    def test_a_long_line_is_cut_at_the_width(self):
        drawn = pictures.svg(["x" * 200 + terminal.coloured("y", "red")])
        self.assertIn(f">{'x' * pictures.COLUMNS}<", drawn)
        self.assertNotIn(">y<", drawn)


if __name__ == "__main__":
    unittest.main()
