"""The local stack: `run` and `test` build the functions, start the servers and deploy template.yaml to them.

    stack.py build                 builds the functions for this machine, with fast settings
    stack.py run                   stack up, then one task through it; the prompt is in PROMPT
    stack.py test COMMAND...       the command with a stack of its own, which is gone afterwards
    stack.py down                  stops what this folder has running
    stack.py logs                  follows the functions' logs of `run`; TASK in the environment leaves only its lines
    stack.py trace                 draws the life of the task in TASK, of `run` or of what API_URL and API_KEY lead to
"""

import hashlib
import os
import platform
import signal
import subprocess
import sys

import boto3

import demo
import logs
import phase
import release
import trace
from install import lock
from servers import DEFAULT_PORTS, LOCAL, ROOT, Servers, aws_environment, free_port, stop

STACK = "agents-local"
FUNCTIONS = ("api", "executor", "cleanup")
PROVIDERS = {
    "Anthropic": ("ANTHROPIC_API_KEY", "https://api.anthropic.com"),
    "OpenAi": ("OPENAI_API_KEY", "https://api.openai.com"),
}
KEYS = {provider: os.environ.pop(variable, "") for provider, (variable, _) in PROVIDERS.items()}


def main(command, *arguments):
    # From here on no process of ours can reach the caller's AWS account.
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_PORT"]:
        del os.environ[name]
    # ... and no proxy stands between us and this machine.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1", "localhost")))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    {"build": build, "run": run, "test": test, "down": down, "logs": follow_logs, "trace": show_trace}[command](*arguments)


def build():
    with lock("build"):
        _build()


def run():
    with lock("run"):
        servers = run_servers()
        # Before anything is built or stopped: a refusal must leave a running stack alone.
        servers.check_ports()
        outputs = up(servers, {}, fresh=not servers.running(), keys=KEYS)
        provider = "openai" if KEYS["OpenAi"] and not KEYS["Anthropic"] else "anthropic"
        demo.run(api_url(servers, outputs), api_key(outputs), provider, servers.make)


def test(*command):
    servers = Servers("test", {"AWS_PORT": free_port(), "MODEL_PORT": free_port()}, "tests.json")
    with lock("test"):
        try:
            # A server that the tests themselves start when they need one that fails as they say.
            unreliable_port = free_port()
            timings = {"ExecutorMaxConcurrency": 5, "ExecutorTimeoutSeconds": 20, "TaskVisibilitySeconds": 120, "ModelTimeoutSeconds": 8}
            timings |= {"ModelCacheSeconds": 0, "BreakerOpenSeconds": 3, "OpenAiCompatibleBaseUrl": f"http://127.0.0.1:{unreliable_port}"}
            timings |= {"LeaseSeconds": 10, "StepReserveSeconds": 3}
            # A budget's writes would be one more thing that the tests' faults meet.
            timings |= {"TenantDailyBudgetMicroUsd": 0, "DeploymentDailyBudgetMicroUsd": 0}
            outputs = up(servers, timings, fresh=True, keys={})
            names = {"STATE_TABLE": "StateTable", "EPHEMERAL_TABLE": "EphemeralTable"}
            names |= {"TASK_QUEUE_URL": "TaskQueueUrl"}
            environment = {variable: outputs[output] for variable, output in names.items()}
            environment |= {"UNRELIABLE_PORT": str(unreliable_port), "TRACES": str(servers.traces)}
            environment |= {"LOCAL_AWS_URL": servers.aws_url, "MODEL_URL": servers.model_url}
            environment |= {"API_URL": api_url(servers, outputs), "API_KEY": api_key(outputs)}
            environment |= {f"{name.upper()}_FUNCTION": outputs[f"{name.capitalize()}Function"] for name in FUNCTIONS}
            status = subprocess.run(command, env={**os.environ, **environment}).returncode
        finally:
            stop(servers.folder)
    if status != 0:
        raise phase.Failed(f"The tests failed (exit {status}). The servers' logs: {servers.folder}/*.log")


def down():
    stopped = [folder for folder in (LOCAL / "stacks").glob("*") if stop(folder)]
    phase.say("down", "stopped; what was installed and built stays" if stopped else "nothing is running")


def follow_logs():
    task = os.environ.get("TASK", "").strip()
    if task and not trace.is_task_id(task):
        raise phase.Failed("Say which task, by its whole id: make logs TASK=tsk_…")
    use_running()
    phase.say("logs", "the local AWS hands an invocation's lines over when it ends; Ctrl-C ends this")
    logs.follow({name: f"/aws/lambda/{STACK}/{name}" for name in FUNCTIONS}, task)


def show_trace():
    url, key = os.environ.get("API_URL"), os.environ.get("API_KEY")
    servers = run_servers()
    if not (url and key):
        servers = use_running()
        outputs = stack_outputs()
        url, key = api_url(servers, outputs), api_key(outputs)
    trace.show(url.rstrip("/"), key, os.environ.get("TASK", "").strip(), servers.folder / "traces.jsonl")


