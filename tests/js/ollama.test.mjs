// npm's ollama, unmodified: every call it has, as people write it.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { Ollama } from 'ollama';
import { chat, embedder, fetch, place, send, settled, thinker, url } from './rig.mjs';

const ollama = new Ollama({ host: url, fetch });
const few = { num_predict: 5, temperature: 0, ignore_eos: true };

async function gather(stream) {
    const all = [];
    for await (const part of stream) all.push(part);
    await settled();
    return all;
}

const checkEnd = (last, reason) => {
    assert.equal(last.done, true);
    assert.equal(last.done_reason, reason);
    for (const key of ['total_duration', 'prompt_eval_count', 'eval_count', 'eval_duration'])
        assert.ok(Number.isInteger(last[key]) && last[key] > 0, key);
};

test('version, list, show, ps', async () => {
    const { version } = await ollama.version();
    assert.match(version, /^\d+\.\d+\.\d+/);
    const { models } = await ollama.list();
    assert.ok(models.some((m) => m.name === `${chat}:latest`));
    assert.ok(!Number.isNaN(Date.parse(models[0].modified_at)));
    const shown = await ollama.show({ model: chat });
    assert.equal(shown.details.family, 'llama');
    assert.ok(shown.capabilities.includes('completion'));
    assert.ok(shown.capabilities.includes('tools'));
    assert.ok(shown.model_info['general.architecture']);
    await ollama.generate({ model: chat, prompt: '' });
    const { models: loaded } = await ollama.ps();
    assert.ok(loaded.some((m) => m.name === `${chat}:latest`));
    await settled();
});

test('generate, whole and streamed', async () => {
    const whole = await ollama.generate({ model: chat, prompt: 'Why?', options: few });
    checkEnd(whole, 'length');
    const parts = await gather(await ollama.generate({ model: chat, prompt: 'Why?', stream: true, options: few }));
    assert.ok(parts.length > 2);
    checkEnd(parts.at(-1), 'length');
    assert.equal(parts.map((p) => p.response).join(''), whole.response);
    const more = await ollama.generate({ model: chat, prompt: 'And?', context: whole.context, options: few });
    assert.ok(more.prompt_eval_count > whole.context.length);
});

