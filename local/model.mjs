// The model stand-in of `make run` and `make demo`, which speaks the providers' protocols: model.mjs PORT
//
// It gives a user's prompt back, so that its answer shows what was asked, and plays the model in the scenes of demo.py.
// `POST /outage` with {"models": […], "seconds": n} lets these models answer 529 for so long; with no models, it ends an outage.

import { LLMock } from "../.local/model/node_modules/@copilotkit/aimock/dist/index.js";

const LONGEST_QUOTE = 400;
const RETRY_AFTER_SECONDS = 5;
const THINKS = { chaos: { latencyMs: 600 } };

const mock = new LLMock({ host: "127.0.0.1", port: Number(process.argv[2]), logLevel: "warn" });
// When the outage of each model ends by itself: a demo that is killed leaves no model that is down for good.
const down = new Map();

mock.on({ predicate: (request) => (down.get(request.model) ?? 0) > Date.now() }, () => ({
  error: { message: "Overloaded", type: "overloaded_error" },
  status: 529,
  retryAfter: RETRY_AFTER_SECONDS,
}));

const lamps = /^Order \w+: 3 lamps/;
mock.onTurn(0, lamps, {
  content: "I add up the order first.",
  toolCalls: [
    { name: "calculator", arguments: '{"expression":"3 * 24.50 * 1.2"}' },
    { name: "current_time", arguments: "{}" },
  ],
  usage: { input_tokens: 1400, output_tokens: 90 },
}, THINKS);
mock.onTurn(1, lamps, {
  toolCalls: [{ name: "ask_customer", arguments: '{"question":"Express for 9 EUR more, or standard?"}' }],
  usage: { input_tokens: 1600, output_tokens: 40 },
}, THINKS);
mock.onTurn(2, lamps, (request) => ({
  content: `Booked: 3 lamps for ${toolTexts(request)[0]} EUR with tax. The customer chose ${toolTexts(request).at(-1)}.`,
  usage: { input_tokens: 1700, output_tokens: 60 },
}), THINKS);

mock.on({}, (request) => ({
  content:
    `You asked: “${shortened(lastText(request))}”\n\nI am the model stand-in and can only repeat that. Your prompt went through the API, ` +
    `the queue and the executor, and reached me as ${request.model}, over its provider's real protocol. For a real answer, set ` +
    "ANTHROPIC_API_KEY or OPENAI_API_KEY in your environment and run the same command again.",
  usage: { input_tokens: 20 + Math.ceil(lastText(request).length / 4), output_tokens: 80 },
}), THINKS);

mock.mount("/outage", {
  async handleRequest(request, response) {
    let body = "";
    for await (const chunk of request) body += chunk;
    const { models, seconds } = JSON.parse(body);
    down.clear();
    for (const model of models) down.set(model, Date.now() + seconds * 1000);
    response.writeHead(204).end();
    return true;
  },
});

function textOf({ content }) {
  return typeof content === "string" ? content : (content ?? []).map((part) => part.text ?? "").join("");
}

function lastText({ messages }) {
  return textOf(messages.findLast(({ role }) => role === "user") ?? {});
}

function toolTexts({ messages }) {
  return messages.filter(({ role }) => role === "tool").map(textOf);
}

function shortened(text) {
  const characters = [...text];
  return characters.length > LONGEST_QUOTE ? `${characters.slice(0, LONGEST_QUOTE).join("")} …` : text;
}

await mock.start();
