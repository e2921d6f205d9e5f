package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// plainly is what encoding/json finds in a request, by its own rules: of keys that come
// twice the last, and keys in any case.
func plainly(content []byte) ([]plain, error) {
	var all []json.RawMessage
	content = bytes.TrimSpace(content)
	if content[0] != '[' {
		all = []json.RawMessage{content}
	} else if err := json.Unmarshal(content, &all); err != nil {
		return nil, err
	}
	messages := make([]plain, len(all))
	for i := range all {
		if err := json.Unmarshal(all[i], &messages[i]); err != nil {
			return nil, err
		}
	}
	return messages, nil
}

type plain struct {
	JSONRPC string
	ID      json.RawMessage
	Method  *string
	Params  json.RawMessage
	Result  json.RawMessage
	Error   json.RawMessage
}

// is says what a message asks for, as found says it.
func (p *plain) is() (operation, tool string) {
	switch {
	case p.Method == nil:
		return Respond, ""
	case p.ID == nil:
		return Notify, ""
	}
	op, _ := asked(*p.Method)
	var names struct{ Name, URI any }
	json.Unmarshal(p.Params, &names)
	switch op.naming {
	case byName:
		tool, _ = names.Name.(string)
	case byURI:
		tool, _ = names.URI.(string)
	}
	return op.name, tool
}

// FuzzRequest asks encoding/json: what a request is found to ask for, that finds too.
func FuzzRequest(f *testing.F) {
	for _, content := range []string{
		rpc("tools/call", `{"name":"add","arguments":{"name":"x"}}`), rpc("resources/read", `{"uri":"\u0041"}`),
		"[" + rpc("ping", "") + `,{"jsonrpc":"2.0","method":"notifications/x"}]`,
		`{"jsonrpc":"2.0","id":"a","result":{}}`, `{"jsonrpc":"2.0","id":1,"method":"a","Method":"b"}`,
		`{"jsonrpc":"2.0","id":-1.5e3,"method":"x/y","params":null}`,
	} {
		f.Add([]byte(content), uint(3))
	}
	f.Fuzz(func(t *testing.T, content []byte, size uint) {
		asks, err := whole(content, len(content)+1)
		again, cut := whole(content, 1+int(size%uint(len(content)+1)))
		if fmt.Sprint(found(asks), err) != fmt.Sprint(found(again), cut) {
			t.Fatalf("%v %v, in pieces %v %v", found(asks), err, found(again), cut)
		}
		if err != nil {
			return
		}
		messages, err := plainly(content)
		if err != nil || len(messages) != len(asks) {
			t.Fatalf("%d asks, of %d messages: %v", len(asks), len(messages), err)
		}
		for i := range asks {
			hold(t, &asks[i], &messages[i])
		}
	})
}

// hold holds an ask against the message that it is of.
func hold(t *testing.T, a *inspect.Ask, p *plain) {
	t.Helper()
	if op, tool := p.is(); op != a.Operation || tool != a.Tool || p.JSONRPC != "2.0" {
		t.Errorf("%q of %q, want %q of %q", a.Operation, a.Tool, op, tool)
	}
	if (p.Method == nil) != (p.Result != nil || p.Error != nil) {
		t.Errorf("both a request and an answer: %+v", p)
	}
	var want, got any
	if a.ID == nil {
		return
	}
	if json.Unmarshal(p.ID, &want) != nil || json.Unmarshal(a.ID, &got) != nil || want != got {
		t.Errorf("id %s, want %s", a.ID, p.ID)
	}
}

