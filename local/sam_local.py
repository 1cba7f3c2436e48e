"""Runs the functions in containers, as `sam local` does, against the running local AWS.

The files in events/ are samples. This script copies them to the stack's folder, and puts the key,
an agent and tasks of the stack into the copies. samconfig.toml and env.json beside them contain the
addresses of the stack, as containers reach it.

`sam local` sets only variables that the template declares, and AWS_ENDPOINT_URL must not be
declared on AWS. So `sam local` reads a copy of the built template that declares it.
"""

import contextlib
import hashlib
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import boto3
import phase
import yaml
from platform_api import Api
from servers import ROOT

TEMPLATE = "sam-local.json"
# Containers reach the machine that they run on by this name.
HOST = "host.docker.internal"
IMAGE = "public.ecr.aws/lambda/provided:al2023"
# The beginning of a file's name selects the function.
FUNCTIONS = {"api": "ApiFunction", "sqs": "ExecutorFunction", "schedule": "CleanupFunction"}
AGENT = {"name": "sam local", "models": [{"provider": "anthropic", "model": "claude-sonnet-5-5"}]}
PATIENCE_SECONDS = 300


class NoDocker(phase.Failed):
    """There is no Docker to run containers with."""


class SamLocal:
    def __init__(self, servers, api, outputs, architecture, environment):
        """`environment` is the environment for SAM CLI."""
        require_docker()
        self.servers, self.api, self.outputs, self.environment = servers, api, outputs, environment
        self.architecture, self.folder = architecture, servers.folder / "sam-local"
        self.agent = api.call("POST", "/v1/agents", AGENT)["id"]
        self.reach_from_containers()
        self.write_settings()

    def reach_from_containers(self):
        """Starts the forwarder to 127.0.0.1, at this machine's address for containers."""
        address = gateway()
        if address and not _accepts(address, self.servers.ports["AWS_PORT"]):
            self.servers.start_forwarder(address)

    def write_settings(self):
        build = ROOT / ".aws-sam" / "build"
        template = yaml.safe_load((build / "template.yaml").read_text())
        template["Globals"]["Function"]["Environment"]["Variables"]["AWS_ENDPOINT_URL"] = ""
        # Beside the original, because its paths to the functions are relative.
        (build / TEMPLATE).write_text(json.dumps(template, default=str))
        client = boto3.client("lambda")
        variables = {}
        for function in FUNCTIONS.values():
            found = client.get_function_configuration(FunctionName=self.outputs[function])[
                "Environment"
            ]["Variables"]
            found["AWS_ENDPOINT_URL"] = self.servers.aws_url
            variables[function] = {
                name: str(value).replace("http://127.0.0.1:", f"http://{HOST}:")
                for name, value in found.items()
            }
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "events").mkdir(parents=True)
        (self.folder / "env.json").write_text(json.dumps(variables, indent=2))
        settings = {
            "template": f".aws-sam/build/{TEMPLATE}",
            "env_vars": str(self.folder.relative_to(ROOT) / "env.json"),
            "parameter_overrides": f"Architecture={self.architecture}",
            # The region of the local AWS, not the caller's own region.
            "region": "us-east-1",
            "add_host": f"{HOST}:host-gateway",
            "skip_pull_image": has_image(self.architecture),
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        sections = [
            "version = 0.1",
            *(
                f"[default.{command}.parameters]\n" + "\n".join(lines)
                for command in ("local_invoke", "local_start_api")
            ),
        ]
        (self.folder / "samconfig.toml").write_text("\n\n".join(sections) + "\n")

    def invoke_all(self, files):
        """Invokes each function with its files, and prints the results; fails for wrong ones."""
        failed = []
        # Otherwise the deployed executor would take the tasks first.
        with self.executor_off():
            for file in files:
                problem = self.invoke(file)
                failed += [f"{file.name}: {problem}"] if problem else []
        if failed:
            raise phase.Failed(
                "\n".join(failed)
                + f"\nRead the functions' logs: {self.folder.relative_to(ROOT)}/*.log"
            )

    def invoke(self, file):
        kind = file.name.split("-")[0]
        if kind not in FUNCTIONS:
            raise phase.Failed(
                f"{file}: its name must begin with one of "
                f"{', '.join(f'{known}-' for known in FUNCTIONS)}"
            )
        event, tasks = self.event(file)
        copy = self.folder / "events" / file.name
        copy.write_text(json.dumps(event, indent=2))
        command = self.command("invoke", FUNCTIONS[kind], "--event", str(copy.relative_to(ROOT)))
        began = time.monotonic()
        log = self.folder / f"{file.stem}.log"
        with open(log, "wb") as errors:
            ran = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self.environment,
                cwd=ROOT,
                timeout=PATIENCE_SECONDS,
            )
        said = ran.stdout.decode(errors="replace").strip().splitlines()
        if ran.returncode != 0 or not said:
            end = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            phase.say("invoke", f"{file.name}: exit {ran.returncode}\n{end}")
            return f"`{' '.join(command)}` failed (exit {ran.returncode})"
        statuses = [self.api.call("GET", f"/v1/tasks/{task}")["status"] for task in tasks]
        became = f"; its tasks: {', '.join(statuses)}" if tasks else ""
        phase.say(
            "invoke",
            f"{file.name} → {FUNCTIONS[kind]} ({time.monotonic() - began:.0f} s): "
            f"{shown(said[-1])}{became}",
        )
        unfinished = [
            f"task {task} is {status}"
            for task, status in zip(tasks, statuses, strict=True)
            if status != "completed"
        ]
        return wrong(kind, event, said[-1]) or ", ".join(unfinished)

    def start_api(self, port):
        """Replaces this process with `sam local start-api`."""
        command = self.command("start-api", "--port", str(port))
        phase.say("sam", " ".join(command))
        phase.say("", f"export API_URL=http://127.0.0.1:{port} API_KEY={self.api.key}")
        os.chdir(ROOT)
        os.execve(command[0], command, self.environment)

    def check_api(self, port):
        """Submits a task to the API in containers. The deployed executor completes it."""
        command = self.command("start-api", "--port", str(port))
        with open(self.folder / "start-api.log", "wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self.environment, cwd=ROOT
            )
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not _accepts("127.0.0.1", port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise phase.Failed(
                        f"`{' '.join(command)}` does not respond. "
                        f"Read {self.folder / 'start-api.log'}"
                    )
                time.sleep(0.1)
            api = Api(f"http://127.0.0.1:{port}", self.api.key, self.api.make)
            task = api.submit(self.agent, "A task from an API in a container")
            task = self.api.last(task, PATIENCE_SECONDS)
            phase.say("api", f"start-api → 202, and the task is {task['status']}")
            if task["status"] != "completed":
                raise phase.Failed(f"The task that start-api accepted is {task['status']}")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()

    def event(self, file):
        """The file's event with ids of this stack, and the new tasks that its messages name."""
        text = file.read_text()
        text = re.sub(r"agt_[0-9a-f-]{36}", self.agent, text).replace(
            "local-invoke-key", self.api.key
        )
        tasks = []
        for sample in sorted(set(re.findall(r"tsk_[0-9a-f-]{36}", text))):
            tasks.append(
                self.api.submit(self.agent, f"{file.stem}: why put a queue between two services?")[
                    "id"
                ]
            )
            text = text.replace(sample, tasks[-1])
        event = json.loads(text)
        for record in event.get("Records", []):
            record["md5OfBody"] = hashlib.md5(
                record["body"].encode(), usedforsecurity=False
            ).hexdigest()
        return event, tasks

    def command(self, what, *arguments):
        return [
            ".local/sam/bin/sam",
            "local",
            what,
            *arguments,
            "--config-file",
            str(self.folder.relative_to(ROOT) / "samconfig.toml"),
        ]

    @contextlib.contextmanager
    def executor_off(self):
        client = boto3.client("lambda")
        mappings = client.list_event_source_mappings(FunctionName=self.outputs["ExecutorFunction"])[
            "EventSourceMappings"
        ]
        switch = {mapping["UUID"]: mapping["State"] for mapping in mappings}
        for mapping in switch:
            client.update_event_source_mapping(UUID=mapping, Enabled=False)
        try:
            yield
        finally:
            for mapping in switch:
                client.update_event_source_mapping(UUID=mapping, Enabled=True)


def require_docker():
    if shutil.which("docker") is None:
        raise NoDocker(
            "`sam local` runs functions in containers, and there is no command `docker`: "
            "install Docker."
        )
    said = subprocess.run(["docker", "ps", "--quiet"], capture_output=True, text=True)
    if said.returncode != 0:
        raise NoDocker(
            "`sam local` runs functions in containers, and Docker does not respond: "
            f"{(said.stderr or said.stdout).strip()}"
        )


def has_image(architecture):
    found = subprocess.run(
        ["docker", "image", "inspect", f"{IMAGE}-{architecture}"], capture_output=True
    )
    return found.returncode == 0


def gateway():
    """The address of this machine in the network of its containers.

    None if containers run on a machine of their own, as with Docker Desktop, which forwards the
    host's name itself.
    """
    said = subprocess.run(
        ["docker", "network", "inspect", "bridge"], capture_output=True, text=True
    )
    if said.returncode != 0:
        return None
    for network in json.loads(said.stdout)[0]["IPAM"]["Config"] or []:
        address = network.get("Gateway") or str(ipaddress.ip_network(network["Subnet"])[1])
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            try:
                probe.bind((address, 0))
                return address
            except OSError:
                continue
    return None


def shown(answer):
    """A result in one short line."""
    try:
        parsed = json.loads(answer)
    except ValueError:
        return answer
    if isinstance(parsed, dict) and "statusCode" in parsed:
        return f"{parsed['statusCode']} {parsed.get('body', '')[:160]}"
    return answer


def wrong(kind, event, answer):
    """What is wrong with a result; None if it is right."""
    try:
        answer = json.loads(answer)
    except ValueError:
        return f"no JSON: {answer}"
    if isinstance(answer, dict) and "errorMessage" in answer:
        return answer["errorMessage"]
    if kind == "api" and not 200 <= answer["statusCode"] < 300:
        return f"status {answer['statusCode']}"
    if kind == "sqs":
        messages = {record["messageId"]: record["body"] for record in event.get("Records", [])}
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        poison = {message for message, body in messages.items() if not _is_json(body)}
        # If two messages name one task, the message that finds the task claimed is returned.
        done = {body for message, body in messages.items() if message not in failed}
        if poison - failed or set(messages.values()) - done - {
            messages[message] for message in poison
        }:
            return f"failed are {sorted(failed)}"
    return None


def _is_json(text):
    try:
        json.loads(text)
        return True
    except ValueError:
        return False


def _accepts(address, port):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        return probe.connect_ex((address, port)) == 0