test('chat, whole and streamed', async () => {
    const messages = [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Hi' }];
    const whole = await ollama.chat({ model: chat, messages, options: few });
    assert.equal(whole.message.role, 'assistant');
    checkEnd(whole, 'length');
    const parts = await gather(await ollama.chat({ model: chat, messages, stream: true, options: few }));
    assert.equal(parts.map((p) => p.message.content).join(''), whole.message.content);
    checkEnd(parts.at(-1), 'length');
});

test('thinking', async () => {
    const answer = await ollama.chat({ model: thinker, think: true, messages: [{ role: 'user', content: 'Hi' }], options: few });
    assert.ok(answer.message.thinking.length > 0);
    assert.equal(answer.message.content, '');
    await assert.rejects(
        ollama.chat({ model: chat, think: true, messages: [{ role: 'user', content: 'Hi' }] }),
        (e) => e.status_code === 400 && e.error === `"${chat}" does not support thinking`);
});

test('a schema, as text that is of it', async () => {
    const answer = await ollama.chat({
        model: chat, format: place, messages: [{ role: 'user', content: 'Where?' }],
        options: { num_predict: 2500, temperature: 0 }, // random weights like blanks
    });
    const found = JSON.parse(answer.message.content);
    assert.ok(place.properties.city.enum.includes(found.city));
    assert.equal(typeof found.dry, 'boolean');
});

test('tools: a call, and its result back', async () => {
    const tools = [{ type: 'function', function: { name: 'weather', description: 'The weather', parameters: place } }];
    const messages = [{ role: 'user', content: 'The weather in Lima?' }];
    const parts = await gather(await ollama.chat({
        model: chat, messages, tools, stream: true, tool_choice: 'required', parallel_tool_calls: false,
        options: { temperature: 0 },
    }));
    const calls = parts.flatMap((p) => p.message.tool_calls ?? []);
    assert.equal(calls.length, 1);
    assert.equal(calls[0].function.name, 'weather');
    assert.equal(typeof calls[0].function.arguments, 'object');
    assert.deepEqual(Object.keys(calls[0].function.arguments), Object.keys(place.properties));
    const answer = await ollama.chat({
        model: chat, tools, options: few,
        messages: [...messages, { role: 'assistant', content: '', tool_calls: calls }, { role: 'tool', content: 'dry', tool_name: 'weather' }],
    });
    checkEnd(answer, 'length');
});

test('log probabilities', async () => {
    const answer = await ollama.generate({ model: chat, prompt: 'a', logprobs: true, top_logprobs: 2, options: few });
    assert.equal(answer.logprobs.length, 5);
    for (const t of answer.logprobs) assert.equal(t.top_logprobs.length, 2);
});

test('embed, embeddings', async () => {
    const { embeddings } = await ollama.embed({ model: embedder, input: ['one', 'two'], dimensions: 8 });
    assert.equal(embeddings.length, 2);
    for (const v of embeddings) {
        assert.equal(v.length, 8);
        assert.ok(Math.abs(Math.hypot(...v) - 1) < 1e-5);
    }
    const { embedding } = await ollama.embeddings({ model: embedder, prompt: 'one' });
    assert.ok(embedding.length > 8);
    await settled();
});

test('create, copy, delete', async () => {
    const parts = await gather(await ollama.create({
        model: 'mario', from: chat, system: 'You are Mario.', parameters: { temperature: 0.5, stop: ['Luigi'] },
        license: ['one', 'two'], messages: [{ role: 'user', content: 'hi' }], stream: true,
    }));
    assert.equal(parts.at(-1).status, 'success');
    assert.equal((await ollama.show({ model: 'mario' })).system, 'You are Mario.');
    assert.equal((await ollama.create({ model: 'mario', from: chat, quantize: 'q8_0' })).status, 'success');
    assert.equal((await ollama.show({ model: 'mario' })).details.quantization_level, 'Q8_0');
    assert.equal((await ollama.copy({ source: 'mario', destination: 'luigi' })).status, 'success');
    assert.equal((await ollama.delete({ model: 'mario' })).status, 'success');
    await assert.rejects(ollama.show({ model: 'mario' }), (e) => e.status_code === 404 && e.error === "model 'mario' not found");
    assert.equal((await ollama.delete({ model: 'luigi' })).status, 'success');
    await settled();
});

test('blobs', async () => {
    const bytes = Buffer.from('not a model');
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const path = `${url}/api/blobs/${digest}`;
    assert.equal((await fetch(path, { method: 'HEAD' })).status, 404);
    assert.equal((await fetch(path, { method: 'POST', body: bytes })).status, 201);
    assert.equal((await fetch(path, { method: 'HEAD' })).status, 200);
    assert.equal((await fetch(path, { method: 'POST', body: bytes })).status, 200);
    assert.equal((await fetch(path.slice(0, -1) + (path.endsWith('0') ? '1' : '0'), { method: 'POST', body: bytes })).status, 400);
    await assert.rejects(ollama.create({ model: 'junk', files: { 'm.gguf': digest } }), (e) => e.status_code === 400);
    await settled();
});

test('what is wrong', async () => {
    await assert.rejects(ollama.chat({ model: 'nope', messages: [{ role: 'user', content: 'x' }] }), (e) => e.status_code === 404);
    await assert.rejects(ollama.generate({ model: chat, prompt: 'x', options: { top_k: 'many' } }),
        (e) => e.status_code === 400 && /option "top_k" must be of type integer/.test(e.error));
    await assert.rejects(ollama.pull({ model: '127.0.0.1:1/a/b' }), (e) => e.status_code >= 400);
    await assert.rejects(ollama.push({ model: 'nope' }), (e) => e.status_code === 404);
    const bad = await send('/api/chat', '{"model":');
    assert.equal(bad.status, 400);
    await settled();
});

test('a stream that is left', async () => {
    const stream = await ollama.generate({ model: chat, prompt: 'x', stream: true, options: { num_predict: -1, ignore_eos: true } });
    await assert.rejects(async () => {
        let n = 0;
        for await (const part of stream) if (part && ++n === 3) stream.abort();
    }, { name: 'AbortError' });
    checkEnd(await ollama.generate({ model: chat, prompt: 'x', options: few }), 'length');
});
