// npm's `openai`, unmodified: chat completions, completions, embeddings, models, responses.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import OpenAI from 'openai';
import { answered, chat, embedder, fetch, place, settled, thinker, url, valid } from './rig.mjs';

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', fetch, maxRetries: 0, timeout: 60_000 });
const ask = (more = {}) => ({
    model: chat, messages: [{ role: 'user', content: 'Say something.' }],
    temperature: 0, seed: 7, max_tokens: 24, ...more,
});
const tool = (name, parameters = place) => ({ type: 'function', function: { name, description: 'A forecast', parameters } });

async function all(stream) {
    const chunks = [];
    for await (const c of stream) chunks.push(c);
    await settled();
    return chunks;
}
const textOf = (chunks, i = 0) => chunks.flatMap((c) => c.choices).filter((c) => c.index === i)
    .map((c) => c.delta?.content ?? c.text ?? '').join('');

// ---- chat completions ----

test('an answer has text, a reason and sums', async () => {
    const r = await client.chat.completions.create(ask());
    await settled();
    assert.equal(r.model, chat);
    assert.equal(r.choices[0].message.role, 'assistant');
    assert.ok(r.choices[0].message.content.length > 0);
    assert.equal(r.choices[0].finish_reason, 'length');
    assert.equal(r.usage.completion_tokens, 24);
    assert.equal(r.usage.total_tokens, r.usage.prompt_tokens + r.usage.completion_tokens);
    const again = await client.chat.completions.create(ask());
    assert.equal(again.choices[0].message.content, r.choices[0].message.content);
    assert.notEqual(again.id, r.id);
    assert.ok(again.usage.prompt_tokens_details.cached_tokens > 0, 'the prompt was read before');
});

test('a stream is the whole answer in pieces', async () => {
    const whole = await client.chat.completions.create(ask());
    const chunks = await all(await client.chat.completions.create(ask({ stream: true, stream_options: { include_usage: true } })));
    assert.equal(chunks[0].choices[0].delta.role, 'assistant');
    assert.equal(textOf(chunks), whole.choices[0].message.content);
    assert.ok(chunks.length > 10, 'a chunk for nearly each token');
    const [finish, usage] = chunks.slice(-2);
    assert.deepEqual(finish.choices[0].delta, {});
    assert.equal(finish.choices[0].finish_reason, 'length');
    assert.deepEqual(usage.choices, []);
    assert.equal(usage.usage.completion_tokens, whole.usage.completion_tokens);
    assert.equal(usage.usage.prompt_tokens, whole.usage.prompt_tokens);
    for (const c of chunks.slice(0, -1)) assert.equal(c.usage, null);
    assert.equal(new Set(chunks.map((c) => c.id)).size, 1);
});

test('without include_usage there is none', async () => {
    for (const c of await all(await client.chat.completions.create(ask({ stream: true, max_tokens: 3 }))))
        assert.equal(c.usage, undefined);
});

test('choices are counted, and differ by their seeds', async () => {
    const hot = ask({ n: 3, temperature: 1.5, max_tokens: 12, options: { ignore_eos: true } });
    const r = await client.chat.completions.create(hot);
    assert.deepEqual(r.choices.map((c) => c.index), [0, 1, 2]);
    assert.ok(new Set(r.choices.map((c) => c.message.content)).size > 1);
    assert.equal(r.usage.completion_tokens, 36);
    const chunks = await all(await client.chat.completions.create({ ...hot, stream: true }));
    for (let i = 0; i < 3; i++) assert.equal(textOf(chunks, i), r.choices[i].message.content);
    const one = await client.chat.completions.create({ ...hot, n: 1 });
    assert.equal(one.choices[0].message.content, r.choices[0].message.content);
});

test('the seed decides, where there is a choice', async () => {
    const said = async (seed) => (await client.chat.completions.create(ask({ temperature: 1.5, seed }))).choices[0].message.content;
    assert.equal(await said(1), await said(1));
    assert.notEqual(await said(1), await said(2));
    assert.equal(await said(2 ** 40 + 5), await said(2 ** 40 + 5));
});

