// A small web service: answers of a model as a stream of text.
//
//     OLLAMA_BASE_URL=http://127.0.0.1:11434 MODEL=llama3.2:1b PORT=8080 node web.mjs
//     curl -N http://127.0.0.1:8080/ask --data 'Why is the sky blue?'
//
// docker-compose.yml runs it as the service `api`.
import { createServer } from 'node:http';
import { Ollama } from 'ollama';

const ollama = new Ollama({ host: process.env.OLLAMA_BASE_URL ?? 'http://127.0.0.1:11434' });
const model = process.env.MODEL ?? 'llama3.2:1b';
const maxQuestion = 64 * 1024;

async function readBody(request) {
  let text = '';
  for await (const piece of request.setEncoding('utf8')) {
    text += piece;
    if (text.length > maxQuestion) throw Object.assign(new Error('question too long'), { status: 413 });
  }
  return text;
}

async function ask(request, response) {
  const question = await readBody(request);
  if (!question.trim()) throw Object.assign(new Error('no question'), { status: 400 });
  const answer = await ollama.chat({ model, messages: [{ role: 'user', content: question }], stream: true });
  response.on('close', () => answer.abort()); // nobody reads: the model may stop
  response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8' });
  for await (const part of answer) response.write(part.message.content);
  response.end();
}

const server = createServer(async (request, response) => {
  try {
    if (request.method === 'POST' && request.url === '/ask') return await ask(request, response);
    if (request.url === '/health') return response.end('ok\n');
    response.writeHead(404).end('POST /ask\n');
  } catch (error) {
    if (error.name === 'AbortError') return;
    if (response.headersSent) return response.destroy(); // cut, so that nobody takes it for whole
    response.writeHead(error.status ?? error.status_code ?? 502).end(`${error.message}\n`);
  }
});
server.listen(Number(process.env.PORT ?? 8080), () =>
  console.log(`asking ${model}, listening on port ${server.address().port}`));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
