"""The local stack: builds the functions, starts the servers and deploys template.yaml to them.

stack.py build                 builds the functions for this machine, with fast settings
stack.py run                   starts the stack, then runs one task with the prompt in PROMPT
stack.py demo                  starts the stack, then runs demo.py with the model stand-in
stack.py pictures              runs the demo and draws the pictures in docs/
stack.py sam-local FILE...     starts the stack, then runs `sam local invoke` for each event
stack.py sam-local             starts the stack, then runs `sam local start-api` on API_PORT
stack.py walkthrough           the demo twice, and the events in containers if there is Docker;
                               with a stack of its own, which is stopped afterwards
stack.py test COMMAND...       the command, with a stack of its own that is stopped afterwards
stack.py logs                  follows the functions' logs of `run`. TASK in the environment
                               selects one task's lines, FULL=1 shows all fields, ONCE=1 ends
                               after the lines that are there
stack.py trace                 draws the life of the task in TASK, of `run`, or of the deployment
                               that API_URL and API_KEY name
"""

import contextlib
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import trace
from pathlib import Path

import boto3
import demo
import logs
import one_task
import phase
import pictures
import release
import sam_local
from failed_invocations import FailedInvocations
from install import lock
from platform_api import Api
from servers import DEFAULT_PORTS, LOCAL, ROOT, Servers, aws_environment, free_port, stop

STACK = "agents-local"
FUNCTIONS = ("api", "executor", "cleanup")
LOG_GROUPS = {name: f"/aws/lambda/{STACK}/{name}" for name in FUNCTIONS}
PROVIDERS = {
    "Anthropic": ("ANTHROPIC_API_KEY", "https://api.anthropic.com"),
    "OpenAi": ("OPENAI_API_KEY", "https://api.openai.com"),
}
KEYS = {provider: os.environ.pop(variable, "") for provider, (variable, _) in PROVIDERS.items()}


def main(command, *arguments):
    # From here on, no process of ours can reach the caller's AWS account,
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_PORT"]:
        del os.environ[name]
    # and no proxy is between us and this machine.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(
        filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"))
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    commands = {
        "build": build,
        "run": run,
        "demo": show_demo,
        "sam-local": run_in_containers,
        "walkthrough": walk_through,
    }
    commands |= {"test": test, "pictures": draw_pictures, "logs": follow_logs, "trace": show_trace}
    commands[command](*arguments)


def build():
    with lock("build"):
        _build()


def run():
    provider = "openai" if KEYS["OpenAi"] and not KEYS["Anthropic"] else "anthropic"
    with stack_of_run(KEYS) as (_, api, _):
        one_task.run(api, provider)


def show_demo():
    with stack_of_run(keys={}) as (servers, api, _):
        demo.run(api, servers.model_url)


def draw_pictures():
    with stack_of_run(keys={}) as (servers, api, _):
        pictures.draw(api, servers.model_url, LOG_GROUPS)


def run_in_containers(*files):
    """Runs the events in containers; without events, the API in containers until interrupted."""
    sam_local.require_docker()
    with stack_of_run(KEYS) as (servers, api, outputs):
        containers = sam_local.SamLocal(servers, api, outputs, architecture(), tools_environment())
        if files:
            containers.invoke_all([Path(file) for file in files])
    if not files:
        containers.start_api(os.environ.get("API_PORT") or 3000)


def walk_through():
    """Tests what a newcomer sees: the demo twice, and the functions in containers if possible."""
    servers = Servers("walkthrough", {"AWS_PORT": free_port(), "MODEL_PORT": free_port()})
    with lock("walkthrough"):
        try:
            outputs = up(servers, {}, fresh=True, keys={})
            api = Api(api_url(servers, outputs), api_key(outputs), servers.make)
            for _ in range(2):
                demo.run(api, servers.model_url)
            try:
                containers = sam_local.SamLocal(
                    servers, api, outputs, architecture(), tools_environment()
                )
            except sam_local.NoDocker as reason:
                phase.say("skipped", f"the events in containers. {reason}")
            else:
                containers.invoke_all(sorted((ROOT / "events").glob("*.json")))
                containers.check_api(free_port())
        finally:
            stop(servers.folder)