test('logprobs: of each token, with alternatives, best first', async () => {
    const r = await client.chat.completions.create(ask({ logprobs: true, top_logprobs: 4, max_tokens: 10 }));
    await settled();
    const list = r.choices[0].logprobs.content;
    assert.equal(list.length, 10);
    for (const t of list) {
        assert.equal(t.top_logprobs.length, 4);
        assert.ok(Math.abs(t.top_logprobs[0].logprob - t.logprob) < 1e-3, 'greedy: the token is the best');
        for (let i = 1; i < 4; i++) assert.ok(t.top_logprobs[i - 1].logprob >= t.top_logprobs[i].logprob);
    }
    const bytes = Buffer.from(list.flatMap((t) => t.bytes));
    assert.ok(bytes.toString('utf8').startsWith(r.choices[0].message.content.slice(0, 5)));
    const chunks = await all(await client.chat.completions.create(ask({ logprobs: true, top_logprobs: 4, max_tokens: 10, stream: true })));
    const streamed = chunks.flatMap((c) => c.choices).flatMap((c) => c.logprobs?.content ?? []);
    assert.deepEqual(streamed.map((t) => t.token), list.map((t) => t.token));
});

test('logit_bias bans and forces', async () => {
    const free = await client.chat.completions.create(ask({ max_tokens: 1, logprobs: true }));
    const banned = await client.chat.completions.create(ask({ max_tokens: 4, logit_bias: Object.fromEntries(
        Array.from({ length: 300 }, (_, i) => [String(i), -100])) }));
    assert.notEqual(free.choices[0].message.content, banned.choices[0].message.content);
    const forced = await client.chat.completions.create(ask({ max_tokens: 3, logit_bias: { 65: 100 } }));
    const three = forced.choices[0].message.content;
    assert.equal(three, three[0].repeat(3), 'one token three times');
});

test('stop ends before the text, also as a list', async () => {
    const free = (await client.chat.completions.create(ask())).choices[0].message.content;
    const stop = free.slice(5, 7);
    for (const s of [stop, ['\u0001never', stop]]) {
        const r = await client.chat.completions.create(ask({ stop: s }));
        assert.equal(r.choices[0].finish_reason, 'stop');
        assert.equal(r.choices[0].message.content, free.slice(0, free.indexOf(stop)));
    }
});

test('json_schema: the answer is of the schema', async () => {
    const format = { type: 'json_schema', json_schema: { name: 'place', strict: true, schema: place } };
    for (const seed of [1, 2, 3]) {
        const r = await client.chat.completions.create(ask({ seed, temperature: 1, max_tokens: 2500, response_format: format }));
        assert.equal(r.choices[0].finish_reason, 'stop');
        valid(place, JSON.parse(r.choices[0].message.content), 'json_schema');
    }
    const chunks = await all(await client.chat.completions.create(ask({ max_tokens: 2500, response_format: format, stream: true })));
    valid(place, JSON.parse(textOf(chunks)), 'json_schema, streamed');
});

