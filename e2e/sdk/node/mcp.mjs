// Makes each ordinary call of an MCP client, as any program would: of the SDK's first
// version (sdk), of its second as it comes (client), or with the newer protocol where
// the server has it (auto). Further arguments name the calls to make, if not all.
import { tell } from './tell.mjs';

const [flavour, ...wanted] = process.argv.slice(2);
const { Client, StreamableHTTPClientTransport } = flavour === 'sdk'
  ? {
    ...await import('@modelcontextprotocol/sdk/client/index.js'),
    ...await import('@modelcontextprotocol/sdk/client/streamableHttp.js'),
  }
  : await import('@modelcontextprotocol/client');

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

const calls = {
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
await tell(Object.fromEntries(Object.entries(calls).filter(([name]) => name === 'connect' || wanted.length === 0 || wanted.includes(name))));
process.exit(0);
