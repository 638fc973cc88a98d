// npm's `@anthropic-ai/sdk`, unmodified: messages, their stream, tools, thinking, count_tokens.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { answered, chat, fetch, place, send, settled, thinker, url, valid } from './rig.mjs';

const client = new Anthropic({ baseURL: url, apiKey: 'none', fetch, maxRetries: 0, timeout: 60_000 });
const ask = (more = {}) => ({
    model: chat, max_tokens: 24, temperature: 0, messages: [{ role: 'user', content: 'Say something.' }], ...more,
});
const tool = (name) => ({ name, description: 'A forecast', input_schema: place });
const textOf = (m) => m.content.filter((b) => b.type === 'text').map((b) => b.text).join('');

async function all(stream) {
    const events = [];
    for await (const e of stream) events.push(e);
    await settled();
    return events;
}

test('a message has text, a reason and sums', async () => {
    const m = await client.messages.create(ask());
    await settled();
    assert.equal(m.model, chat);
    assert.ok(textOf(m).length > 0);
    assert.equal(m.stop_reason, 'max_tokens');
    assert.equal(m.usage.output_tokens, 24);
    const again = await client.messages.create(ask());
    assert.equal(textOf(again), textOf(m));
    assert.notEqual(again.id, m.id);
    assert.ok(again.usage.cache_read_input_tokens > 0, 'the prompt was read before');
    assert.equal(again.usage.input_tokens + again.usage.cache_read_input_tokens,
        m.usage.input_tokens + m.usage.cache_read_input_tokens);
});

test('events in their order, equal to the whole message', async () => {
    const whole = await client.messages.create(ask());
    const events = await all(await client.messages.create(ask({ stream: true })));
    const types = events.map((e) => e.type).filter((t, i, a) => t !== a[i - 1]);
    assert.deepEqual(types.filter((t) => t !== 'ping'), ['message_start', 'content_block_start', 'content_block_delta',
        'content_block_stop', 'message_delta', 'message_stop']);
    assert.equal(events.filter((e) => e.type === 'content_block_delta').map((e) => e.delta.text).join(''), textOf(whole));
    const start = events[0].message, delta = events.find((e) => e.type === 'message_delta');
    assert.ok(start.usage.input_tokens + start.usage.cache_read_input_tokens > 0);
    assert.deepEqual(start.content, []);
    assert.equal(start.stop_reason, null);
    assert.equal(delta.delta.stop_reason, 'max_tokens');
    assert.equal(delta.usage.output_tokens, 24);
    const stream = client.messages.stream(ask());
    assert.equal(textOf(await stream.finalMessage()), textOf(whole), 'as the SDK puts it together');
});

test('every stream begins with a ping after message_start', async () => {
    const r = await send('/v1/messages', ask({ stream: true, max_tokens: 2 }), { 'anthropic-version': '2023-06-01' });
    assert.match(r.text, /^event: message_start\ndata: .*\n\nevent: ping\ndata: \{"type":"ping"\}\n\n/);
    assert.match(r.text, /\n\nevent: message_stop\ndata: \{"type":"message_stop"\}\n\n$/);
});

test('stop_sequences', async () => {
    const free = textOf(await client.messages.create(ask()));
    const stop = free.slice(5, 7);
    const m = await client.messages.create(ask({ stop_sequences: ['\u0001never', stop] }));
    assert.equal(m.stop_reason, 'stop_sequence');
    assert.equal(m.stop_sequence, stop);
    assert.equal(textOf(m), free.slice(0, free.indexOf(stop)));
    const delta = (await all(await client.messages.create(ask({ stop_sequences: [stop], stream: true })))).find((e) => e.type === 'message_delta');
    assert.deepEqual(delta.delta, { stop_reason: 'stop_sequence', stop_sequence: stop });
});

for (const choice of [{ type: 'any', disable_parallel_tool_use: true }, { type: 'tool', name: 'rain', disable_parallel_tool_use: true }])
    test(`tool_choice ${choice.type}: input of the schema, also in pieces`, async () => {
        const more = { tools: [tool('sun'), tool('rain')], tool_choice: choice, max_tokens: 2500 };
        const m = await client.messages.create(ask(more));
        await settled();
        const uses = m.content.filter((b) => b.type === 'tool_use');
        assert.equal(m.stop_reason, 'tool_use');
        assert.equal(uses.length, 1);
        if (choice.name) assert.equal(uses[0].name, choice.name);
        valid(place, uses[0].input, 'input');
        const done = await client.messages.stream(ask(more)).finalMessage();
        assert.deepEqual(done.content.find((b) => b.type === 'tool_use').input, uses[0].input);
    });

test('a conversation with tools, their results, images of text, cache marks', async () => {
    const mark = { type: 'ephemeral' };
    const messages = [
        { role: 'user', content: [{ type: 'text', text: 'Rain in Lima?', cache_control: mark }] },
        { role: 'assistant', content: [{ type: 'thinking', thinking: 'hm', signature: 'x' }, { type: 'text', text: 'Let me see.' },
            { type: 'tool_use', id: 'toolu_1', name: 'rain', input: { city: 'Lima' } }] },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_1', is_error: true, content: [{ type: 'text', text: 'no answer' }] },
            { type: 'text', text: 'And now?' }] },
    ];
    const system = [{ type: 'text', text: 'Be brief.', cache_control: mark }, { type: 'text', text: 'Be kind.' }];
    const m = await client.messages.create(ask({ messages, system, tools: [tool('rain')], max_tokens: 4 }));
    const count = await client.messages.countTokens({ model: chat, messages, system, tools: [tool('rain')] });
    await settled();
    assert.equal(count.input_tokens, m.usage.input_tokens + m.usage.cache_read_input_tokens);
    const fewer = await client.messages.countTokens({ model: chat, messages: messages.slice(0, 1) });
    assert.ok(fewer.input_tokens > 0 && fewer.input_tokens < count.input_tokens);
});