test('json_object: the answer begins an object', async () => {
    const r = await client.chat.completions.create(ask({ response_format: { type: 'json_object' }, max_tokens: 60 }));
    assert.match(r.choices[0].message.content, /^\s*\{/);
});

test('regex, an extension', async () => {
    const r = await client.chat.completions.create(ask({ response_format: { type: 'regex', regex: '(ab|cd){2}[0-9]{3}' }, max_tokens: 60 }));
    assert.match(r.choices[0].message.content, /^(ab|cd){2}[0-9]{3}$/);
});

// ---- tools ----

for (const [what, choice] of [['required', 'required'], ['by name', { type: 'function', function: { name: 'rain' } }],
    ['allowed_tools', { type: 'allowed_tools', allowed_tools: { mode: 'required', tools: [{ type: 'function', function: { name: 'rain' } }] } }]])
    test(`tool_choice ${what}: a call whose arguments are of the schema`, async () => {
        const more = { tools: [tool('sun'), tool('rain')], tool_choice: choice, max_tokens: 2500, parallel_tool_calls: false };
        const r = await client.chat.completions.create(ask(more));
        await settled();
        const calls = r.choices[0].message.tool_calls;
        assert.equal(r.choices[0].finish_reason, 'tool_calls');
        assert.equal(calls.length, 1);
        if (what !== 'required') assert.equal(calls[0].function.name, 'rain');
        valid(place, JSON.parse(calls[0].function.arguments), 'arguments');
        const chunks = await all(await client.chat.completions.create(ask({ ...more, stream: true })));
        const streamed = chunks.flatMap((c) => c.choices).flatMap((c) => c.delta.tool_calls ?? []);
        assert.equal(streamed.map((c) => c.function.name ?? '').join(''), calls[0].function.name);
        assert.equal(streamed.map((c) => c.function.arguments ?? '').join(''), calls[0].function.arguments);
        assert.equal(chunks.at(-1).choices[0].finish_reason, 'tool_calls');
    });

test('the SDK puts a stream together again', async () => {
    const stream = client.chat.completions.stream(ask({ tools: [tool('rain')], tool_choice: 'required', max_tokens: 2500 }));
    const done = await stream.finalChatCompletion();
    valid(place, JSON.parse(done.choices[0].message.tool_calls[0].function.arguments), 'arguments');
});

test('tool_choice none: no call', async () => {
    const r = await client.chat.completions.create(ask({ tools: [tool('rain')], tool_choice: 'none' }));
    assert.equal(r.choices[0].message.tool_calls, undefined);
});

test('a conversation with calls and their results', async () => {
    const messages = [
        { role: 'developer', content: 'Be brief.' },
        { role: 'user', content: [{ type: 'text', text: 'Rain' }, { type: 'text', text: 'in Lima?' }] },
        { role: 'assistant', content: null, tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'rain', arguments: '{"city":"Lima"}' } }] },
        { role: 'tool', tool_call_id: 'call_1', content: 'dry' },
    ];
    const r = await client.chat.completions.create(ask({ messages, tools: [tool('rain')] }));
    const shorter = await client.chat.completions.create(ask({ messages: messages.slice(0, 2), tools: [tool('rain')] }));
    assert.ok(r.usage.prompt_tokens > shorter.usage.prompt_tokens + 10);
});

test('names of participants reach the model', async () => {
    const tokens = async (name) => (await client.chat.completions.create(
        ask({ max_tokens: 1, messages: [{ role: 'user', content: 'Hi', name }] }))).usage.prompt_tokens;
    assert.ok(await tokens('Anna') > await tokens(undefined));
});

// ---- thinking ----

test('thinking comes apart from the text, and is counted', async () => {
    const r = await client.chat.completions.create(ask({ model: thinker, reasoning_effort: 'high' }));
    await settled();
    assert.ok(r.choices[0].message.reasoning.length > 0);
    assert.equal(r.choices[0].message.reasoning_content, r.choices[0].message.reasoning);
    assert.equal(r.choices[0].message.content, '');
    assert.equal(r.usage.completion_tokens_details.reasoning_tokens, r.usage.completion_tokens);
    const chunks = await all(await client.chat.completions.create(ask({ model: thinker, stream: true })));
    assert.equal(chunks.flatMap((c) => c.choices).map((c) => c.delta.reasoning ?? '').join(''), r.choices[0].message.reasoning);
});

test('a model that cannot think says so', async () => {
    await assert.rejects(client.chat.completions.create(ask({ reasoning_effort: 'high' })),
        (e) => e instanceof OpenAI.BadRequestError && /think/.test(e.message));
    await client.chat.completions.create(ask({ reasoning_effort: 'none', max_tokens: 2 }));
});

// ---- errors ----

test('errors have their class, type and parameter', async () => {
    const rejects = (more, type, check) => assert.rejects(client.chat.completions.create(ask(more)),
        (e) => { assert.ok(e instanceof type, `${e}`); check(e); return true; });
    await rejects({ model: 'nobody' }, OpenAI.NotFoundError, (e) => assert.match(e.message, /nobody/));
    await rejects({ temperature: 'hot' }, OpenAI.BadRequestError, (e) => assert.equal(e.param, 'temperature'));
    await rejects({ temperature: 9 }, OpenAI.BadRequestError, (e) => assert.equal(e.param, 'temperature'));
    await rejects({ messages: [] }, OpenAI.BadRequestError, (e) => assert.match(e.message, /\[\] is too short - 'messages'/));
    await rejects({ messages: [{ role: 'nurse', content: 'x' }] }, OpenAI.BadRequestError, (e) => assert.equal(e.param, 'messages[0].role'));
    await rejects({ nonsense: 1 }, OpenAI.BadRequestError, (e) => assert.equal(e.param, 'nonsense'));
    await rejects({ top_logprobs: 2 }, OpenAI.BadRequestError, (e) => assert.equal(e.param, 'top_logprobs'));
    await rejects({ tool_choice: 'required' }, OpenAI.BadRequestError, (e) => assert.equal(e.param, 'tool_choice'));
    await rejects({ response_format: { type: 'json_schema' } }, OpenAI.BadRequestError, (e) => assert.equal(e.param, 'response_format.json_schema'));
    await rejects({ modalities: ['text', 'audio'] }, OpenAI.BadRequestError, (e) => assert.equal(e.param, 'modalities'));
    await rejects({ stream_options: {} }, OpenAI.BadRequestError, (e) => assert.equal(e.param, 'stream_options'));
    await rejects({ stream: true, model: 'nobody' }, OpenAI.NotFoundError, () => {});
});

