// An MCP server of the TypeScript SDK, of both eras: with no argument in plain HTTP,
// or with the paths of a certificate and its key in TLS. It prints its port, and
// serves until its input ends.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { McpServer, createMcpHandler, fromJsonSchema } from '@modelcontextprotocol/server';

const text = (what) => ({ content: [{ type: 'text', text: what }] });
const inputSchema = fromJsonSchema({ type: 'object', properties: { query: { type: 'string' } }, required: ['query'] });

function make() {
  const server = new McpServer({ name: 'retriever', version: '1.0.0' });
  server.registerTool('search', { description: 'Finds documents', inputSchema }, async ({ query }) => text(`found “${query}”`));
  server.registerTool('fetch_document', { description: 'Gets a document', inputSchema }, async () => ({ ...text('no such document'), isError: true }));
  server.registerTool('delete_document', { description: 'Deletes a document', inputSchema }, async () => text('deleted'));
  server.registerTool('index', { description: 'Takes a while', inputSchema }, async (_, ctx) => {
    const progressToken = ctx.mcpReq._meta?.progressToken;
    for (let progress = 1; progressToken !== undefined && progress <= 3; progress += 1) {
      await ctx.mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: 3 } });
    }
    return text('indexed');
  });
  server.registerResource('outage', 'doc://outage', { mimeType: 'text/plain' }, async (uri) => ({ contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'It was DNS.' }] }));
  server.registerPrompt('summary', { description: 'Asks for a summary' }, async () => ({ messages: [{ role: 'user', content: { type: 'text', text: 'Summarise the outage.' } }] }));
  return server;
}

const handler = toNodeHandler(createMcpHandler(make));
const [cert, key] = process.argv.slice(2);
const server = cert ? https.createServer({ cert: readFileSync(cert), key: readFileSync(key) }, handler) : http.createServer(handler);
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.resume().on('end', () => process.exit(0));
