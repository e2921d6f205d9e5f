package transfer

import "testing"

func TestLined(t *testing.T) {
	for name, c := range map[string]struct {
		path string
		nv   []string
		want bool
	}{
		"JSON Lines":       {"/b/k", []string{"content-type", "application/jsonl"}, true},
		"CSV":              {"/b/k", []string{"content-type", "Text/CSV; header=present"}, true},
		"by its name":      {"/datasets/org/squad/resolve/main/train.JSONL", []string{"content-type", "application/octet-stream"}, true},
		"by that alone":    {"/b/table.tsv", nil, true},
		"JSON":             {"/b/k", []string{"content-type", "application/json"}, false},
		"weights":          {"/b/llm.safetensors", []string{"content-type", "application/octet-stream"}, false},
		"no type":          {"/b/csv", []string{"content-type", ";"}, false},
		"of several types": {"/b/k", []string{"content-type", "text/csv", "content-type", "text/csv"}, false},
	} {
		up, _ := Of(parties, request("PUT", c.path, append(c.nv, "content-length", "9")...), nil)
		down, _ := Of(parties, request("GET", c.path), answer(200, append(c.nv, "content-length", "9", "etag", tag)...))
		if up.Lined != c.want || down.Lined != c.want {
			t.Errorf("%s: an upload %t, a download %t, want %t", name, up.Lined, down.Lined, c.want)
		}
	}
}
