"""Calls a chat server for some seconds as any program would, in one session: it
reads OPENAI_BASE_URL and knows nothing of a mesh."""

import json
import os
import sys
import time

import requests

url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
body = {"model": "gpt-oss-20b", "messages": [{"role": "user", "content": "Which documents mention the outage?"}]}
end = time.monotonic() + float(sys.argv[1])
calls, failures = 0, []
with requests.Session() as session:
    while time.monotonic() < end:
        calls += 1
        try:
            answer = session.post(url, json=body, timeout=20)
            answer.raise_for_status()
            answer.json()["choices"][0]["message"]["content"]
        except Exception as error:
            failures.append(repr(error))
        time.sleep(0.005)
print(json.dumps({"calls": calls, "failures": failures}))
