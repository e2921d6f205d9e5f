// Calls a chat server with the OpenAI SDK as any program would: it reads
// OPENAI_BASE_URL and OPENAI_API_KEY and knows nothing of a mesh.
import OpenAI from 'openai';

const client = new OpenAI({ maxRetries: 0 });
const request = {
  model: 'gpt-oss-20b',
  messages: [{ role: 'user', content: 'Which documents mention the outage?' }],
};

const whole = await client.chat.completions.create(request);

// Each piece is written out as it comes, a line of JSON for each.
let streamed = '';
let events = 0;
for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
  const piece = chunk.choices[0]?.delta?.content ?? '';
  streamed += piece;
  events += 1;
  console.log(JSON.stringify({ piece }));
}

let denied = {};
try {
  await client.chat.completions.create({ ...request, model: 'gpt-oss-120b' });
} catch (err) {
  denied = { status: err.status, crossing: err.headers.get('sallyport-crossing') };
}

console.log(JSON.stringify({
  whole: whole.choices[0].message.content,
  streamed,
  events,
  denied,
}));