func whole(content []byte, n int) ([]inspect.Ask, error) {
	r, _ := Protocol{}.Request(post())
	for len(content) > 0 {
		piece := content[:min(n, len(content))]
		if _, err := r.Write(piece); err != nil {
			return nil, err
		}
		content = content[len(piece):]
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	return r.Asks(), nil
}

// leaks says what of a message a caller may not have who may have nothing that is x nor
// be asked to sample. It reads as leniently as encoding/json does.
func leaks(data string) string {
	var all []json.RawMessage
	if json.Unmarshal([]byte(data), &all) != nil {
		all = []json.RawMessage{json.RawMessage(data)}
	}
	for _, text := range all {
		var m struct {
			Method string
			Result struct {
				Tools, Prompts    []struct{ Name string }
				Resources         []struct{ URI string }
				ResourceTemplates []struct{ URITemplate string }
				InputRequests     map[string]struct{ Method string }
			}
		}
		json.Unmarshal(text, &m) // what it could read before an error, it has read
		if m.Method == "sampling/createMessage" {
			return "it samples"
		}
		for _, entry := range append(m.Result.Tools, m.Result.Prompts...) {
			if entry.Name == "x" {
				return "it lists x"
			}
		}
		for _, entry := range m.Result.Resources {
			if entry.URI == "x" {
				return "it lists x"
			}
		}
		for _, entry := range m.Result.ResourceTemplates {
			if entry.URITemplate == "x" {
				return "it lists x"
			}
		}
		for _, input := range m.Result.InputRequests {
			if input.Method == "sampling/createMessage" {
				return "it samples in a result"
			}
		}
	}
	return ""
}

// FuzzAnswer holds what goes on of an answer against what came.
func FuzzAnswer(f *testing.F) {
	for _, content := range []string{
		reply(`{"tools":[{"name":"x"},{"name":"a"} , {"name":"\u0078","y":[{}]}]}`), sampling, "[" + progress + "," + reply(`{"tools":[]}`) + "]",
		reply(`{"inputRequests":{"a":{"method":"roots/list"}}}`), reply(`{"prompts":[{"name":"x"},{"name":"a"}]}`),
		reply(`{"resources":[{"name":"a","uri":"x"}],"resourceTemplates":[{"uriTemplate":"x"},{"uriTemplate":"a"}]}`), `{"error":{"code":-1}}`, `{"x":null}`,
	} {
		f.Add([]byte(content), uint(3))
	}
	rules := but("x", CreateMessage)
	f.Fuzz(func(t *testing.T, content []byte, size uint) {
		n := 1 + int(size%uint(len(content)+1))
		if got, _, err := passed(jsonType, nil, string(content), n); got != string(content) || err != nil {
			t.Fatalf("without rules: %q, %v", got, err)
		}
		if got, _, err := passed(jsonType, but(), string(content), n); got != string(content) && err == nil {
			t.Fatalf("%q where all may be: %q", content, got)
		}
		out, _, err := passed(jsonType, rules, string(content), len(content)+1)
		if cut, _, again := passed(jsonType, rules, string(content), n); fmt.Sprint(again) != fmt.Sprint(err) || err == nil && cut != out {
			t.Fatalf("%q %v, in pieces %q %v", out, err, cut, again)
		}
		if what := leaks(out); what != "" {
			t.Fatalf("%s: %q", what, out)
		}
		if err != nil || len(bytes.TrimSpace(content)) == 0 {
			return
		}
		var before, after any
		if err := json.Unmarshal(content, &before); err != nil {
			t.Fatalf("%q passes: %v", content, err)
		}
		if err := json.Unmarshal([]byte(out), &after); err != nil {
			t.Fatalf("%q became %q: %v", content, out, err)
		}
		if diff := cmp.Diff(without(before, "x"), after); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", content, diff)
		}
	})
}

// FuzzStream reads what goes on of a stream as the standard does, and as Go's SDK does.
func FuzzStream(f *testing.F) {
	for _, content := range []string{
		event(reply(`{"tools":[{"name":"x"},{"name":"a"}]}`)) + event(sampling), "data: {\"result\":\ndata: {\"tools\":[\nid: 1\ndata: {\"name\":\"x\"},\r\ndata: {\"name\":\ndata: \"x\"}]}}\n\n",
		": a\n\ndata\n\nevent: prime\nid: 1\ndata:\n\n" + event(progress), "data: {\"x\":1\r,\"result\":{\"tools\":[{\"name\":\"x\"}]}\ndata: }\n\n",
		"data: " + reply(`{"tools":[{"name":"x"}]}`),
		"data:{\"method\":\"sampling/createMessage\"0\n\n", "data\ndata\n\n0", ": x\rdata: 1\n\n",
	} {
		f.Add([]byte(content), uint(3))
	}
	rules := but("x", CreateMessage)
	f.Fuzz(func(t *testing.T, content []byte, size uint) {
		n := 1 + int(size%uint(len(content)+1))
		if got, _, err := passed(eventsType, nil, string(content), n); got != string(content) || err != nil {
			t.Fatalf("without rules: %q, %v", got, err)
		}
		if got, _, err := passed(eventsType, but(), string(content), n); got != string(content) && err == nil {
			t.Fatalf("%q where all may be: %q", content, got)
		}
		out, _, err := passed(eventsType, rules, string(content), len(content)+1)
		if cut, _, again := passed(eventsType, rules, string(content), n); (again == nil) != (err == nil) || err == nil && cut != out {
			t.Fatalf("%q %v, in pieces %q %v", out, err, cut, again)
		}
		for _, read := range []func(string) []string{standard, asGo} {
			for _, data := range read(out) {
				if what := leaks(data); what != "" {
					t.Fatalf("%s: %q of %q", what, out, content)
				}
			}
		}
		if err != nil {
			return
		}
		var want []string
		for _, data := range standard(string(content)) {
			// What is left out is not read to its end.
			if leaks(data) != "it samples" && json.Valid([]byte(data)) {
				want = append(want, left(data))
			}
		}
		var got []string
		for _, data := range standard(out) {
			switch {
			case json.Valid([]byte(data)):
				got = append(got, left(data))
			case strings.TrimSpace(data) != "":
				t.Fatalf("%q passes", data)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q became %q (-want +got):\n%s", content, out, diff)
		}
	})
}

// left is a message without what is x, as encoding/json writes it.
func left(data string) string {
	var v any
	if json.Unmarshal([]byte(data), &v) != nil {
		return ""
	}
	b, _ := json.Marshal(without(v, "x"))
	return string(b)
}
