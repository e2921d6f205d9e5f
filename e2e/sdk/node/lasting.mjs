// Calls a chat server with the OpenAI SDK for some seconds, three calls at a time.
import OpenAI from 'openai';

const client = new OpenAI({ maxRetries: 0 });
const request = {
  model: 'gpt-oss-20b',
  messages: [{ role: 'user', content: 'Which documents mention the outage?' }],
};
const end = Date.now() + 1000 * Number(process.argv[2]);
const failures = [];
let calls = 0;

async function call() {
  calls += 1;
  try {
    const whole = await client.chat.completions.create(request);
    if (!whole.choices[0].message.content) throw new Error('an empty answer');
  } catch (err) {
    failures.push(String(err));
  }
}

while (Date.now() < end) {
  await Promise.all([call(), call(), call()]);
  await new Promise((wake) => setTimeout(wake, 5));
}
console.log(JSON.stringify({ calls, failures }));
