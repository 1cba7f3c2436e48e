"""One task through the running platform: makes an agent, submits PROMPT, follows the task, prints the answer."""

import json
import os
import shlex
import time
import urllib.error
import urllib.request

import phase

DEFAULT_PROMPT = "In two sentences: why put a queue between two services?"
MODELS = {"anthropic": "claude-sonnet-5-5", "openai": "gpt-6.1-terra"}
PATIENCE_SECONDS = 180
TERMINAL = ("completed", "failed", "timed_out")


def run(url, key, provider, make):
    """`make` completes a target to the command that means this stack."""

    def call(method, path, body=None):
        return _request(method, url + path, key, body, make)

    began = time.monotonic()
    model = MODELS[provider]
    instructions = "Answer briefly and plainly."
    agent = call("POST", "/v1/agents", {"name": "demo", "instructions": instructions, "models": [{"provider": provider, "model": model}]})
    task = call("POST", "/v1/tasks", {"agent_id": agent["id"], "input": os.environ.get("PROMPT") or DEFAULT_PROMPT})
    task_id = task["id"]
    phase.say("run", f"agent {agent['id']} ({model}), task {task_id}")
    last = None
    while True:
        seconds = time.monotonic() - began
        if task["status"] != last:
            last = task["status"]
            phase.say("run", f"{last} ({seconds:.1f} s)")
        if last in TERMINAL:
            break
        if seconds > PATIENCE_SECONDS:
            raise phase.Failed(f"The task is still {last} after {PATIENCE_SECONDS} s. See why: {make('logs')}")
        # The API answers when the task has finished, or when two seconds are over; at once if the task is parked for longer.
        task = call("GET", f"/v1/tasks/{task_id}?wait=2")
        if task["status"] == "waiting":
            time.sleep(1)
    if last != "completed":
        error = task.get("error") or {}
        raise phase.Failed(f"The task {last}: {error.get('message') or error.get('code') or 'no reason given'}\nSee more: {make('logs')}")
    usage = task.get("usage") or {}
    print(f"\n{task['output']}\n")
    cost = "kept from an earlier call" if task["origin"] == "cache" else f"{task['cost_micro_usd'] / 1e6:.6f} USD"
    print(f"{task['model']['model']}: {usage.get('input_tokens', '?')} tokens in, {usage.get('output_tokens', '?')} out, {cost}, {seconds:.1f} s\n")
    print(how_to_go_on(url, key, agent["id"], task_id, make))


def _request(method, url, key, body, make):
    request = urllib.request.Request(url, method=method, headers={"Authorization": f"Bearer {key}"})
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=40) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise phase.Failed(f"{method} {url} answered {error.code}: {error.read().decode(errors='replace')}\nSee more: {make('logs')}") from None
    except OSError as error:
        raise phase.Failed(f"{method} {url} failed: {error}. See the servers' logs in .local/stacks/run/") from None


def how_to_go_on(url, key, agent_id, task_id, make):
    body = shlex.quote(json.dumps({"agent_id": agent_id, "input": "And what does it cost?"}))
    return f"""The stack stays up. Go on with:

  export API_URL={url} API_KEY={key}
  curl -s $API_URL/v1/tasks/{task_id} -H "Authorization: Bearer $API_KEY"
  curl -s $API_URL/v1/tasks -H "Authorization: Bearer $API_KEY" -H "Content-Type: application/json" -d {body}
  {make('run PROMPT="your own question"')}
  {make('logs')}
  make down"""