@contextlib.contextmanager
def stack_of_run(keys):
    """The stack that keeps running, with a new build."""
    with lock("run"):
        servers = run_servers()
        # Before anything is built or stopped: a refusal must not change a running stack.
        servers.check_ports()
        outputs = up(servers, {}, fresh=not servers.running(), keys=keys)
        yield servers, Api(api_url(servers, outputs), api_key(outputs), servers.make), outputs


def test(*command):
    servers = Servers(
        "test", {"AWS_PORT": free_port(), "MODEL_PORT": free_port()}, fixtures="tests.json"
    )
    with lock("test"):
        try:
            # For a server that tests start when they need a provider that fails as they choose.
            unreliable_port = free_port()
            # For the issuer of JWTs that a test starts.
            issuer = f"http://127.0.0.1:{free_port()}"
            timings = {
                "ExecutorMaxConcurrency": 5,
                "ExecutorTimeoutSeconds": 20,
                "TaskVisibilitySeconds": 120,
                "ModelTimeoutSeconds": 8,
            }
            timings |= {
                "ModelCacheSeconds": 0,
                "BreakerOpenSeconds": 3,
                "OpenAiCompatibleBaseUrl": f"http://127.0.0.1:{unreliable_port}",
            }
            timings |= {"JwtIssuer": issuer, "JwtAudience": "agents"}
            timings |= {"LeaseSeconds": 10, "StepReserveSeconds": 3}
            # Without daily budgets, there are fewer writes that the tests' faults can hit.
            timings |= {"TenantDailyBudgetMicroUsd": 0, "DeploymentDailyBudgetMicroUsd": 0}
            outputs = up(servers, timings, fresh=True, keys={})
            names = {"STATE_TABLE": "StateTable", "EPHEMERAL_TABLE": "EphemeralTable"}
            names |= {"TASK_QUEUE_URL": "TaskQueueUrl"}
            environment = {variable: outputs[output] for variable, output in names.items()}
            environment |= {"UNRELIABLE_PORT": str(unreliable_port), "TRACES": str(servers.traces)}
            environment |= {"ISSUER_URL": issuer}
            environment |= {"LOCAL_AWS_URL": servers.aws_url, "MODEL_URL": servers.model_url}
            environment |= {"API_URL": api_url(servers, outputs), "API_KEY": api_key(outputs)}
            environment |= {
                f"{name.upper()}_FUNCTION": outputs[f"{name.capitalize()}Function"]
                for name in FUNCTIONS
            }
            status = subprocess.run(command, env={**os.environ, **environment}).returncode
        finally:
            stop(servers.folder)
    if status != 0:
        raise phase.Failed(
            f"The tests failed (exit {status}). The servers' logs: {servers.folder}/*.log"
        )


def follow_logs():
    task = os.environ.get("TASK", "").strip()
    if task and not trace.is_task_id(task):
        raise phase.Failed("Give the whole id of the task: make logs TASK=tsk_…")
    servers = use_running()
    failures = FailedInvocations(servers.folder / "aws.log")
    full, once = (os.environ.get(name) == "1" for name in ("FULL", "ONCE"))
    if once:
        phase.say("logs", "the lines of the invocations that have ended")
    else:
        phase.say("logs", "lines appear when their invocation has ended; Ctrl-C stops")
    logs.follow(LOG_GROUPS, failures, task, full, once, task and no_line_of(task, servers))


def no_line_of(task, servers):
    return (
        f"no line names {task}. Check the id. These are the logs of the stack with "
        f"AWS_PORT={servers.ports['AWS_PORT']}, since it was started: a task of another stack "
        "has no lines here"
    )


def show_trace():
    url, key = os.environ.get("API_URL"), os.environ.get("API_KEY")
    servers = run_servers()
    if url and key:
        phase.say("trace", f"of {url}, which is API_URL in the environment")
    else:
        if url or key:
            phase.say("trace", "API_URL and API_KEY are used only if both are set")
        servers = use_running()
        outputs = stack_outputs()
        url, key = api_url(servers, outputs), api_key(outputs)
    trace.show(
        url.rstrip("/"), key, os.environ.get("TASK", "").strip(), servers.folder / "traces.jsonl"
    )


