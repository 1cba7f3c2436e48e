"""What the commands of a first run say leads on: their hints work, their refusals name a way."""

import io
import json
import os
import re
import subprocess
import tempfile
import unittest
from contextlib import redirect_stdout
from unittest import mock

import one_task
import phase
import platform_api
import servers
import stack

PORTS = {"AWS_PORT": 4930, "MODEL_PORT": 4931}
TASK = "tsk_01a215d6-fbf8-7000-8000-000000000000"
# Prints its arguments instead of sending a request.
CURL = "#!/bin/sh\nprintf '%s\\0' \"$@\" END\n"


class Hints(unittest.TestCase):
    def hints(self, ports):
        make = servers.Servers("never-started", ports).make
        shown = one_task.next_commands(
            platform_api.Api("http://127.0.0.1:1", "key", make), "agt_1", "tsk_1"
        )
        return [line.strip() for line in shown.splitlines() if line.strip().startswith("make")]

    def test_they_are_short_on_the_usual_ports(self):
        usual = [
            'make run PROMPT="your own question"',
            "make demo",
            "make trace TASK=tsk_1",
            "make logs",
            "make down",
        ]
        self.assertEqual(self.hints(servers.DEFAULT_PORTS), usual)

    def test_they_name_other_ports_where_these_matter(self):
        hints = self.hints({"AWS_PORT": 4930, "MODEL_PORT": 4010})
        for hint in (
            'make run PROMPT="your own question" AWS_PORT=4930',
            "make logs AWS_PORT=4930",
            "make down",
        ):
            self.assertIn(hint, hints)
        self.assertIn(
            "make logs AWS_PORT=4930 MODEL_PORT=4931",
            self.hints({"AWS_PORT": 4930, "MODEL_PORT": 4931}),
        )

    def test_the_usual_ports_are_those_of_the_makefile(self):
        makefile = (servers.ROOT / "Makefile").read_text()
        for name, port in servers.DEFAULT_PORTS.items():
            self.assertIn(f"export {name} ?= {port}\n", makefile)


class Requests(unittest.TestCase):
    """The requests that `make run` prints, as a shell that they are pasted into sends them."""

    def sent(self):
        api = platform_api.Api("http://127.0.0.1:1", "agk_1", lambda target: f": {target}")
        text = one_task.next_commands(api, "agt_1", TASK)
        commands = text.partition("\n\n")[2].replace("make down", "")
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "curl"), "w", opener=executable) as curl:
                curl.write(CURL)
            path = f"{folder}:{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-e"], input=commands, env={"PATH": path}, capture_output=True, text=True
            )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for words in done.stdout.split("END\0")[:-1]:
            silent, url, *options = words.split("\0")[:-1]
            self.assertEqual((silent, options[:2]), ("-s", ["-H", "Authorization: Bearer agk_1"]))
            body = None
            if options[2:]:
                self.assertEqual(options[2:5], ["-H", "Content-Type: application/json", "-d"])
                (body,) = map(json.loads, options[5:])
            yield url.removeprefix("http://127.0.0.1:1"), body

    def test_each_is_a_request_of_the_api(self):
        document = json.loads((servers.ROOT / "docs" / "openapi.json").read_text())
        sent = list(self.sent())
        for path, body in sent:
            with self.subTest(path):
                (route,) = (
                    methods
                    for template, methods in document["paths"].items()
                    if re.fullmatch(re.sub(r"\{\w+\}", "(agt_|tsk_|my-)[^/]+", template), path)
                )
                if body is None:
                    self.assertIn("get", route)
                    continue
                schema = route["post"]["requestBody"]["content"]["application/json"]["schema"]
                schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
                self.assertLessEqual(set(schema["required"]), set(body))
                self.assertLessEqual(set(body), set(schema["properties"]))

    def test_a_second_tenant_gets_its_first_key(self):
        paths = [path for path, _ in self.sent()]
        tenant = paths.index("/v1/tenants")
        self.assertEqual(paths[tenant + 1], "/v1/tenants/my-team/keys")

    def test_each_scope_exists(self):
        document = json.loads((servers.ROOT / "docs" / "openapi.json").read_text())
        scopes = set(document["components"]["schemas"]["Scope"]["enum"])
        for _, body in self.sent():
            self.assertLessEqual(set((body or {}).get("scopes", [])), scopes)


class Refusals(unittest.TestCase):
    def said(self, command, running=True, **environment):
        """What a command prints that needs the stack of `run`, up to what it is for."""
        shown = io.StringIO()
        ports = {name: str(port) for name, port in PORTS.items()}
        patches = {
            "stack_outputs": mock.DEFAULT,
            "api_url": mock.Mock(return_value="http://local"),
            "api_key": mock.Mock(return_value="local-key"),
        }
        with (
            mock.patch.dict(os.environ, ports | environment),
            mock.patch.multiple("stack", **patches),
            mock.patch.object(servers.Servers, "running", return_value=running),
            mock.patch("trace.show") as drawn,
            mock.patch("logs.follow") as followed,
            redirect_stdout(shown),
        ):
            command()
        self.drawn, self.followed = drawn, followed
        return shown.getvalue()

    def test_a_stack_that_does_not_run_is_named_with_its_ports(self):
        with self.assertRaises(phase.Failed) as refused:
            self.said(stack.follow_logs, running=False)
        for part in (
            "AWS_PORT=4930 and MODEL_PORT=4931",
            "make run AWS_PORT=4930 MODEL_PORT=4931",
            "make … AWS_PORT=<port> MODEL_PORT=<port>",
        ):
            self.assertIn(part, str(refused.exception))

    def test_logs_that_end_do_not_say_that_they_follow(self):
        ends, follows = (self.said(stack.follow_logs, ONCE=once) for once in ("1", ""))
        for word in ("follow", "Ctrl-C", "appear"):
            self.assertNotIn(word, ends)
        self.assertIn("Ctrl-C", follows)

    def test_only_the_logs_of_a_task_may_lack_it(self):
        self.said(stack.follow_logs, TASK=TASK)
        self.assertRegex(self.followed.call_args.args[-1], f"{TASK}.*Check the id.*AWS_PORT=4930")
        self.said(stack.follow_logs, TASK="")
        self.assertEqual(self.followed.call_args.args[-1], "")

    def test_a_drawing_says_when_it_is_of_the_environment_s_api(self):
        said = self.said(stack.show_trace, TASK=TASK, API_URL="http://remote/", API_KEY="k")
        self.assertIn("http://remote/, which is API_URL in the environment", said)
        self.assertEqual(self.drawn.call_args.args[:2], ("http://remote", "k"))

    def test_a_drawing_says_when_the_environment_names_only_half_of_an_api(self):
        said = self.said(stack.show_trace, TASK=TASK, API_URL="http://remote/", API_KEY="")
        self.assertIn("only if both are set", said)
        self.assertEqual(self.drawn.call_args.args[:2], ("http://local", "local-key"))
        self.assertEqual(self.said(stack.show_trace, TASK=TASK, API_URL="", API_KEY=""), "")


def executable(path, flags):
    return os.open(path, flags, 0o755)


if __name__ == "__main__":
    unittest.main()
