package mcp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// catalogue is a list of n tools.
func catalogue(n int) string {
	tools := make([]string, n)
	for i := range tools {
		tools[i] = fmt.Sprintf(`{"name":"tool_%d","description":"Adds two numbers, and says what they come to.","inputSchema":{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]}}`, i)
	}
	return reply(`{"tools":[` + strings.Join(tools, ",") + `]}`)
}

// How fast answers stream by, with rules and without: a list of fifty tools, an image
// that a tool gives, and notifications of progress.
func BenchmarkAnswer(b *testing.B) {
	image := reply(`{"content":[{"type":"image","data":"` + strings.Repeat("iVBORw0KGgo", 100_000) + `"}]}`)
	for _, bb := range []struct{ name, media, content string }{
		{"list", jsonType, catalogue(50)},
		{"image", jsonType, image},
		{"events/list", eventsType, event(catalogue(50))},
		{"events/image", eventsType, event(image)},
		{"events/progress", eventsType, strings.Repeat(event(progress), 100)},
	} {
		for name, rules := range map[string]*inspect.Rules{"seen": nil, "ruled": but("tool_7")} {
			b.Run(bb.name+"/"+name, func(b *testing.B) {
				content, head := []byte(bb.content), answerOf(bb.media)
				b.SetBytes(int64(len(content)))
				b.ReportAllocs()
				for b.Loop() {
					a := Protocol{}.Answer(nil, head, rules)
					for rest := content; len(rest) > 0; {
						n := min(len(rest), 32<<10)
						if _, err := a.Pass(rest[:n]); err != nil {
							b.Fatal(err)
						}
						rest = rest[n:]
					}
					if _, err := a.End(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// A result of any size streams by: none of it is held, and nothing is allocated for it.
func TestHugeResultsAreNotHeld(t *testing.T) {
	piece := []byte(strings.Repeat(`{"type":"text","text":"Some text, as long as any."},`, 1000))
	for _, media := range []string{jsonType, eventsType} {
		a := Protocol{}.Answer(nil, answerOf(media), but())
		start := `{"result":{"content":[`
		if media == eventsType {
			start = "data: " + start
		}
		if out, err := a.Pass([]byte(start)); string(out) != start || err != nil {
			t.Fatalf("%s, %v", out, err)
		}
		a.Pass(piece) // makes the buffer
		n := testing.AllocsPerRun(100, func() {
			if out, err := a.Pass(piece); len(out) != len(piece) || err != nil {
				t.Fatalf("%d of %d bytes, %v", len(out), len(piece), err)
			}
		})
		if n != 0 {
			t.Errorf("%s: a piece allocates %v times", media, n)
		}
	}
}

// Nor is more held of a list than one tool.
func TestHugeListsAreNotHeld(t *testing.T) {
	b := newBody(but("x"))
	if _, err := b.Pass([]byte(`{"result":{"tools":[{"name":"x"}`)); err != nil {
		t.Fatal(err)
	}
	tool := []byte(`,{"name":"a","description":"` + strings.Repeat("x", 100_000) + `"},{"name":"x"}`)
	for range 200 {
		if _, err := b.Pass(tool); err != nil {
			t.Fatal(err)
		}
	}
	held := cap(b.sieve.held) + cap(b.sieve.rest) + cap(b.sieve.doc) + cap(b.sieve.out)
	if held > 8*len(tool) {
		t.Errorf("%d bytes are held, of tools of %d", held, len(tool))
	}
	if b.Said().Listed != 401 || b.Said().Hidden != 201 {
		t.Errorf("%+v", b.Said())
	}
}
