package jsonscan

import (
	"encoding/json"
	"strings"
	"testing"
)

// chat is a request of some kilobytes, as SDKs write one.
func chat() []byte {
	type object = map[string]any
	messages := []object{{"role": "system", "content": "You answer briefly."}}
	for range 20 {
		messages = append(messages,
			object{"role": "user", "content": strings.Repeat("What is the capital of \"France\"?\n", 8)},
			object{"role": "assistant", "content": "Paris.", "tool_calls": []object{{"id": "call_1", "type": "function", "function": object{"name": "look_up", "arguments": `{"q":"x"}`}}}})
	}
	doc, _ := json.Marshal(object{
		"model": "gpt-5", "messages": messages, "temperature": 0.7, "stream": true,
		"tools": []object{{"type": "function", "function": object{"name": "look_up", "parameters": object{"type": "object", "properties": object{"q": object{"type": "string"}}}}}},
	})
	return doc
}

// How fast content streams by: a dialogue, an image in Base64, a vector, text in
// another script.
func BenchmarkWrite(b *testing.B) {
	for _, bb := range []struct {
		name string
		doc  []byte
	}{
		{"chat", chat()},
		{"image", []byte(`{"model":"m","image":"` + strings.Repeat("iVBORw0KGgo", 100_000) + `"}`)},
		{"vector", []byte(`{"model":"m","input":[` + strings.Repeat("-0.0123456789,", 10_000) + `1]}`)},
		{"chinese", []byte(`{"model":"m","content":"` + strings.Repeat("你好,世界。", 10_000) + `"}`)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			p, h := MustCompile("/model"), count(0)
			s := New(p, &h)
			b.SetBytes(int64(len(bb.doc)))
			b.ReportAllocs()
			for b.Loop() {
				s.Reset(p, &h)
				for doc := bb.doc; len(doc) > 0; {
					n := min(len(doc), 32<<10)
					if _, err := s.Write(doc[:n]); err != nil {
						b.Fatal(err)
					}
					doc = doc[n:]
				}
				if err := s.End(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type count int

func (c *count) Value(int, Kind, []byte) error { *c++; return nil }

// What encoding/json takes only to say that it is well formed.
func BenchmarkValidOfTheLibrary(b *testing.B) {
	doc := chat()
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		json.Valid(doc)
	}
}

func TestScanDoesNotAllocate(t *testing.T) {
	doc, p, h := chat(), MustCompile("/model", "/messages/*/content"), count(0)
	s := New(p, &h)
	scan := func() {
		s.Reset(p, &h)
		s.Write(doc)
		if err := s.End(); err != nil {
			t.Fatal(err)
		}
	}
	scan() // makes the buffer
	if n := testing.AllocsPerRun(100, scan); n != 0 {
		t.Errorf("a scan allocates %v times", n)
	}
}