test('images: only as data, and not by a model that sees nothing', async () => {
    const image = (u) => ask({ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: u } }] }] });
    await assert.rejects(client.chat.completions.create(image('http://127.0.0.1/x.png')),
        (e) => e instanceof OpenAI.BadRequestError && e.param === 'messages[0].content[0].image_url.url');
    await assert.rejects(client.chat.completions.create(image('data:image/png;base64,iVBORw0KGgo=')),
        (e) => e instanceof OpenAI.BadRequestError && /image/.test(e.message));
});

test('a prompt that does not fit is refused with the numbers, or cut when that is asked for', async () => {
    const messages = [{ role: 'user', content: 'one two three '.repeat(800) }, { role: 'assistant', content: 'x' }, { role: 'user', content: 'last' }];
    const long = ask({ messages, max_tokens: 2 }); // a context of 4096 is the default
    await assert.rejects(client.chat.completions.create(long),
        (e) => e instanceof OpenAI.BadRequestError && e.code === 'context_length_exceeded' && /4096/.test(e.message));
    const { data, response } = await client.chat.completions.create({ ...long, truncate: true }).withResponse();
    assert.ok(Number(response.headers.get('x-cria-truncated')) > 1000);
    assert.ok(data.usage.prompt_tokens <= 4096);
    const roomy = await client.chat.completions.create({ ...long, num_ctx: 8192 });
    assert.ok(roomy.usage.prompt_tokens > 4096);
});

test('a stream that is left ends the work', async () => {
    const stream = await client.chat.completions.create(ask({ stream: true, max_tokens: 100000, num_ctx: 4096, model: chat }));
    let n = 0;
    for await (const c of stream) if (++n === 5) break; // the SDK aborts
    assert.equal(n, 5);
    const r = await client.chat.completions.create(ask({ max_tokens: 2 }));
    assert.equal(r.usage.completion_tokens, 2);
});

// ---- completions ----

test('completions: echo, choices, logprobs of the old form, streams', async () => {
    const base = { model: chat, prompt: 'Once upon', temperature: 0, seed: 3, max_tokens: 8, raw: true };
    const r = await client.completions.create({ ...base, logprobs: 2 });
    await settled();
    assert.equal(r.object, 'text_completion');
    const l = r.choices[0].logprobs;
    assert.equal(l.tokens.length, 8);
    assert.equal(l.text_offset[0], 0);
    assert.ok(Object.keys(l.top_logprobs[0]).length >= 1);
    const echo = await client.completions.create({ ...base, echo: true });
    assert.equal(echo.choices[0].text, 'Once upon' + r.choices[0].text);
    const chunks = await all(await client.completions.create({ ...base, stream: true }));
    assert.equal(textOf(chunks), r.choices[0].text);
    const many = await client.completions.create({ ...base, prompt: ['Once upon', 'Other'], n: 2 });
    assert.deepEqual(many.choices.map((c) => c.index), [0, 1, 2, 3]);
    assert.equal(many.choices[0].text, r.choices[0].text);
    assert.equal(many.choices[1].text, r.choices[0].text, 'greedy: choices are equal');
    assert.equal(many.usage.completion_tokens, 32);
    const ids = await client.completions.create({ ...base, prompt: [72, 101, 108, 108] });
    assert.equal(ids.usage.prompt_tokens, 4);
    await assert.rejects(client.completions.create({ ...base, best_of: 3 }), (e) => e.param === 'best_of');
    await assert.rejects(client.completions.create({ ...base, prompt: [72], echo: true }), (e) => e.param === 'echo');
    await assert.rejects(client.completions.create({ ...base, suffix: 'end' }), OpenAI.BadRequestError);
});

