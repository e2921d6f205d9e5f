// Calls a chat server with the OpenAI SDK as any program would: it reads
// OPENAI_BASE_URL and OPENAI_API_KEY and knows nothing of a mesh.
import OpenAI from 'openai';

const client = new OpenAI({ maxRetries: 0 });
const request = {
  model: 'gpt-oss-20b',
  messages: [{ role: 'user', content: 'Which documents mention the outage?' }],
};

const whole = await client.chat.completions.create(request);

const arrivals = [];
let streamed = '';
for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
  arrivals.push(performance.now());
  streamed += chunk.choices[0]?.delta?.content ?? '';
}

let denied = {};
try {
  await client.embeddings.create({ model: 'gpt-oss-20b', input: 'hello' });
} catch (err) {
  denied = { status: err.status, crossing: err.headers.get('sallyport-crossing') };
}

console.log(JSON.stringify({
  whole: whole.choices[0].message.content,
  streamed,
  events: arrivals.length,
  spread: arrivals.at(-1) - arrivals[0],
  denied,
}));