def use_running():
    """The servers of `run`, to which all our calls go from here on."""
    servers = run_servers()
    if not servers.running():
        raise phase.Failed("Nothing is running here, or on other ports than AWS_PORT and MODEL_PORT say. Start it: make run")
    os.environ.update(aws_environment(servers.aws_url))
    return servers


def run_servers():
    try:
        ports = {name: int(os.environ.get(name) or default) for name, default in DEFAULT_PORTS.items()}
    except ValueError as error:
        raise phase.Failed(f"AWS_PORT and MODEL_PORT must be numbers: {error}") from None
    return Servers("run", ports, "demo.json")


def up(servers, parameters, fresh, keys):
    with lock("build"):
        _build()
        os.environ.update(aws_environment(servers.aws_url))
        if fresh or stack_status() not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            servers.start()
        else:
            servers.start_model()
            phase.say("start", f"local AWS on {servers.ports['AWS_PORT']}, model stand-in on {servers.ports['MODEL_PORT']}: running")
        return deploy(servers, {**parameters, **model_parameters(servers, keys)})


def _build():
    environment = {
        **tools_environment(),
        # Seconds instead of minutes for binaries that need not be the fastest. What is deployed to AWS has none of this.
        "CARGO_PROFILE_RELEASE_OPT_LEVEL": "1",
        "CARGO_PROFILE_RELEASE_LTO": "off",
        "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
        "CARGO_INCREMENTAL": "1",
    }
    # What `sam build` runs, beforehand: it would hide the compiler's progress and warnings.
    for function in FUNCTIONS:
        phase.say("build", function)
        compiler = ["cargo", "lambda", "build", "--release"] + (["--arm64"] if architecture() == "arm64" else [])
        if subprocess.run(compiler, cwd=ROOT / "functions" / function, env=environment).returncode != 0:
            raise phase.Failed(f"functions/{function} does not compile. The reason is above.")
    sam("build", "package", ["build", "--parameter-overrides", f"Architecture={architecture()}"], environment)


def deploy(servers, parameters):
    bucket = "artifacts"
    boto3.client("s3").create_bucket(Bucket=bucket)
    # Its CloudFormation refuses what comes with "full": the types CompositeAlarm and QueryDefinition, and Metrics of an Alarm.
    overrides = {"Architecture": architecture(), "LogRetentionDays": 1, "Monitoring": "basic", **release.parameters(), **parameters}
    arguments = ["deploy", "--stack-name", STACK, "--s3-bucket", bucket, "--capabilities", "CAPABILITY_IAM"]
    arguments += ["--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar", "--parameter-overrides"]
    arguments += [f'{name}="{value}"' for name, value in overrides.items()]  # quoted, or SAM refuses an empty one
    sam("deploy", "template.yaml to the local AWS", arguments, tools_environment(), servers.folder / "deploy.log")
    mend()
    return stack_outputs()


def stack_outputs():
    described = boto3.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}


def mend():
    """The local AWS keeps a number that comes from a template parameter as text, and then fails to compare it."""
    client = boto3.client("lambda")
    for mapping in client.list_event_source_mappings()["EventSourceMappings"]:
        if most := mapping.get("ScalingConfig", {}).get("MaximumConcurrency"):
            client.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": int(most)})


def model_parameters(servers, keys):
    """A provider whose key the caller has is the real one, the other is the stand-in."""
    parameters = {}
    for provider, (_, real_url) in PROVIDERS.items():
        key = keys.get(provider)
        parameters[f"{provider}BaseUrl"] = real_url if key else servers.model_url
        parameters[f"{provider}KeySecret"] = put_secret(provider.lower(), key) if key else ""
    return parameters


def put_secret(name, value):
    """Named after its value too, so that running functions notice a changed key."""
    client = boto3.client("secretsmanager")
    secret = f"local/{name}-{hashlib.sha256(value.encode()).hexdigest()[:8]}"
    try:
        client.create_secret(Name=secret, SecretString=value)
    except client.exceptions.ResourceExistsException:
        pass
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
    return boto3.client("secretsmanager").get_secret_value(SecretId=outputs["ApiKeySecretArn"])["SecretString"]


def sam(title, doing, arguments, environment, log=LOCAL / "log" / "build.log"):
    phase.run(title, doing, [str(LOCAL / "sam" / "bin" / "sam"), *arguments], str(log), cwd=ROOT, env=environment)


def tools_environment():
    """For SAM and what it calls: our tools first, and their caches and settings inside the project."""
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
    try:
        main(*sys.argv[1:])
    except phase.Failed as failure:
        sys.exit(f"\n{failure}")
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command continues; `make down` stops what is running.")
