// Structured extraction: the answer is JSON of a schema, because the model cannot write anything
// else.
//
//     node extract.mjs llama3.2:1b 'Ada Lovelace, born 1815 in London, wrote the first program.'
import { Ollama } from 'ollama';

const ollama = new Ollama({ host: process.env.OLLAMA_BASE_URL ?? 'http://127.0.0.1:11434' });
const [model, text] = process.argv.slice(2);
if (!text) {
  console.error('usage: node extract.mjs MODEL TEXT');
  process.exit(2);
}

const schema = {
  type: 'object',
  properties: {
    name: { type: 'string', maxLength: 60 },
    born: { type: 'integer', minimum: 0, maximum: 2100 },
    place: { type: 'string', maxLength: 60 },
    fields: { type: 'array', items: { enum: ['science', 'art', 'politics', 'sport', 'other'] }, maxItems: 3 },
  },
  required: ['name', 'born', 'place', 'fields'],
};

const { message } = await ollama.chat({
  model,
  messages: [
    { role: 'system', content: 'Extract what the text says about the person, as JSON.' },
    { role: 'user', content: text },
  ],
  format: schema,
  options: { temperature: 0 },
});
console.log(JSON.stringify(JSON.parse(message.content), null, 2));
