// A batch job: questions as JSON lines in, answers as JSON lines out, in the same order, several at
// a time so that the server can compute them together.
//
//     echo '{"id": 1, "prompt": "Why is the sky blue?"}' | node batch.mjs llama3.2:1b
import { createInterface } from 'node:readline';
import { Ollama } from 'ollama';

const ollama = new Ollama({ host: process.env.OLLAMA_BASE_URL ?? 'http://127.0.0.1:11434' });
const model = process.argv[2];
const atOnce = Number(process.env.AT_ONCE ?? 8);
if (!model) {
  console.error('usage: node batch.mjs MODEL < questions.jsonl > answers.jsonl');
  process.exit(2);
}

async function answer(line, number) {
  try {
    const { id, prompt, options } = JSON.parse(line);
    const { response, eval_count } = await ollama.generate({ model, prompt, options });
    return { id, response, tokens: eval_count };
  } catch (error) {
    process.exitCode = 1; // one bad line does not end the job
    return { line: number, error: error.message };
  }
}

const under_way = [];
const print = async () => console.log(JSON.stringify(await under_way.shift()));
let number = 0;
for await (const line of createInterface({ input: process.stdin })) {
  number++;
  if (!line.trim()) continue;
  under_way.push(answer(line, number));
  if (under_way.length >= atOnce) await print();
}
while (under_way.length) await print();