def use_running():
    """The servers of `run`. From here on, all our AWS calls go to them."""
    servers = run_servers()
    if not servers.running():
        ports = " and ".join(f"{name}={port}" for name, port in servers.ports.items())
        raise phase.Failed(
            f"No stack of this folder runs with {ports}. Start it: {servers.make('run')}\n"
            "If it runs with other ports, name them: make … AWS_PORT=<port> MODEL_PORT=<port>"
        )
    os.environ.update(aws_environment(servers.aws_url))
    return servers


def run_servers():
    try:
        ports = {
            name: int(os.environ.get(name) or default) for name, default in DEFAULT_PORTS.items()
        }
    except ValueError as error:
        raise phase.Failed(f"AWS_PORT and MODEL_PORT must be numbers: {error}") from None
    return Servers("run", ports)


def up(servers, parameters, fresh, keys):
    with lock("build"):
        _build()
        os.environ.update(aws_environment(servers.aws_url))
        if fresh or stack_status() not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            servers.start()
        else:
            servers.start_model()
            phase.say(
                "start",
                f"local AWS on {servers.ports['AWS_PORT']}, "
                f"model stand-in on {servers.ports['MODEL_PORT']}: running",
            )
        return deploy(servers, {**parameters, **model_parameters(servers, keys)})


def _build():
    environment = {
        **tools_environment(),
        # Seconds instead of minutes, for binaries that need not be fast. Not used for AWS.
        "CARGO_PROFILE_RELEASE_OPT_LEVEL": "1",
        "CARGO_PROFILE_RELEASE_LTO": "off",
        "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
        "CARGO_INCREMENTAL": os.environ.get("CARGO_INCREMENTAL", "1"),
        **compilers(),
    }
    # `sam build` runs this too, but hides the compiler's progress and warnings.
    for function in FUNCTIONS:
        phase.say("build", function)
        compiler = ["cargo", "lambda", "build", "--release"] + (
            ["--arm64"] if architecture() == "arm64" else []
        )
        if (
            subprocess.run(compiler, cwd=ROOT / "functions" / function, env=environment).returncode
            != 0
        ):
            raise phase.Failed(f"functions/{function} does not compile. The reason is above.")
    sam(
        "build",
        "package",
        ["build", "--parameter-overrides", f"Architecture={architecture()}"],
        environment,
    )


def compilers():
    """Names for the C compiler and the linker that do not depend on the path of the checkout.

    `cargo lambda` compiles with cargo-zigbuild. It sets each of these variables that is not set to
    the whole path of a script in its cache. With another path, cargo would compile all again.
    """
    wrappers = LOCAL / "cache" / "cargo-zigbuild"
    # It writes them again. Scripts from before a move name tools in the old place.
    shutil.rmtree(wrappers, ignore_errors=True)
    names = LOCAL / "bin"
    names.mkdir(exist_ok=True)
    target = f"{platform.machine()}_unknown_linux_gnu".replace("arm64", "aarch64")
    variables = {
        f"CC_{target}": "cc",
        f"CXX_{target}": "cxx",
        f"AR_{target}": "ar",
        f"RANLIB_{target}": "ranlib",
    }
    files = {"cc": "zigcc-*.sh", "cxx": "zigcxx-*.sh", "ar": "ar", "ranlib": "zigranlib.sh"}
    for name, file in files.items():
        script = names / f"zig-{name}"
        script.write_text(
            "#!/bin/sh\n"
            f'exec "$(dirname -- "$0")"/../cache/cargo-zigbuild/*/wrappers/*/{file} "$@"\n'
        )
        script.chmod(0o755)
    variables[f"CARGO_TARGET_{target.upper()}_LINKER"] = "cc"
    path = f"{LOCAL / 'sam' / 'bin'}:{names}:{os.environ['PATH']}"
    return {"PATH": path, **{variable: f"zig-{name}" for variable, name in variables.items()}}


