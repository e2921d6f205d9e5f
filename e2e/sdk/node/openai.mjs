// Makes each ordinary call of the OpenAI SDK, as any program would: it reads
// OPENAI_BASE_URL and OPENAI_API_KEY, and retries as often as the SDK likes.
// Arguments name the calls to make, if not all.
import OpenAI from 'openai';
import { all, tell } from './tell.mjs';

const client = new OpenAI();
const messages = [{ role: 'user', content: 'Which documents mention the outage?' }];
const parameters = { type: 'object', properties: { query: { type: 'string' } } };
const tools = [{ type: 'function', function: { name: 'search', description: 'Finds documents', parameters } }];
const usage = { stream_options: { include_usage: true } };

const chat = (model, more) => client.chat.completions.create({ model, messages, ...more });
const streamed = (model, more) => all(chat(model, { stream: true, ...more }));

// helped is the SDK's own way to gather a stream.
async function helped(model) {
  const stream = client.chat.completions.stream({ model, messages, tools, ...usage });
  return { whole: await stream.finalChatCompletion(), usage: await stream.totalUsage() };
}

// left reads some events and goes away.
async function left(model, events) {
  const stream = await chat(model, { stream: true, ...usage });
  let read = 0;
  for await (const _ of stream) if (++read === events) break;
  return { read };
}

const calls = {
  chat: () => chat('gpt-oss-20b'),
  'chat, streamed': () => streamed('gpt-oss-20b'),
  'chat, streamed with usage': () => streamed('gpt-oss-20b', usage),
  'chat, in gzip': () => chat('zipped'),
  'chat, streamed in gzip': () => streamed('zipped', usage),
  'chat, streamed slowly': () => streamed('slow', usage),
  'chat, streamed by another server': () => streamed('other-server'),
  'chat, tools': () => chat('tools', { tools }),
  'chat, tools streamed': () => helped('tools'),
  'chat, left': () => left('held', 4),
  'chat, no such model': () => chat('not-allowed'),
  responses: () => client.responses.create({ model: 'gpt-oss-20b', input: 'Which documents mention the outage?' }),
  'responses, streamed': () => all(client.responses.create({ model: 'gpt-oss-20b', input: 'Which?', stream: true })),
  'responses, cut short': () => all(client.responses.create({ model: 'cut-short', input: 'Which?', max_output_tokens: 87, stream: true })),
  'responses, error in the stream': () => all(client.responses.create({ model: 'fails-midway', input: 'Which?', stream: true })),
  'embeddings, by default': () => client.embeddings.create({ model: 'embedding', input: ['hello'] }),
  'embeddings, float': () => client.embeddings.create({ model: 'embedding', input: 'hello', encoding_format: 'float' }),
  'embeddings, base64': () => client.embeddings.create({ model: 'embedding', input: 'hello', encoding_format: 'base64' }),
  models: () => all(client.models.list()),
  'error 400': () => chat('bad-request'),
  'error 401': () => chat('unauthorised'),
  'error 404': () => client.models.retrieve('nothing'),
  'error 429': () => chat('busy'),
  'error 429, once': () => chat('busy-once'),
  'error 500': () => chat('broken'),
  'error 500, streamed': () => streamed('broken'),
  'error in the stream': () => streamed('fails-midway'),
  'broken stream': () => streamed('cut'),
};

const wanted = process.argv.slice(2);
await tell(Object.fromEntries(Object.entries(calls).filter(([call]) => wanted.length === 0 || wanted.includes(call))));
