// What the client tests share: where the server is, and a fetch that holds every answer against
// docs/openapi.yaml, so that an SDK's calls check the description, too.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { parse } from 'yaml';

export const url = process.env.CRIA_TEST_URL;
assert.ok(url, 'CRIA_TEST_URL: the address of a server; tests/test_sdk.c starts one');

// Models that tests/test_sdk.c makes: random weights, so that what they say has no meaning.
export const chat = 'chat'; // a template with tools
export const thinker = 'thinker'; // one whose answers begin inside of thinking
export const embedder = 'embedder';

const spec = parse(readFileSync(new URL('../../docs/openapi.yaml', import.meta.url), 'utf8'));
const ajv = new Ajv2020({ strict: false, allErrors: true });
addFormats(ajv);
ajv.addSchema(spec, 'openapi');

// A value must be of a schema, which may have references into the description.
const compiled = new Map();
export function valid(schema, value, what) {
    const key = JSON.stringify(schema);
    if (!compiled.has(key))
        compiled.set(key, ajv.compile(JSON.parse(key.replaceAll('"#/components', '"openapi#/components'))));
    const check = compiled.get(key);
    if (!check(value)) assert.fail(`${what}: ${ajv.errorsText(check.errors)}: ${JSON.stringify(value).slice(0, 600)}`);
}

function follow(x) {
    return x?.$ref ? x.$ref.slice(2).split('/').reduce((at, k) => at[k], spec) : x;
}

// The description of METHOD PATH, with its path.
export function operation(method, path) {
    for (const [pattern, item] of Object.entries(spec.paths)) {
        const re = new RegExp('^' + pattern.replace(/[.]/g, '\\.').replace(/\{[^}]+\}/g, '.+') + '$');
        if (re.test(path) && item[method.toLowerCase()] && (pattern.includes('{') || pattern === path))
            return { pattern, ...item[method.toLowerCase()] };
    }
    return null;
}

const seen = new Set();
export const answered = () => [...seen].sort();

// The objects of an SSE body.
export function events(text) {
    return text.split('\n').filter((l) => l.startsWith('data: ') && l !== 'data: [DONE]')
        .map((l) => JSON.parse(l.slice(6)));
}

function checkBody(what, media, type, text) {
    if (type === 'application/json') {
        valid(media.schema, JSON.parse(text), what);
    } else if (type === 'application/x-ndjson') {
        for (const line of text.split('\n').filter(Boolean)) valid(media.itemSchema, JSON.parse(line), what);
    } else {
        assert.equal(type, 'text/event-stream', what);
        for (const e of events(text)) valid(media.itemSchema, e, what);
    }
}

// Where a whole answer breaks the description, those who wait for `checks` hear of it.
let checks = Promise.resolve();
export const settled = () => checks;

export async function fetch(address, init = {}) {
    const path = new URL(address).pathname, method = init.method ?? 'GET';
    const answer = await globalThis.fetch(address, init);
    const op = operation(method, path);
    assert.ok(op, `${method} ${path} is not in docs/openapi.yaml`);
    const what = `${method} ${path} ${answer.status}`;
    const described = follow(op.responses[answer.status] ?? op.responses[`${Math.floor(answer.status / 100)}XX`]);
    assert.ok(described, `${what} is not in docs/openapi.yaml`);
    const type = (answer.headers.get('content-type') ?? '').split(';')[0];
    seen.add(`${method} ${op.pattern}`);
    if (!described.content || method === 'HEAD') {
        if (method !== 'HEAD') assert.equal(answer.headers.get('content-length'), '0', what);
        return answer;
    }
    const media = described.content[type];
    assert.ok(media, `${what}: ${type} is not in docs/openapi.yaml`);
    const copy = answer.clone();
    checks = Promise.all([checks, copy.text().then(
        (text) => checkBody(what, media, type, text),
        (e) => { if (!init.signal?.aborted) throw e; })]); // left by the client
    checks.catch(() => {}); // told by settled()
    return answer;
}

// Send a body as it is; the answer's status, JSON and headers.
export async function send(path, body, headers = {}, method = 'POST') {
    const answer = await fetch(url + path, {
        method,
        headers: { 'content-type': 'application/json', ...headers },
        body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
    });
    const text = await answer.text();
    await settled();
    return { status: answer.status, headers: answer.headers, text, json: text.startsWith('{') ? JSON.parse(text) : null };
}

// Bounded, so that random weights come to an end of it.
export const place = {
    type: 'object',
    properties: { city: { enum: ['Lima', 'Quito'] }, days: { type: 'integer', minimum: 1, maximum: 9 }, dry: { type: 'boolean' } },
    required: ['city', 'days', 'dry'],
    additionalProperties: false,
};