// ---- embeddings ----

test('embeddings: floats, base64, dimensions, token ids', async () => {
    const floats = await client.embeddings.create({ model: embedder, input: ['one text', 'another'], encoding_format: 'float' });
    await settled();
    assert.deepEqual(floats.data.map((d) => d.index), [0, 1]);
    const v = floats.data[0].embedding;
    assert.ok(Math.abs(Math.hypot(...v) - 1) < 1e-4, 'length 1');
    assert.notDeepEqual(v, floats.data[1].embedding);
    // The SDK asks for base64 by itself and unpacks it.
    const packed = await client.embeddings.create({ model: embedder, input: 'one text' });
    assert.equal(packed.data[0].embedding.length, v.length);
    packed.data[0].embedding.forEach((x, i) => assert.ok(Math.abs(x - v[i]) < 1e-6));
    const short = await client.embeddings.create({ model: embedder, input: 'one text', dimensions: 8, encoding_format: 'float' });
    assert.equal(short.data[0].embedding.length, 8);
    assert.ok(Math.abs(Math.hypot(...short.data[0].embedding) - 1) < 1e-4, 'length 1 again');
    const ids = await client.embeddings.create({ model: embedder, input: [[5, 6, 7], [8]], encoding_format: 'float' });
    assert.equal(ids.data.length, 2);
    assert.ok(floats.usage.prompt_tokens > 2 && floats.usage.total_tokens === floats.usage.prompt_tokens);
    await assert.rejects(client.embeddings.create({ model: embedder, input: '' }), (e) => e.param === 'input');
});

// ---- models ----

test('models are listed and found', async () => {
    const list = await client.models.list();
    const ids = list.data.map((m) => m.id);
    for (const name of [chat, embedder, thinker]) assert.ok(ids.includes(`${name}:latest`), name);
    const one = await client.models.retrieve(`${chat}:latest`);
    assert.equal(one.owned_by, 'library');
    assert.ok(Math.abs(one.created - Date.now() / 1000) < 3600);
    await assert.rejects(client.models.retrieve('nobody'), OpenAI.NotFoundError);
    await assert.rejects(client.models.retrieve('../../etc/passwd'), OpenAI.NotFoundError);
});

// ---- responses ----

const respond = (more = {}) => ({ model: chat, input: 'Say something.', temperature: 0, max_output_tokens: 16, ...more });

test('a response, whole and as events', async () => {
    const r = await client.responses.create(respond());
    await settled();
    assert.equal(r.status, 'incomplete');
    assert.equal(r.incomplete_details.reason, 'max_output_tokens');
    assert.ok(r.output_text.length > 0);
    assert.equal(r.usage.output_tokens, 16);
    const events = await all(await client.responses.create(respond({ stream: true })));
    assert.deepEqual(events.map((e) => e.sequence_number), events.map((_, i) => i));
    const types = events.map((e) => e.type).filter((t, i, a) => t !== a[i - 1]);
    assert.deepEqual(types, ['response.created', 'response.in_progress', 'response.output_item.added',
        'response.content_part.added', 'response.output_text.delta', 'response.output_text.done',
        'response.content_part.done', 'response.output_item.done', 'response.incomplete']);
    assert.equal(events.filter((e) => e.type === 'response.output_text.delta').map((e) => e.delta).join(''), r.output_text);
    assert.equal(events.at(-1).response.output[0].content[0].text, r.output_text);
});

