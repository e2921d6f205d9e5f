// Makes each ordinary call of the Anthropic SDK, as any program would: it reads
// ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY, and retries as often as the SDK
// likes. Arguments name the calls to make, if not all.
import Anthropic from '@anthropic-ai/sdk';
import { all, tell } from './tell.mjs';

const client = new Anthropic();
const messages = [{ role: 'user', content: 'Which documents mention the outage?' }];
const tools = [{ name: 'search', description: 'Finds documents', input_schema: { type: 'object', properties: { query: { type: 'string' } } } }];

const create = (model, more) => client.messages.create({ model, max_tokens: 512, messages, ...more });
const streamed = (model, more) => all(create(model, { stream: true, ...more }));

// helped is the SDK's own way to gather a stream.
const helped = (model, more) => client.messages.stream({ model, max_tokens: 512, messages, ...more }).finalMessage();

// left reads some events and goes away.
async function left(model, events) {
  const stream = await create(model, { stream: true });
  let read = 0;
  for await (const _ of stream) if (++read === events) break;
  return { read };
}

const calls = {
  messages: () => create('claude'),
  'messages, streamed': () => streamed('claude'),
  'messages, streamed and gathered': () => helped('claude'),
  'messages, in gzip': () => create('zipped'),
  'messages, streamed in gzip': () => streamed('zipped'),
  'messages, streamed slowly': () => helped('slow'),
  'messages, tools': () => create('tools', { tools }),
  'messages, tools streamed': () => helped('tools', { tools }),
  'messages, left': () => left('held', 5),
  'messages, no such model': () => create('not-allowed'),
  'count_tokens': () => client.messages.countTokens({ model: 'claude', messages }),
  'error 400': () => create('bad-request'),
  'error 401': () => create('unauthorised'),
  'error 404': () => client.models.retrieve('nothing'),
  'error 429': () => create('busy'),
  'error 429, once': () => create('busy-once'),
  'error 500': () => create('broken'),
  'error 529': () => create('overloaded'),
  'error 529, streamed': () => streamed('overloaded'),
  'error in the stream': () => streamed('fails-midway'),
  'broken stream': () => streamed('cut'),
};

const wanted = process.argv.slice(2);
await tell(Object.fromEntries(Object.entries(calls).filter(([call]) => wanted.length === 0 || wanted.includes(call))));
