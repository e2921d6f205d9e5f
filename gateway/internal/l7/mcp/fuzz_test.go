package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

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
