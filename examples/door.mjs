// A door: hands each connection to PORT on to TO, and does nothing else.  docker-compose.isolated.yml
// has one before `api`, which has no way out itself.
//
//     TO=api:8080 PORT=8080 node door.mjs
import { connect, createServer } from 'node:net';

const [host, to] = (process.env.TO ?? 'api:8080').split(':');
const port = Number(process.env.PORT ?? 8080);

const server = createServer({ allowHalfOpen: true }, (outer) => {
  const inner = connect({ host, port: Number(to), allowHalfOpen: true });
  outer.pipe(inner).pipe(outer);
  outer.on('error', () => inner.destroy()).on('close', () => inner.destroy());
  inner.on('error', () => outer.destroy()).on('close', () => outer.destroy());
});
server.listen(port, () => console.log(`port ${port} leads to ${host}:${to}`));
process.on('SIGTERM', () => process.exit(0));
