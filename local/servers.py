"""The servers of a local stack: the local AWS, the model stand-in, the collector of traces.

servers.py     stops all stacks of this folder; needs nothing that is installed
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import phase

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
# Every process of a stack inherits this variable with the stack's folder. It identifies our
# processes. A pid file would be wrong after a crash or a reboot, and name somebody else's process.
MARK = "AGENTS_LOCAL_STACK"
DEFAULT_PORTS = {"AWS_PORT": 4566, "MODEL_PORT": 4010}
# A listening socket in /proc/net/tcp (tcp_states.h).
LISTENING = "0A"
HEALTH = {"AWS_PORT": "/_ministack/health", "MODEL_PORT": "/health"}


class Servers:
    def __init__(self, name, ports, fixtures=None):
        """`fixtures` is a file of local/fixtures/ with answers for the model stand-in.

        Without it, the stand-in is model.mjs.
        """
        self.folder = LOCAL / "stacks" / name
        self.ports = ports
        self.fixtures = fixtures
        self.traces = self.folder / "traces.jsonl"
        self.aws_url = f"http://127.0.0.1:{ports['AWS_PORT']}"
        self.model_url = f"http://127.0.0.1:{ports['MODEL_PORT']}"

    def make(self, target):
        """The make command for these servers, with their ports."""
        return " ".join(
            [
                "make",
                target,
                *(
                    f"{name}={port}"
                    for name, port in self.ports.items()
                    if port != DEFAULT_PORTS[name]
                ),
            ]
        )

    def running(self):
        """Whether the local AWS responds on these ports."""
        record = self.folder / "ports.json"
        mine = (
            record.exists()
            and _json(record) == self.ports
            and str(self.folder) in _marked().values()
        )
        return mine and _answers(self.ports["AWS_PORT"], HEALTH["AWS_PORT"])

    def check_ports(self):
        """Fails if another program listens on one of the ports. This stack's own servers may."""
        for name, port in self.ports.items():
            if not _taken(port) or _listens(_pids(self.folder), port):
                continue
            other = next((mark for pid, mark in _marked().items() if _listens([pid], port)), None)
            who = (
                f"the local stack of {Path(other).parents[2]} (`make down` there)"
                if other
                else "another program"
            )
            raise phase.Failed(
                f"Port {port} is in use by {who}. Stop that, or choose a free port: "
                f"make … {name}=<port>"
            )

    def start(self):
        self.check_ports()
        stop(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "tmp").mkdir(parents=True)
        (self.folder / "ports.json").write_text(json.dumps(self.ports))
        began = time.monotonic()
        daemon = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
        python = str(LOCAL / "aws" / "bin" / "python")
        collector = [
            python,
            str(ROOT / "local" / "collector.py"),
            daemon.split(":")[1],
            str(self.traces),
        ]
        self._spawn("collector", collector)
        # The local AWS passes this address to the functions, as Lambda does with its daemon's.
        aws = self._spawn(
            "aws",
            [python, str(LOCAL / "aws" / "bin" / "ministack")],
            AWS_XRAY_DAEMON_ADDRESS=daemon,
        )
        self._await("aws", aws, "AWS_PORT")
        self.start_model()
        phase.say(
            "start",
            f"local AWS on {self.ports['AWS_PORT']}, model stand-in on "
            f"{self.ports['MODEL_PORT']} ({time.monotonic() - began:.0f} s)",
        )

    def start_model(self):
        """Starts or restarts the model stand-in: it has no state, and may be an older version."""
        _stop(lambda: [pid for pid in _pids(self.folder) if _is_node(pid)])
        port = str(self.ports["MODEL_PORT"])
        argv = [str(ROOT / "local" / "model.mjs"), port]
        if self.fixtures:
            argv = [
                str(
                    LOCAL / "model" / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
                ),
                "--host",
                "127.0.0.1",
                "--port",
                port,
            ]
            argv += [
                "--fixtures",
                str(ROOT / "local" / "fixtures" / self.fixtures),
                "--validate-on-load",
                "--journal-max",
                "10000",
            ]
        self._await("model", self._spawn("model", ["node", *argv]), "MODEL_PORT")

    def start_forwarder(self, address):
        """Lets containers reach these servers at this address, until `make down`."""
        ports = [str(port) for port in self.ports.values()]
        forwarder = self._spawn(
            "forwarder",
            [
                str(LOCAL / "aws" / "bin" / "python"),
                str(ROOT / "local" / "forwarder.py"),
                address,
                *ports,
            ],
        )
        self._await("forwarder", forwarder, "AWS_PORT", address)

    def _spawn(self, server, argv, **more):
        """Starts a server in its own session and environment.

        In its own session, Ctrl-C in the terminal does not reach it. The local AWS passes its
        environment to the functions, and the caller's environment may have real credentials.
        """
        temp = str(self.folder / "tmp")
        environment = {
            MARK: str(self.folder),
            "HOME": temp,
            "TMPDIR": temp,
            "STATE_DIR": temp,
            "S3_DATA_DIR": temp,
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.ports["AWS_PORT"]),
            **aws_environment(self.aws_url),
            **more,
        }
        for name in (
            "PATH",
            "LANG",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "HTTPS_PROXY",
            "https_proxy",
            "NO_PROXY",
            "no_proxy",
        ):
            if name in os.environ:
                environment[name] = os.environ[name]
        with open(self.folder / f"{server}.log", "wb") as log:
            return subprocess.Popen(
                argv,
                env=environment,
                cwd=temp,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _await(self, server, process, port, address="127.0.0.1"):
        deadline = time.monotonic() + 60
        while not _answers(self.ports[port], HEALTH[port], address):
            if time.monotonic() > deadline or process.poll() is not None:
                raise phase.Failed(
                    f"The {server} server did not start. Read {self.folder / server}.log"
                )
            time.sleep(0.1)


def stop(folder):
    """Stops every process of the stack; returns whether there was one."""
    return _stop(lambda: _pids(folder))


def _stop(find):
    found = find()
    for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        deadline = time.monotonic() + patience
        for pid in find():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while find() and time.monotonic() < deadline:
            time.sleep(0.05)
    return bool(found)


def down():
    stopped = [folder for folder in (LOCAL / "stacks").glob("*") if stop(folder)]
    phase.say(
        "down",
        "stopped; installed tools and builds are kept" if stopped else "nothing was running",
    )


def aws_environment(url):
    """Credentials and address of the local AWS. With these, no SDK reads the home folder."""
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _json(file):
    try:
        return json.loads(file.read_text())
    except ValueError:
        return None  # not yet completely written


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _pids(folder):
    """The processes of the stack, even if the checkout was moved since they were started."""
    marked = _marked()
    ours = {str(folder), *(mark for pid, mark in marked.items() if _works_in(pid, folder))}
    return [pid for pid, mark in marked.items() if mark in ours]


def _marked():
    """The processes of all stacks of all checkouts, each with its stack's folder at the start."""
    prefix, marked = f"{MARK}=".encode(), {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended, or belongs to another user
        for variable in variables:
            if variable.startswith(prefix):
                marked[int(process.name)] = os.fsdecode(variable.removeprefix(prefix))
    return marked


def _is_node(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"node\0")
    except OSError:
        return False


def _works_in(pid, folder):
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(folder)
    except OSError:
        return False


def _taken(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _listens(pids, port):
    """Whether one of the processes listens on the port."""
    links = [link for pid in pids for link in _open_files(pid)]
    return any(f"socket:[{inode}]" in links for inode in _listening_inodes(port))


def _listening_inodes(port):
    inodes = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue  # a machine without IPv6
        for line in lines:
            _, local, _, state, *rest = line.split()
            if state == LISTENING and int(local.rsplit(":", 1)[1], 16) == port:
                inodes.append(rest[5])
    return inodes


def _open_files(pid):
    links = []
    for entry in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):  # closed in the meantime
            links.append(os.readlink(entry))
    return links


def _answers(port, path, address="127.0.0.1"):
    try:
        with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=2):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    phase.main(down, "Interrupted.")
