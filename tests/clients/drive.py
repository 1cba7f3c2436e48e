"""Drives the deployed API with the client that openapi-python-client generated."""

import datetime
import os
import time
from http import HTTPStatus
from typing import TypeVar, assert_type

from agents_api_client import AuthenticatedClient
from agents_api_client.api.agents import create_agent, execute_agent, find_agent, patch_agent
from agents_api_client.api.tasks import (
    cancel_task,
    find_task,
    list_tasks,
    submit_task,
    submit_tasks,
)
from agents_api_client.models import (
    AcceptedSubmission,
    Agent,
    AgentPatch,
    AgentRequest,
    Batch,
    BatchEntry,
    BatchRequest,
    ExecuteAgentRequest,
    ListTaskSummary,
    Metadata,
    ModelRequest,
    Problem,
    ProblemCode,
    Provider,
    RefusedSubmission,
    RetryPatch,
    RetryRequest,
    SubmitTaskRequest,
    Task,
    TaskStatus,
    Waiting,
    WaitReason,
)
from agents_api_client.types import Response, Unset
from httpx import Timeout

T = TypeVar("T")
MODEL = ModelRequest(provider=Provider.ANTHROPIC, model="claude-sonnet-5-5")
UNKNOWN_AGENT = "agt_00000000-0000-7000-8000-000000000000"


def main() -> None:
    # A response may come after 25 s.
    with AuthenticatedClient(
        os.environ["API_URL"], os.environ["API_KEY"], timeout=Timeout(40)
    ) as client:
        agent = create_and_patch(client)
        execute(client, agent)
        cancel(client, agent)
        batch(client, agent)
        refusals(client)


def types(task: Task, page: ListTaskSummary, outcomes: Batch) -> None:
    """The types of the contract, for mypy only. With `--strict`, it refuses a needless ignore."""
    assert_type(task.id, str)
    assert_type(task.output, str | Unset)
    assert_type(task.created_at, datetime.datetime)
    assert_type(task.status, TaskStatus)
    assert_type(page.next_cursor, str | None)
    assert_type(outcomes.data, list[AcceptedSubmission | RefusedSubmission])
    SubmitTaskRequest(agent_id=UNKNOWN_AGENT)  # type: ignore[call-arg]
    ModelRequest(provider="nobody", model="m")  # type: ignore[arg-type]


def create_and_patch(client: AuthenticatedClient) -> str:
    body = AgentRequest(
        name="python",
        models=[MODEL],
        max_output_tokens=256,
        retry=RetryRequest(max_attempts=2, max_seconds=30),
    )
    created = expect(Agent, 201, create_agent.sync_detailed(client=client, body=body))
    patch = AgentPatch(instructions="Answer briefly.", retry=RetryPatch(max_attempts=4))
    response = patch_agent.sync_detailed(created.id, client=client, body=patch)
    patched = expect(Agent, 200, response)
    wanted = created.to_dict() | {"version": 2, "instructions": "Answer briefly."}
    wanted["retry"]["max_attempts"] = 4
    wanted["created_at"] = patched.created_at.isoformat()
    assert patched.to_dict() == wanted, patched
    return created.id


def execute(client: AuthenticatedClient, agent: str) -> None:
    body = ExecuteAgentRequest(input_="[ok] What is the capital of France?")
    task = expect(Task, 200, execute_agent.sync_detailed(agent, client=client, body=body))
    assert (task.status, task.output) == (TaskStatus.COMPLETED, "canary answer"), task


def cancel(client: AuthenticatedClient, agent: str) -> None:
    body = SubmitTaskRequest(
        agent_id=agent,
        input_="[ok]",
        metadata=Metadata.from_dict({"order": "17"}),
        not_before=soon(),
    )
    submitted = expect(Task, 202, submit_task.sync_detailed(client=client, body=body))
    waiting = expect(Task, 200, find_task.sync_detailed(submitted.id, client=client, wait=1))
    assert isinstance(waiting.waiting, Waiting), waiting
    assert waiting.waiting.reason == WaitReason.NOT_BEFORE, waiting
    canceled = expect(Task, 200, cancel_task.sync_detailed(submitted.id, client=client))
    assert canceled.status == TaskStatus.CANCELED, canceled

    end = time.monotonic() + 20
    # The list may be a moment behind.
    while submitted.id not in canceled_tasks(client, agent):
        assert time.monotonic() < end, "the list lacks the canceled task"


def canceled_tasks(client: AuthenticatedClient, agent: str) -> list[str]:
    response = list_tasks.sync_detailed(
        client=client, agent_id=agent, status="canceled,failed", metadata="order:17"
    )
    page = expect(ListTaskSummary, 200, response)
    assert page.next_cursor is None, page
    return [task.id for task in page.data]


def batch(client: AuthenticatedClient, agent: str) -> None:
    tasks = [
        BatchEntry(agent_id=name, input_="[ok]", not_before=soon())
        for name in (agent, UNKNOWN_AGENT)
    ]
    response = submit_tasks.sync_detailed(client=client, body=BatchRequest(tasks=tasks))
    accepted, other = expect(Batch, 200, response).data
    assert isinstance(accepted, AcceptedSubmission), accepted
    assert accepted.status == TaskStatus.WAITING, accepted
    expect(Task, 200, cancel_task.sync_detailed(accepted.id, client=client))
    assert isinstance(other, RefusedSubmission), other
    assert other.error.code == ProblemCode.VALIDATION_FAILED, other


def refusals(client: AuthenticatedClient) -> None:
    body = AgentRequest(name="", models=[MODEL])
    invalid = refused(422, create_agent.sync_detailed(client=client, body=body))
    assert invalid.code == ProblemCode.VALIDATION_FAILED, invalid
    assert not isinstance(invalid.errors, Unset), invalid
    assert [rule.pointer for rule in invalid.errors] == ["/name"], invalid
    unknown = refused(404, find_agent.sync_detailed(UNKNOWN_AGENT, client=client))
    assert unknown.code == ProblemCode.NOT_FOUND, unknown


def expect(kind: type[T], status: int, response: Response[Problem | T]) -> T:
    assert response.status_code == HTTPStatus(status), response
    assert isinstance(response.parsed, kind), response
    return response.parsed


def refused(status: int, response: Response[Problem | T]) -> Problem:
    assert response.status_code == HTTPStatus(status), response
    assert isinstance(response.parsed, Problem), response
    return response.parsed


def soon() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)


main()
