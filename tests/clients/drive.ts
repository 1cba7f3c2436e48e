// Drives the deployed API with the types that openapi-typescript generated, by openapi-fetch.

import assert from "node:assert/strict";
import { env } from "node:process";
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./api.js";

type Schemas = components["schemas"];
type Problem = Schemas["Problem"];
type Task = Schemas["Task"];
type Response<T> = { data?: T; error?: Problem | undefined; response: globalThis.Response };
type Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;

// The types of the contract. A wrong one does not compile.
const required: Same<Task["id"], string> = true;
const optional: Same<Task["output"], string | undefined> = true;
const nullable: Same<Schemas["List_TaskSummary"]["next_cursor"], string | null> = true;
const choice: Same<Schemas["TaskStatus"] & ("queued" | "completed" | "done"), "queued" | "completed"> = true;
const model: Schemas["ModelRequest"] = { provider: "anthropic", model: "claude-sonnet-5-5" };
// @ts-expect-error: `input` is required.
const withoutInput: Schemas["SubmitTaskRequest"] = { agent_id: "agt_1" };
// @ts-expect-error: no such provider.
const withoutProvider: Schemas["ModelRequest"] = { provider: "nobody", model: "m" };
assert.ok(required && optional && nullable && choice && withoutInput && withoutProvider);

const UNKNOWN_AGENT = "agt_00000000-0000-7000-8000-000000000000";

async function main(): Promise<void> {
  const headers = { Authorization: `Bearer ${env["API_KEY"]}` };
  const client = createClient<paths>({ baseUrl: env["API_URL"] ?? "", headers });
  const agent = await createAndPatch(client);
  await execute(client, agent);
  await cancel(client, agent);
  await batch(client, agent);
  await refusals(client);
}

async function createAndPatch(client: Client<paths>): Promise<string> {
  const body = {
    name: "typescript",
    models: [model],
    max_output_tokens: 256,
    retry: { max_attempts: 2, max_seconds: 30 },
  };
  const created = ok(201, await client.POST("/v1/agents", { body }));
  const params = { path: { id: created.id } };
  const patch = { instructions: "Answer briefly.", retry: { max_attempts: 4 } };
  const patched = ok(200, await client.PATCH("/v1/agents/{id}", { params, body: patch }));
  assert.deepEqual(
    { ...patched, created_at: null },
    {
      ...created,
      version: 2,
      instructions: "Answer briefly.",
      retry: { ...created.retry, max_attempts: 4 },
      created_at: null,
    },
  );
  return created.id;
}

async function execute(client: Client<paths>, id: string): Promise<void> {
  const body = { input: "[ok] What is the capital of France?" };
  const params = { path: { id } };
  const task: Task = ok(200, await client.POST("/v1/agents/{id}/execute", { params, body }));
  assert.equal(task.status, "completed" satisfies Schemas["TaskStatus"]);
  assert.equal(task.output, "canary answer");
}

async function cancel(client: Client<paths>, agent: string): Promise<void> {
  const body = { agent_id: agent, input: "[ok]", metadata: { order: "17" }, not_before: soon() };
  const submitted = ok(202, await client.POST("/v1/tasks", { body }));
  const path = { id: submitted.id };
  const waiting = ok(
    200,
    await client.GET("/v1/tasks/{id}", { params: { path, query: { wait: 1 } } }),
  );
  assert.equal(waiting.status, "waiting");
  assert.equal(waiting.waiting?.reason, "not_before" satisfies Schemas["WaitReason"]);
  const canceled = ok(200, await client.POST("/v1/tasks/{id}/cancel", { params: { path } }));
  assert.equal(canceled.status, "canceled");

  const query = { agent_id: agent, status: "canceled,failed", metadata: "order:17" };
  const isListed = async (): Promise<boolean> => {
    const page = ok(200, await client.GET("/v1/tasks", { params: { query } }));
    assert.equal(page.next_cursor, null);
    return page.data.map((task) => task.id).includes(submitted.id);
  };
  const end = Date.now() + 20_000;
  // The list may be a moment behind.
  while (!(await isListed())) {
    assert.ok(Date.now() < end, "the list lacks the canceled task");
  }
}

async function batch(client: Client<paths>, agent: string): Promise<void> {
  const tasks = [agent, UNKNOWN_AGENT].map((agent_id) => ({
    agent_id,
    input: "[ok]",
    not_before: soon(),
  }));
  const { data } = ok(200, await client.POST("/v1/tasks/batch", { body: { tasks } }));
  const outcomes: (Schemas["TaskStatus"] | Schemas["ProblemCode"])[] = [];
  for (const outcome of data) {
    if ("error" in outcome) {
      outcomes.push(outcome.error.code);
    } else {
      outcomes.push(outcome.status);
      const params = { path: { id: outcome.id } };
      ok(200, await client.POST("/v1/tasks/{id}/cancel", { params }));
    }
  }
  assert.deepEqual(outcomes, ["waiting", "validation_failed"]);
}

async function refusals(client: Client<paths>): Promise<void> {
  const body = { name: "", models: [model] };
  const invalid = refused(422, await client.POST("/v1/agents", { body }));
  assert.equal(invalid.code, "validation_failed" satisfies Schemas["ProblemCode"]);
  assert.deepEqual(
    invalid.errors?.map((rule) => rule.pointer),
    ["/name"],
  );
  const params = { path: { id: UNKNOWN_AGENT } };
  const unknown = refused(404, await client.GET("/v1/agents/{id}", { params }));
  assert.equal(unknown.code, "not_found" satisfies Schemas["ProblemCode"]);
}

function ok<T>(status: number, { data, error, response }: Response<T>): T {
  assert.equal(response.status, status, JSON.stringify(error));
  assert.ok(data !== undefined);
  return data;
}

function refused(status: number, { error, response }: Response<unknown>): Problem {
  assert.equal(response.status, status);
  assert.ok(error !== undefined);
  return error;
}

function soon(): string {
  return new Date(Date.now() + 3_600_000).toISOString();
}

await main();
