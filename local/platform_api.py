"""The platform's HTTP API, as the local scripts use it."""

import json
import time
import urllib.error
import urllib.request

import phase

# With these statuses, nothing more happens to a task by itself.
ENDED = ("completed", "failed", "timed_out", "canceled")
STILL = (*ENDED, "input_required", "paused")


class Api:
    def __init__(self, url, key, make):
        """`make` turns a target into the command for this stack."""
        self.url, self.key, self.make = url, key, make

    def call(self, method, path, body=None):
        request = urllib.request.Request(
            self.url + path, method=method, headers={"Authorization": f"Bearer {self.key}"}
        )
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=40) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise phase.Failed(
                f"{method} {request.full_url} returned {error.code}: {said}\n"
                f"Read the logs: {self.make('logs')}"
            ) from None
        except OSError as error:
            raise phase.Failed(
                f"{method} {request.full_url} failed: {error}. "
                "Read the servers' logs in .local/stacks/run/"
            ) from None

    def last(self, task, patience_seconds, statuses=STILL):
        """The task when its status is one of these."""
        *_, task = self.follow(task, patience_seconds, statuses)
        return task

    def submit(self, agent_id, prompt, **more):
        return self.call("POST", "/v1/tasks", {"agent_id": agent_id, "input": prompt, **more})

    def follow(self, task, patience_seconds, statuses=STILL):
        """Yields the task at each change of its status, until the status is one of these."""
        began, last = time.monotonic(), None
        while True:
            if task["status"] != last:
                last = task["status"]
                yield task
            if last in statuses:
                return
            if time.monotonic() - began > patience_seconds:
                raise phase.Failed(
                    f"The task is still {last} after {patience_seconds} s. "
                    f"Read its log: {self.make('logs TASK=' + task['id'])}"
                )
            # The API responds when the task has ended or needs its client, or after two seconds. If
            # the task is parked for longer, it responds at once.
            task = self.call("GET", f"/v1/tasks/{task['id']}?wait=2")
            if task["status"] == "waiting":
                time.sleep(1)
