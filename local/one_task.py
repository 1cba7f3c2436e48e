"""Runs one task: creates an agent, submits PROMPT, follows the task, prints the answer."""

import json
import os
import shlex
import time

import phase

DEFAULT_PROMPT = "In two sentences: why put a queue between two services?"
MODELS = {"anthropic": "claude-sonnet-5-5", "openai": "gpt-6.1-terra"}
PATIENCE_SECONDS = 180


def run(api, provider):
    began = time.monotonic()
    model = MODELS[provider]
    instructions = "Answer briefly and plainly."
    agent = api.call(
        "POST",
        "/v1/agents",
        {
            "name": "demo",
            "instructions": instructions,
            "models": [{"provider": provider, "model": model}],
        },
    )
    task = api.submit(agent["id"], os.environ.get("PROMPT") or DEFAULT_PROMPT)
    phase.say("run", f"agent {agent['id']} ({model}), task {task['id']}")
    for change in api.follow(task, PATIENCE_SECONDS):
        task = change
        phase.say("run", f"{task['status']} ({time.monotonic() - began:.1f} s)")
    logs = f"Read its log: {api.make('logs TASK=' + task['id'])}"
    if task["status"] != "completed":
        error = task.get("error") or {}
        raise phase.Failed(
            f"The task is {task['status']}: "
            f"{error.get('message') or error.get('code') or 'no reason given'}\n{logs}"
        )
    usage = task.get("usage") or {}
    print(f"\n{task['output']}\n")
    cost = (
        "cached, no cost"
        if task["origin"] == "cache"
        else f"{task['cost_micro_usd'] / 1e6:.6f} USD"
    )
    tokens = f"{usage.get('input_tokens', '?')} tokens in, {usage.get('output_tokens', '?')} out"
    print(f"{task['model']['model']}: {tokens}, {cost}, {time.monotonic() - began:.1f} s\n")
    print(next_commands(api, agent["id"], task["id"]))


def next_commands(api, agent_id, task_id):
    body = shlex.quote(json.dumps({"agent_id": agent_id, "input": "And what does it cost?"}))
    scopes = ["agents:read", "agents:write", "tasks:read", "tasks:submit", "keys"]
    first_key = shlex.quote(json.dumps({"name": "admin", "scopes": scopes}))
    return f"""The stack keeps running. Next commands:

  export API_URL={api.url} API_KEY={api.key}
  curl -s $API_URL/v1/tasks/{task_id} -H "Authorization: Bearer $API_KEY"
  curl -s $API_URL/v1/tasks -H "Authorization: Bearer $API_KEY" \\
    -H "Content-Type: application/json" -d {body}

  # A second key; then a second tenant and its first key (docs/api.md, "Keys and tenants"):
  curl -s $API_URL/v1/keys -H "Authorization: Bearer $API_KEY" \\
    -H "Content-Type: application/json" -d '{{"name": "reader", "scopes": ["tasks:read"]}}'
  curl -s $API_URL/v1/tenants -H "Authorization: Bearer $API_KEY" \\
    -H "Content-Type: application/json" -d '{{"id": "my-team"}}'
  curl -s $API_URL/v1/tenants/my-team/keys -H "Authorization: Bearer $API_KEY" \\
    -H "Content-Type: application/json" -d {first_key}

  {api.make('run PROMPT="your own question"')}
  {api.make("demo")}
  {api.make(f"trace TASK={task_id}")}
  {api.make("logs")}
  make down"""