test('a response goes on with the one before, and both can be read and deleted', async () => {
    const first = await client.responses.create(respond({ input: 'My name is Anna.', instructions: 'Be brief.' }));
    assert.equal(first.store, true);
    const second = await client.responses.create(respond({ input: 'Who am I?', previous_response_id: first.id }));
    const alone = await client.responses.create(respond({ input: 'Who am I?' }));
    assert.ok(second.usage.input_tokens > alone.usage.input_tokens + 16);
    assert.equal(second.previous_response_id, first.id);
    const by_hand = await client.responses.create(respond({ store: false, input: [
        { role: 'user', content: 'My name is Anna.' }, ...first.output, { role: 'user', content: 'Who am I?' }] }));
    assert.equal(by_hand.output_text, second.output_text, 'the kept conversation is the same prompt');
    assert.equal(by_hand.usage.input_tokens, second.usage.input_tokens);
    const read = await client.responses.retrieve(second.id);
    assert.equal(read.output_text, second.output_text);
    await client.responses.delete(first.id);
    await assert.rejects(client.responses.retrieve(first.id), OpenAI.NotFoundError);
    await assert.rejects(client.responses.delete(first.id), OpenAI.NotFoundError);
    const third = await client.responses.create(respond({ input: 'And?', previous_response_id: second.id }));
    assert.ok(third.usage.input_tokens > second.usage.input_tokens, 'what followed stays');
    await assert.rejects(client.responses.create(respond({ previous_response_id: first.id })),
        (e) => e instanceof OpenAI.BadRequestError && e.param === 'previous_response_id');
});

test('store: false keeps nothing', async () => {
    const r = await client.responses.create(respond({ store: false }));
    assert.equal(r.store, false);
    await assert.rejects(client.responses.retrieve(r.id), OpenAI.NotFoundError);
});

test('responses call tools and take their results', async () => {
    const tools = [{ type: 'function', name: 'rain', parameters: place, strict: true }];
    const more = { tools, tool_choice: 'required', max_output_tokens: 2500, parallel_tool_calls: false };
    const r = await client.responses.create(respond(more));
    await settled();
    const call = r.output.find((o) => o.type === 'function_call');
    assert.equal(r.status, 'completed');
    valid(place, JSON.parse(call.arguments), 'arguments');
    const events = await all(await client.responses.create(respond({ ...more, stream: true })));
    assert.equal(events.find((e) => e.type === 'response.function_call_arguments.done').arguments, call.arguments);
    const next = await client.responses.create(respond({ tools, previous_response_id: r.id,
        input: [{ type: 'function_call_output', call_id: call.call_id, output: 'dry' }] }));
    assert.ok(next.usage.input_tokens > r.usage.input_tokens);
});

test('responses with a format, thinking and logprobs', async () => {
    const r = await client.responses.create(respond({ max_output_tokens: 2500,
        text: { format: { type: 'json_schema', name: 'place', schema: place, strict: true } } }));
    valid(place, JSON.parse(r.output_text), 'text.format');
    const t = await client.responses.create(respond({ model: thinker, reasoning: { effort: 'low', summary: 'auto' },
        include: ['reasoning.encrypted_content'] }));
    await settled();
    assert.equal(t.output[0].type, 'reasoning');
    assert.ok(t.output[0].summary[0].text.length > 0);
    assert.equal(t.usage.output_tokens_details.reasoning_tokens, 16);
    const events = await all(await client.responses.create(respond({ model: thinker, stream: true })));
    assert.equal(events.filter((e) => e.type === 'response.reasoning_summary_text.delta').map((e) => e.delta).join(''), t.output[0].summary[0].text);
    const l = await client.responses.create(respond({ include: ['message.output_text.logprobs'], top_logprobs: 2, max_output_tokens: 5 }));
    assert.equal(l.output[0].content[0].logprobs.length, 5);
    await client.responses.create(respond({ reasoning: { effort: 'high' }, max_output_tokens: 2 })); // makes none
});

test('what responses do not have is refused by name', async () => {
    for (const [param, more] of Object.entries({
        background: { background: true }, conversation: { conversation: 'c' }, include: { include: ['x'] },
        'tools[0].type': { tools: [{ type: 'file_search' }] }, 'input[0].type': { input: [{ type: 'web_search_call', id: 'x' }] } }))
        await assert.rejects(client.responses.create(respond(more)),
            (e) => e instanceof OpenAI.BadRequestError && e.param === param, param);
});

after(async () => {
    await settled(); // every answer was as docs/openapi.yaml has it
    for (const op of ['POST /v1/chat/completions', 'POST /v1/completions', 'POST /v1/embeddings', 'GET /v1/models',
        'GET /v1/models/{model}', 'POST /v1/responses', 'GET /v1/responses/{id}', 'DELETE /v1/responses/{id}'])
        assert.ok(answered().includes(op), `${op} was never answered`);
});
