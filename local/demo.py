"""Shows the platform in six scenes. The model stand-in plays the models.

Each scene prints what happened, and the command that shows more. A scene that does not go as it
should fails: the demo is also a test.
"""

import json
import secrets
import time
import urllib.request

import phase
import platform_api

FIRST, SECOND = "claude-sonnet-5-5", "gpt-6.1-terra"
AGENT = {
    "name": "order desk",
    "instructions": "You take orders for lamps. Ask the customer what you cannot know.",
    "models": [{"provider": "anthropic", "model": FIRST}, {"provider": "openai", "model": SECOND}],
    "tools": [
        {"kind": "builtin", "name": "calculator"},
        {"kind": "builtin", "name": "current_time"},
        {
            "kind": "client",
            "name": "ask_customer",
            "description": "Asks the customer, who answers within a day.",
            "input_schema": {
                "type": "object",
                "properties": {"question": {"type": "string"}},
                "required": ["question"],
            },
        },
    ],
    "retry": {"max_attempts": 2},
    "cache": {"mode": "on", "ttl_seconds": 3600},
    "max_output_tokens": 512,
}
# Enough for two model calls, not for a third.
SMALL_BUDGET_MICRO_USD, LARGE_BUDGET_MICRO_USD = 20_000, 100_000
PATIENCE_SECONDS = 150
# If the demo is killed during an outage, the outage ends by itself.
OUTAGE_SECONDS = 120


def run(api, model_url):
    """Returns the ids of two tasks with much to see: the order, and the task of the outage."""
    began = time.monotonic()
    demo = Demo(api, model_url)
    demo.say("demo", f"agent {demo.agent} with {FIRST} and {SECOND}, played by the stand-in")
    order = demo.tools()
    demo.client(order)
    demo.budget(order)
    demo.fallback()
    question, task = demo.outage()
    demo.cache(question)
    demo.say("demo", f"six scenes in {time.monotonic() - began:.0f} s")
    return order["id"], task["id"]


class Demo:
    def __init__(self, api, model_url):
        self.api, self.model_url = api, model_url
        self.agent = api.call("POST", "/v1/agents", AGENT)["id"]
        # Makes the prompts new, so that no cached answer of an earlier demo fits.
        self.number = secrets.token_hex(3)

    def say(self, scene, text, *commands):
        phase.say(scene, text)
        for command in commands:
            phase.say("", self.api.make(command))

    def tools(self):
        task = self.api.submit(
            self.agent,
            f"Order {self.number}: 3 lamps at 24.50 EUR, with 20 % tax.",
            limits={"max_cost_micro_usd": SMALL_BUDGET_MICRO_USD},
        )
        task = self.until(task, "input_required")
        steps = self.api.call("GET", f"/v1/tasks/{task['id']}/steps?limit=100")["data"]
        ran = {
            step["name"]: step["text"]
            for step in steps
            if step["kind"] == "tool_call" and step["by"] == "platform"
        }
        expect(
            ran.keys() == {"calculator", "current_time"}, task, "the platform ran two tools", steps
        )
        said = f"{ran['calculator']} and {json.loads(ran['current_time'])['rfc3339']}"
        self.say(
            "tools",
            f"the model called {' and '.join(ran)}; the platform ran both: {said}",
            f"trace TASK={task['id']}",
        )
        return task

    def client(self, task):
        call = task["input_required"]["calls"][0]
        question = json.loads(call["arguments"])["question"]
        self.say(
            "client",
            f"the task needs its client ({call['name']}): “{question}” We answer “express”",
            f"logs TASK={task['id']}",
        )
        results = [{"call_id": call["call_id"], "step": call["step"], "text": "express"}]
        self.api.call("POST", f"/v1/tasks/{task['id']}/input", {"results": results})

    def budget(self, task):
        task = self.until(task, "paused")
        expect(task["paused"]["limit"] == "budget", task, "it paused at its budget", task["paused"])
        spent = money(task["cost_micro_usd"])
        self.say(
            "budget",
            f"paused: {spent} of {money(SMALL_BUDGET_MICRO_USD)} are spent, "
            "and the next call may cost more than the rest",
        )
        task = self.api.call(
            "POST",
            f"/v1/tasks/{task['id']}/resume",
            {"limits": {"max_cost_micro_usd": LARGE_BUDGET_MICRO_USD}},
        )
        task = self.until(task, "completed")
        expect(
            "express" in task["output"], task, "the answer has what the client said", task["output"]
        )
        self.say(
            "",
            f"resumed with {money(LARGE_BUDGET_MICRO_USD)} → “{task['output']}”",
            f"trace TASK={task['id']}",
        )

    def fallback(self):
        self.break_down(FIRST)
        task = self.until(
            self.api.submit(self.agent, f"Is the shop of order {self.number} open?"), "completed"
        )
        expect(task["model"]["model"] == SECOND, task, "the second model answered", task["model"])
        calls = f"{task['model_attempts']} attempts"
        self.say(
            "fallback",
            f"{FIRST} is down: {SECOND} answered instead, after {calls}",
            f"logs TASK={task['id']}",
        )

    def outage(self):
        self.break_down(FIRST, SECOND)
        question = f"When does order {self.number} arrive?"
        task = self.until(self.api.submit(self.agent, question), "waiting")
        waiting = task["waiting"]
        self.say(
            "outage",
            "both models are down: the task waits and uses no compute, "
            f"until {waiting['until'][11:19]} UTC ({waiting['reason']})",
        )
        self.break_down()
        since = time.monotonic()
        task = self.until(task, "completed")
        expect(task["origin"] == "provider", task, "a model answered", task["origin"])
        self.say(
            "",
            f"both models work again: the task completed {time.monotonic() - since:.0f} s later",
            f"trace TASK={task['id']}",
        )
        return question, task

    def cache(self, question):
        task = self.until(self.api.submit(self.agent, question), "completed")
        expect(
            task["origin"] == "cache" and task["cost_micro_usd"] == 0,
            task,
            "its answer came from the cache",
            task["origin"],
        )
        self.say(
            "cache",
            f"the same question again: a cached answer, for {money(0)}",
            f"logs TASK={task['id']}",
        )

    def until(self, task, status):
        statuses = {*platform_api.STILL, status}
        task = self.api.last({**task, "status": ""}, PATIENCE_SECONDS, statuses)
        expect(task["status"] == status, task, f"it is {status}", task["status"], task.get("error"))
        return task

    def break_down(self, *models):
        """Takes exactly these models of the stand-in down."""
        body = json.dumps({"models": models, "seconds": OUTAGE_SECONDS}).encode()
        try:
            urllib.request.urlopen(
                urllib.request.Request(f"{self.model_url}/outage", body), timeout=10
            ).close()
        except OSError as error:
            raise phase.Failed(
                f"The model stand-in does not respond: {error}. Read its log in .local/stacks/"
            ) from None


def expect(holds, task, what, *seen):
    if not holds:
        raise phase.Failed(
            f"The demo failed with task {task['id']}. Expected: {what}. Found: {seen}"
        )


def money(micro_usd):
    return f"{micro_usd / 1e6:.4f} USD"
