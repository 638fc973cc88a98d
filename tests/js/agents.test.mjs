// Requests as agents and frameworks send them, field by field: recorded from Codex (0.171), Claude
// Code (2.1), the AI SDK (5) and shortened.  A field more that such a client sends, and it is out.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chat, events, fetch, place, send, settled, url } from './rig.mjs';

const close = {
    type: 'function', name: 'close_agent', description: 'Close an agent', strict: false,
    parameters: { type: 'object', properties: { target: { enum: ['a', 'b'] } }, required: ['target'], additionalProperties: false },
};

// ---- Codex: /v1/responses ----

const codex = (more) => ({
    model: chat, stream: true, store: false, parallel_tool_calls: false, tool_choice: 'auto',
    input: [
        { type: 'message', id: 'msg_1', role: 'developer', content: [{ type: 'input_text', text: 'You are an agent.' }] },
        { type: 'message', id: 'msg_2', role: 'user', content: [{ type: 'input_text', text: '<environment_context/>' }, { type: 'input_text', text: 'Say hi.' }] },
    ],
    tools: [
        { type: 'function', name: 'exec_command', description: 'Runs a command', strict: false, parameters: place },
        { type: 'namespace', name: 'multi_agent_v1', description: 'Sub-agents.', tools: [close] },
        { type: 'web_search', external_web_access: false },
    ],
    reasoning: { summary: 'auto' }, include: ['reasoning.encrypted_content'], prompt_cache_key: 'k',
    client_metadata: { thread_id: 't', 'x-codex-window-id': 't:0' }, temperature: 0, max_output_tokens: 4, ...more,
});

test('codex: the search that the server cannot make is left out, and it says so', async () => {
    const r = await send('/v1/responses', codex({ stream: false }));
    assert.equal(r.status, 200, r.text);
    assert.deepEqual(r.json.tools.map((t) => t.type), ['function', 'namespace']);
    assert.equal(r.headers.get('x-cria-left-out'), 'web_search');
    const plain = await send('/v1/responses', codex({ stream: false, tools: [close] }));
    assert.equal(plain.headers.get('x-cria-left-out'), null);
    const only = await send('/v1/responses', codex({ stream: false, tools: [{ type: 'web_search' }] }));
    assert.equal(only.status, 200, only.text);
    const must = await send('/v1/responses', codex({ stream: false, tools: [{ type: 'web_search' }], tool_choice: 'required' }));
    assert.equal(must.status, 400);
});

test('codex: a function of a namespace is called, and goes back, by its own name', async () => {
    const tools = [{ type: 'namespace', name: 'multi_agent_v1', description: 'Sub-agents.', tools: [close] }];
    const r = await send('/v1/responses', codex({ tools, tool_choice: 'required', max_output_tokens: 600 }));
    assert.equal(r.status, 200, r.text);
    const list = events(r.text), done = list.find((e) => e.type === 'response.output_item.done' && e.item.type === 'function_call')?.item;
    assert.ok(done, r.text);
    assert.equal(done.name, 'close_agent');
    assert.equal(done.namespace, 'multi_agent_v1');
    assert.equal(list.find((e) => e.type === 'response.function_call_arguments.done').name, 'close_agent');
    const { input } = codex();
    const back = await send('/v1/responses', codex({
        tools, stream: false, input: [...input, { ...done, status: null, id: null }, { type: 'function_call_output', call_id: done.call_id, output: 'closed' }],
    }));
    assert.equal(back.status, 200, back.text);
});

test('a text that was cut is an incomplete item', async () => {
    const r = await send('/v1/responses', codex({ stream: false, tools: [], tool_choice: 'auto' }));
    assert.equal(r.json.status, 'incomplete');
    assert.equal(r.json.output.at(-1).status, 'incomplete');
});

// ---- the AI SDK: steps refer to the items before ----

test('references to items of kept responses', async () => {
    const ask = (more) => ({ model: chat, temperature: 0, max_output_tokens: 4, input: [{ role: 'user', content: 'hi' }], ...more });
    const first = await send('/v1/responses', ask());
    const reference = { type: 'item_reference', id: first.json.output.at(-1).id };
    const input = [{ role: 'user', content: 'hi' }, reference, { role: 'user', content: 'And then?' }];
    const next = await send('/v1/responses', ask({ input }));
    assert.equal(next.status, 200, next.text);
    const whole = await send('/v1/responses', ask({ input: [input[0], first.json.output.at(-1), input[2]] }));
    assert.equal(next.json.usage.input_tokens, whole.json.usage.input_tokens);
    const unknown = await send('/v1/responses', ask({ input: [{ type: 'item_reference', id: 'msg_0' }, input[0]] }));
    assert.equal(unknown.status, 400);
    assert.match(unknown.json.error.message, /msg_0/);
    assert.equal(unknown.json.error.param, 'input[0].id');
});

