package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/crossing/genai"
)

// Whoever follows calls of AI services gets a line for each: a row of the table of calls,
// a whole record, or its attributes.
func TestFollowCalls(t *testing.T) {
	for _, test := range []struct{ name, args, has string }{
		{"table", "", "openai chat, streamed  "},
		{"records", "-o json", `"modelRequested":"gpt-oss-20b"`},
		{"attributes", "-o json --otel v1.37.0", `"gen_ai.request.model":"gpt-oss-20b"`},
		{"one model", "--model gpt-oss -o json --otel v1.36.0", `"gen_ai.system":"openai"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFakeMesh(t)
			f.records = f.calls
			lines := &lineCounter{want: len(f.records) - 1, mark: "01a207e6"} // one of them is of no AI service
			if test.name == "one model" {
				lines.want = 2
			}
			ctx, cancel := context.WithCancel(t.Context())
			lines.done = cancel
			f.onFollow = func() {}
			a := &app{stdin: strings.NewReader(""), stdout: lines, stderr: &bytes.Buffer{}, now: today, connect: f.serve(t)}
			if code := a.run(ctx, append([]string{"crossings", "--follow", "--ai"}, strings.Fields(test.args)...)); code != yes {
				t.Errorf("exit %d after an interrupt, want 0: %s", code, a.stderr)
			}
			text := lines.text.String()
			if !strings.Contains(text, test.has) || strings.Contains(text, "oci") {
				t.Errorf("%s: no %q, or what is of no AI service:\n%s", test.args, test.has, text)
			}
			if n := strings.Count(text, "01a207e6"); n != lines.want {
				t.Errorf("%d of %d calls", n, lines.want)
			}
		})
	}
}

// Attributes keep their types on the way out: a count is a number, why an answer ended an
// array.
func TestAttributesKeepTheirTypes(t *testing.T) {
	f := newFakeMesh(t)
	f.records = f.calls
	for _, version := range genai.Versions() {
		code, stdout, stderr := ask(t, f, "crossings", "--ai", "--model", "gpt", "-o", "json", "--otel", version)
		var all []map[string]any
		if err := json.Unmarshal([]byte(stdout), &all); code != yes || err != nil || len(all) != 2 {
			t.Fatalf("%s: exit %d, %v, %d objects, %s", version, code, err, len(all), stderr)
		}
		if n, is := all[0]["gen_ai.usage.input_tokens"].(float64); !is || n != 412 {
			t.Errorf("%s: input tokens are %v", version, all[0]["gen_ai.usage.input_tokens"])
		}
		if l, is := all[0]["gen_ai.response.finish_reasons"].([]any); !is || len(l) != 1 {
			t.Errorf("%s: finish reasons are %v", version, all[0]["gen_ai.response.finish_reasons"])
		}
		if _, is := all[1]["gen_ai.usage.output_tokens"]; is {
			t.Errorf("%s: tokens that were counted are told as reported", version)
		}
	}
}
