package agree

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// members is an object as encoding/json reads it; nil if it is none.
func members(doc string) map[string]any {
	var m map[string]any
	json.Unmarshal([]byte(doc), &m)
	return m
}

func TestAnswerToMCP(t *testing.T) {
	const mismatch, parse, invalid = -32020., -32700., -32600.
	for _, tt := range []struct {
		name, content string
		id            any
		code          float64
	}{
		{"number", `{"id":7,"method":"x"}`, 7., mismatch},
		{"text", `{"id":"a\"<b","method":"x"}`, `a"<b`, mismatch},
		{"id behind the fault", `{"method":"x","id":7}`, nil, mismatch},
		{"no id", `{"params":{}}`, nil, mismatch},
		{"null", `{"id":null,"method":"x"}`, nil, mismatch},
		{"no kind of id", `{"id":[1],"method":"x"}`, nil, mismatch},
		{"id of two", `{"id":1,"id":2}`, nil, mismatch},
		{"parse error", `{"id":7,`, 7., parse},
		{"bound", `{"id":7,"x":` + strings.Repeat("[", 500), 7., invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := New(call("mcp-name", "add"))
			if verdict(c, tt.content, len(tt.content)) == nil {
				t.Fatal("not refused")
			}
			head, body := c.Answer("c1", "team", call())
			if head.Status != 400 || head.Fields.Get("content-type") != "application/json" ||
				head.Fields.Get(l7.CrossingName) != "c1" || head.Fields.Get("content-length") != strconv.Itoa(len(body)) {
				t.Errorf("head %+v", head)
			}
			if err := head.Check(); err != nil {
				t.Error(err)
			}
			want := map[string]any{"jsonrpc": "2.0", "id": tt.id, "error": map[string]any{
				"code": tt.code, "message": c.Err().Error(),
				"data": map[string]any{"crossing": "c1", "reason": "DISAGREES", "owner": "team"},
			}}
			if diff := cmp.Diff(want, members(string(body))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnswerToOthers(t *testing.T) {
	asked := ofModel("x-model", "m")
	c := New(asked)
	if verdict(c, `{"model":"n"}`, 99) == nil {
		t.Fatal("not refused")
	}
	head, body := c.Answer("c1", "team", asked)
	got := members(string(body))
	if head.Status != 400 || head.Fields.Get("content-type") != "application/problem+json" ||
		got["detail"] != c.Err().Error() || got["crossing"] != "c1" || got["owner"] != "team" {
		t.Errorf("%+v\n%s", head, body)
	}
}

// What a request costs that says nothing of its content, and one that does.
func BenchmarkNew(b *testing.B) {
	for name, head := range map[string]*l7.RequestHead{
		"nothing": ofModel("accept", "*/*", "user-agent", "x", "authorization", "Bearer x", "accept-encoding", "gzip"),
		"call":    call("mcp-name", "add"),
	} {
		b.Run(name, func(b *testing.B) {
			content := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":2}}}`)
			b.ReportAllocs()
			for b.Loop() {
				c := New(head)
				if c == nil {
					continue
				}
				c.Write(content)
				if err := c.End(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
