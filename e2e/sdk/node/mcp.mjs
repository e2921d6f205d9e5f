// Makes each ordinary call of an MCP client, as any program would: of the SDK's first
// version (sdk), of its second as it comes (client), or with the newer protocol where
// the server has it (auto); the first argument is one of these, or several with commas.
// Further arguments name the calls to make, if not all.
import * as second from '@modelcontextprotocol/client';
import * as first from '@modelcontextprotocol/sdk/client/index.js';
import * as firstHTTP from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { tell } from './tell.mjs';

const [flavours, ...wanted] = process.argv.slice(2);

function callsOf(flavour) {
  const { Client, StreamableHTTPClientTransport } = flavour === 'sdk' ? { ...first, ...firstHTTP } : second;
  const client = new Client({ name: 'orchestrator', version: '1.0.0' }, flavour === 'auto' ? { versionNegotiation: { mode: 'auto' } } : {});
  const transport = new StreamableHTTPClientTransport(new URL(process.env.MCP_URL), {
    requestInit: { headers: { authorization: `Bearer ${process.env.MCP_KEY}` } },
  });
  const call = (name, options) => flavour === 'sdk'
    ? client.callTool({ name, arguments: { query: 'outage' } }, undefined, options)
    : client.callTool({ name, arguments: { query: 'outage' } }, options);

  // heard is a tool's result with what it told of before.
  async function heard(name) {
    const progress = [];
    return { result: await call(name, { onprogress: (p) => progress.push(p) }), progress };
  }

  return {
    connect: async () => {
      await client.connect(transport);
      return { server: client.getServerVersion(), capabilities: client.getServerCapabilities(), session: transport.sessionId !== undefined };
    },
    'list tools': () => client.listTools(),
    'call a tool': () => call('search'),
    'call a tool that fails': () => call('fetch_document'),
    'call a tool that tells of its progress': () => heard('index'),
    'call a tool that may be forbidden': () => call('delete_document'),
    'call no tool': () => call('nothing'),
    'list resources': () => client.listResources(),
    'read a resource': () => client.readResource({ uri: 'doc://outage' }),
    'read no resource': () => client.readResource({ uri: 'doc://nothing' }),
    'list prompts': () => client.listPrompts(),
    'get a prompt': () => client.getPrompt({ name: 'summary' }),
    'end the session': () => transport.terminateSession(),
    close: () => client.close(),
  };
}

console.debug = () => {}; // the document alone is on the output
const calls = {};
for (const flavour of flavours.split(',')) {
  for (const [name, make] of Object.entries(callsOf(flavour))) {
    if (name === 'connect' || wanted.length === 0 || wanted.includes(name)) calls[`${flavour}: ${name}`] = make;
  }
}
await tell(calls);
process.exit(0);