// ---- Claude Code: /v1/messages?beta=true ----

const mark = { type: 'ephemeral' };
const claude = (more) => ({
    model: chat, max_tokens: 32000, stream: true, stop_sequences: ['e', 'a', 'i', 'o', ' '],
    system: [{ type: 'text', text: 'x-anthropic-billing-header: v=1;' }, { type: 'text', text: 'You are an agent.', cache_control: { ...mark, ttl: '1h', scope: 'global' } }],
    messages: [
        { role: 'user', content: [{ type: 'text', text: '<system-reminder/>' }, { type: 'text', text: 'Say hi.', cache_control: mark }] },
        { role: 'system', content: 'Agents: none.' },
    ],
    tools: [{ name: 'Bash', description: 'Runs a command', input_schema: place, defer_loading: false, eager_input_streaming: true }],
    metadata: { user_id: '{"session_id":"s"}' }, thinking: { type: 'adaptive' }, output_config: { effort: 'high' },
    context_management: { edits: [{ type: 'clear_thinking_20251015', keep: 'all' }] }, diagnostics: { previous_message_id: null }, ...more,
});

test('claude code: its request; edits of the context are told to be none', async () => {
    const r = await send('/v1/messages?beta=true', claude(), { 'anthropic-beta': 'claude-code-20250219,context-management-2025-06-27', 'x-api-key': 'k' });
    assert.equal(r.status, 200, r.text);
    const delta = events(r.text).find((e) => e.type === 'message_delta');
    assert.deepEqual(delta.context_management, { applied_edits: [] });
    const edits = [{ type: 'clear_tool_uses_20250919', trigger: { type: 'input_tokens', value: 1000 } },
        { type: 'clear_thinking_20251015', keep: { type: 'thinking_turns', value: 1 } }];
    const whole = await send('/v1/messages', claude({ stream: false, context_management: { edits } }));
    assert.deepEqual(whole.json.context_management, { applied_edits: [] });
    const plain = await send('/v1/messages', claude({ stream: false, context_management: undefined }));
    assert.equal(plain.json.context_management, undefined);
    const other = await send('/v1/messages', claude({ context_management: { edits: [{ type: 'compact_20260112' }] } }));
    assert.equal(other.status, 400);
});

// ---- chat completions ----

test('chat: what clients of local servers send', async () => {
    const ask = (more) => send('/v1/chat/completions', { model: chat, messages: [{ role: 'user', content: 'hi' }], max_tokens: 2, ...more });
    for (const more of [{ top_logprobs: 0 }, { logprobs: false, top_logprobs: 0 }, { think: false }, { service_tier: 'priority' },
        { max_tokens: -1, stop: ['e', 'a', 'i', 'o', ' '] }]) {
        const r = await ask(more);
        assert.equal(r.status, 200, `${JSON.stringify(more)}: ${r.text}`);
    }
    assert.equal((await ask({ think: true })).status, 400);
    assert.equal((await ask({ max_tokens: 0 })).status, 400);
    assert.equal((await ask({ top_logprobs: 1 })).status, 400);
});

test('no chunk is empty but the first and the last', async () => {
    const tools = [{ type: 'function', function: { name: 'close', parameters: close.parameters } }];
    const r = await send('/v1/chat/completions', {
        model: chat, messages: [{ role: 'user', content: 'hi' }], tools, tool_choice: 'required', parallel_tool_calls: false,
        stream: true, temperature: 0, max_tokens: 600,
    });
    const chunks = events(r.text).slice(1, -1);
    assert.ok(chunks.some((c) => c.choices[0].delta.tool_calls));
    for (const c of chunks) assert.notEqual(c.choices[0].delta.content, '');
    const native = await fetch(`${url}/api/chat`, {
        method: 'POST',
        body: JSON.stringify({
            model: chat, messages: [{ role: 'user', content: 'hi' }], tools, tool_choice: 'required', parallel_tool_calls: false,
            options: { temperature: 0, num_predict: 600 },
        }),
    });
    const text = await native.text();
    await settled();
    const lines = text.split('\n').filter(Boolean).slice(0, -1).map((l) => JSON.parse(l).message);
    assert.ok(lines.some((m) => m.tool_calls));
    for (const m of lines) assert.ok(m.content || m.thinking || m.tool_calls);
});