def deploy(servers, parameters):
    bucket = "artifacts"
    boto3.client("s3").create_bucket(Bucket=bucket)
    # The local CloudFormation refuses parts of "full": composite alarms, saved queries, and alarms
    # on several metrics.
    overrides = {
        "Architecture": architecture(),
        "LogRetentionDays": 1,
        "Monitoring": "basic",
        "ToolSecretPrefix": "agents/tools",
        **release.parameters(),
        **parameters,
    }
    arguments = [
        "deploy",
        "--stack-name",
        STACK,
        "--s3-bucket",
        bucket,
        "--capabilities",
        "CAPABILITY_IAM",
    ]
    arguments += [
        "--no-confirm-changeset",
        "--no-fail-on-empty-changeset",
        "--no-progressbar",
        "--parameter-overrides",
    ]
    arguments += [
        f'{name}="{value}"' for name, value in overrides.items()
    ]  # quoted, or SAM refuses an empty one
    sam(
        "deploy",
        "template.yaml to the local AWS",
        arguments,
        tools_environment(),
        servers.folder / "deploy.log",
    )
    mend()
    return stack_outputs()


def stack_outputs():
    described = boto3.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}


def mend():
    """Repairs the event source mappings.

    The local AWS stores a number from a template parameter as a text, and then fails to compare it.
    A `sam-local` that was killed has left a mapping disabled.
    """
    client = boto3.client("lambda")
    for mapping in client.list_event_source_mappings()["EventSourceMappings"]:
        most = mapping.get("ScalingConfig", {}).get("MaximumConcurrency")
        scaling = {"ScalingConfig": {"MaximumConcurrency": int(most)}} if most else {}
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True, **scaling)


def model_parameters(servers, keys):
    """A provider is the real one if the caller has its key, else the stand-in."""
    parameters = {}
    for provider, (_, real_url) in PROVIDERS.items():
        key = keys.get(provider)
        parameters[f"{provider}BaseUrl"] = real_url if key else servers.model_url
        parameters[f"{provider}KeySecret"] = put_secret(provider.lower(), key) if key else ""
    return parameters


def put_secret(name, value):
    """The name depends on the value, so that running functions notice a changed key."""
    client = boto3.client("secretsmanager")
    secret = f"local/{name}-{hashlib.sha256(value.encode()).hexdigest()[:8]}"
    with contextlib.suppress(client.exceptions.ResourceExistsException):
        client.create_secret(Name=secret, SecretString=value)
    return secret


def stack_status():
    client = boto3.client("cloudformation")
    try:
        return client.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"]
    except client.exceptions.ClientError:
        return "absent"


def api_url(servers, outputs):
    api = outputs["ApiUrl"].removeprefix("https://").split(".")[0]
    return f"{servers.aws_url}/_aws/execute-api/{api}"


def api_key(outputs):
    return boto3.client("secretsmanager").get_secret_value(SecretId=outputs["ApiKeySecretArn"])[
        "SecretString"
    ]


def sam(title, doing, arguments, environment, log=LOCAL / "log" / "build.log"):
    phase.run(
        title,
        doing,
        [str(LOCAL / "sam" / "bin" / "sam"), *arguments],
        str(log),
        cwd=ROOT,
        env=environment,
    )


def tools_environment():
    """For SAM and its tools: our tools first, with caches and settings inside the project."""
    return {
        **os.environ,
        "PATH": f"{LOCAL / 'sam' / 'bin'}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(LOCAL / "cache"),
        "ZIG_GLOBAL_CACHE_DIR": str(LOCAL / "cache" / "zig"),
        "__SAM_CLI_APP_DIR": str(LOCAL / "cache" / "sam"),
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.5",
        "CARGO_TARGET_DIR": str(ROOT / "target"),
    }


def architecture():
    return "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"


if __name__ == "__main__":
    phase.main(
        lambda: main(*sys.argv[1:]),
        "Interrupted. The same command continues; `make down` stops what is running.",
    )
