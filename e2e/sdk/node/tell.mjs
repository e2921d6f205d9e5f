// Makes calls one after the other, and tells what became of each in one JSON
// document: what the SDK returned, or what it raised.
export async function tell(calls) {
  const outcomes = [];
  for (const [call, make] of Object.entries(calls)) {
    const outcome = { call };
    try {
      outcome.result = (await make()) ?? null;
    } catch (err) {
      outcome.error = raised(err);
    }
    outcomes.push(outcome);
  }
  console.log(JSON.stringify(outcomes));
}

// raised is what a program may branch on, or show.
function raised(err) {
  return {
    class: err.constructor.name,
    status: err.status,
    message: err.message,
    type: err.type ?? undefined,
    code: err.code == null ? undefined : String(err.code),
    param: err.param ?? undefined,
    body: err.error,
    data: err.data,
    request: err.requestID ?? undefined,
    retryAfter: err.headers?.get?.('retry-after') ?? undefined,
  };
}

// all is what a stream brings, to its end or to its error.
export async function all(stream) {
  const events = [];
  try {
    for await (const event of await stream) events.push(event);
  } catch (err) {
    return { events, error: raised(err) };
  }
  return { events };
}