test('the assistant goes on with its own words', async () => {
    const m = await client.messages.create(ask({ messages: [{ role: 'user', content: 'Count.' }, { role: 'assistant', content: 'One, two,' }] }));
    const fresh = await client.messages.create(ask({ messages: [{ role: 'user', content: 'Count.' }] }));
    assert.ok(m.usage.input_tokens + m.usage.cache_read_input_tokens > fresh.usage.input_tokens + fresh.usage.cache_read_input_tokens);
    assert.notEqual(textOf(m), textOf(fresh));
});

test('thinking is a block of its own, with its deltas and a signature', async () => {
    const thinking = { type: 'enabled', budget_tokens: 1024 };
    const m = await client.messages.create(ask({ model: thinker, thinking, max_tokens: 1040, stop_sequences: [] }));
    await settled();
    assert.equal(m.content[0].type, 'thinking');
    assert.ok(m.content[0].thinking.length > 0);
    const events = await all(await client.messages.create(ask({ model: thinker, thinking, max_tokens: 1040, stream: true })));
    const deltas = events.filter((e) => e.type === 'content_block_delta' && e.index === 0).map((e) => e.delta);
    assert.equal(deltas.filter((d) => d.type === 'thinking_delta').map((d) => d.thinking).join(''), m.content[0].thinking);
    assert.ok(deltas.at(-1).type === 'signature_delta' || m.content.length === 1);
    assert.ok(deltas.some((d) => d.type === 'signature_delta' && d.signature.length > 0));
});

test('a model that cannot think keeps within any budget', async () => {
    const m = await client.messages.create(ask({ thinking: { type: 'enabled', budget_tokens: 1024 }, max_tokens: 1100, stop_sequences: ['e', 'a', 'i', 'o'] }));
    assert.ok(!m.content.some((b) => b.type === 'thinking'));
    await client.messages.create(ask({ thinking: { type: 'adaptive' }, output_config: { effort: 'high' }, max_tokens: 2 }));
});

test('output_config.format: the text is of the schema', async () => {
    const m = await client.messages.create(ask({ max_tokens: 2500, output_config: { format: { type: 'json_schema', schema: place } } }));
    valid(place, JSON.parse(textOf(m)), 'format');
});

test('errors have their class and type', async () => {
    const rejects = (more, type, name, re = /./) => assert.rejects(client.messages.create(ask(more)), (e) => {
        assert.ok(e instanceof type, `${e}`);
        assert.equal(e.error.error.type, name);
        assert.match(e.error.error.message, re);
        return true;
    });
    await rejects({ model: 'nobody' }, Anthropic.NotFoundError, 'not_found_error', /nobody/);
    await rejects({ max_tokens: undefined }, Anthropic.BadRequestError, 'invalid_request_error', /max_tokens is required/);
    await rejects({ temperature: 'hot' }, Anthropic.BadRequestError, 'invalid_request_error', /^temperature/);
    await rejects({ messages: [] }, Anthropic.BadRequestError, 'invalid_request_error', /^messages/);
    await rejects({ messages: [{ role: 'nurse', content: 'x' }] }, Anthropic.BadRequestError, 'invalid_request_error', /^messages\[0\].role/);
    await rejects({ nonsense: 1 }, Anthropic.BadRequestError, 'invalid_request_error', /^nonsense/);
    await rejects({ thinking: { type: 'enabled', budget_tokens: 4096 } }, Anthropic.BadRequestError, 'invalid_request_error', /budget_tokens/);
    await rejects({ tools: [{ type: 'web_search_20250305', name: 'web_search' }] }, Anthropic.BadRequestError, 'invalid_request_error', /^tools\[0\].type/);
    await rejects({ messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'url', url: 'http://127.0.0.1/x' } }] }] },
        Anthropic.BadRequestError, 'invalid_request_error', /nothing is fetched/);
    await rejects({ messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } }] }] },
        Anthropic.BadRequestError, 'invalid_request_error', /image/);
    await rejects({ messages: [{ role: 'user', content: 'one two three '.repeat(4000) }] },
        Anthropic.BadRequestError, 'invalid_request_error', /^prompt is too long/);
    const r = await send('/v1/messages', ask(), { 'anthropic-version': 'latest' });
    assert.equal(r.status, 400);
    assert.match(r.json.error.message, /anthropic-version/);
});

test('a stream that is left ends the work', async () => {
    const stream = client.messages.stream(ask({ max_tokens: 100000, num_ctx: 4096 }));
    let n = 0;
    try {
        for await (const e of stream) if (++n === 6) stream.abort();
    } catch (e) {
        assert.ok(e instanceof Anthropic.APIUserAbortError, `${e}`);
    }
    assert.ok(n >= 6);
    assert.equal((await client.messages.create(ask({ max_tokens: 2 }))).usage.output_tokens, 2);
});

test('models in the form of this API', async () => {
    const list = await client.models.list();
    await settled();
    assert.ok(list.data.some((m) => m.id === `${chat}:latest` && m.type === 'model'));
    assert.equal((await client.models.retrieve(`${chat}:latest`)).display_name, `${chat}:latest`);
    await assert.rejects(client.models.retrieve('nobody'), Anthropic.NotFoundError);
});

after(async () => {
    await settled(); // every answer was as docs/openapi.yaml has it
    for (const op of ['POST /v1/messages', 'POST /v1/messages/count_tokens'])
        assert.ok(answered().includes(op), `${op} was never answered`);
});
