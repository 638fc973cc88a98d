// Tool calling: the model asks for functions of this program, gets what they return, and answers.
//
//     node tools.mjs qwen2.5:3b 'What is 17 * 23?'
import { Ollama } from 'ollama';

const ollama = new Ollama({ host: process.env.OLLAMA_BASE_URL ?? 'http://127.0.0.1:11434' });
const [model, question] = process.argv.slice(2);
if (!question) {
  console.error('usage: node tools.mjs MODEL QUESTION');
  process.exit(2);
}

const number = { type: 'number' };
const binary = { type: 'object', properties: { a: number, b: number }, required: ['a', 'b'] };
const tools = [
  { type: 'function', function: { name: 'add', description: 'Add two numbers', parameters: binary } },
  { type: 'function', function: { name: 'multiply', description: 'Multiply two numbers', parameters: binary } },
];
const functions = { add: ({ a, b }) => a + b, multiply: ({ a, b }) => a * b };

const messages = [{ role: 'user', content: question }];
for (let turn = 0; turn < 5; turn++) {
  const { message } = await ollama.chat({ model, messages, tools, options: { temperature: 0, num_predict: 256 } });
  messages.push(message);
  if (!message.tool_calls?.length) break;
  for (const { function: call } of message.tool_calls) {
    const result = functions[call.name]?.(call.arguments) ?? `no tool ${call.name}`;
    console.error(`${call.name}(${JSON.stringify(call.arguments)}) = ${result}`);
    messages.push({ role: 'tool', tool_name: call.name, content: String(result) });
  }
}
console.log(messages.at(-1).content);
