// The JavaScript programs of examples/ do what their comments say.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, test } from 'node:test';
import { chat, url } from './rig.mjs';

// As if `npm ci` had been run there: the client is that of the other tests.
const here = fileURLToPath(new URL('.', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'cria-examples-'));
const examples = join(here, '../../examples');
for (const file of readdirSync(examples).filter((f) => f.endsWith('.mjs')))
    copyFileSync(join(examples, file), join(folder, file));
symlinkSync(join(here, 'node_modules'), join(folder, 'node_modules'));
after(() => rmSync(folder, { recursive: true }));

function start(file, args = [], env = {}) {
    const child = spawn(process.execPath, [join(folder, file), ...args],
        { env: { ...process.env, OLLAMA_BASE_URL: url, ...env }, timeout: 60000 });
    child.out = child.err = '';
    child.stdout.on('data', (d) => (child.out += d));
    child.stderr.on('data', (d) => (child.err += d));
    child.ended = new Promise((resolve) => child.on('close', resolve));
    return child;
}

test('a batch keeps its order, and one bad line does not end it', async () => {
    const child = start('batch.mjs', [chat], { AT_ONCE: '2' });
    const options = { num_predict: 4, temperature: 0 };
    const lines = [1, 2, 3, 4, 5].map((id) => JSON.stringify({ id, prompt: `number ${id}`, options }));
    lines.splice(2, 0, 'no json');
    child.stdin.end(lines.join('\n') + '\n');
    assert.equal(await child.ended, 1);
    const answers = child.out.trim().split('\n').map((l) => JSON.parse(l));
    assert.deepEqual(answers.map((a) => a.id), [1, 2, undefined, 3, 4, 5]);
    assert.equal(answers[2].line, 3);
    for (const a of answers) assert.ok(a.error || a.tokens === 4, JSON.stringify(a));
});

test('what is extracted is of the schema', async () => {
    const child = start('extract.mjs', [chat, 'Ada Lovelace, born 1815 in London.']);
    assert.equal(await child.ended, 0, child.err);
    const found = JSON.parse(child.out);
    assert.deepEqual(Object.keys(found), ['name', 'born', 'place', 'fields']);
    assert.ok(Number.isInteger(found.born) && found.born >= 0 && found.born <= 2100);
    assert.ok(found.fields.length <= 3);
});

test('a model with tools is asked until it answers', async () => {
    const child = start('tools.mjs', [chat, 'What is 17 * 23?']);
    assert.equal(await child.ended, 0, child.err);
    assert.ok(child.out.length > 0);
});

test('a web service streams an answer', async () => {
    const child = start('web.mjs', [], { MODEL: chat, PORT: '0' });
    for (let i = 0; i < 200 && !child.out.includes('port'); i++) await new Promise((r) => setTimeout(r, 50));
    const port = /port (\d+)/.exec(child.out)?.[1];
    assert.ok(port, child.err);
    const at = `http://127.0.0.1:${port}`;
    const answer = await fetch(`${at}/ask`, { method: 'POST', body: 'Tell me', signal: AbortSignal.timeout(50000) });
    assert.equal(answer.status, 200);
    const first = await answer.body.getReader().read();
    assert.ok(first.value.length > 0);
    assert.equal((await fetch(`${at}/ask`, { method: 'POST', body: ' ' })).status, 400);
    assert.equal((await fetch(`${at}/other`)).status, 404);
    child.kill('SIGKILL'); // its answer is not read to the end
    await child.ended;
});

test('an unknown model is told as such', async () => {
    const child = start('extract.mjs', ['nobody-has-this', 'x']);
    assert.notEqual(await child.ended, 0);
    assert.match(child.err, /not found/);
});
