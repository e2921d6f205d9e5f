package mcp

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// listing is a random list, and what is left of it under but("x", "y").
type listing struct {
	*rand.Rand
	of, by     string // what it lists, and what each is asked for by
	list, left strings.Builder
}

// lists are what servers list, and what each entry is asked for by.
var lists = [][2]string{{"tools", "name"}, {"prompts", "name"}, {"resources", "uri"}, {"resourceTemplates", "uriTemplate"}}

func (l *listing) pick(of ...string) string { return of[l.IntN(len(of))] }

func (l *listing) space() string { return l.pick("", "", " ", "\n", " \t\r\n") }

// both writes what is in the list and in what is left of it.
func (l *listing) both(s string) {
	l.list.WriteString(s)
	l.left.WriteString(s)
}

func (l *listing) entry() (text string, kept bool) {
	name := l.pick("a", "b", "x", "y", "\\u0078", "xx", "é", "\\ud83d\\ude00", "] , {")
	members := []string{
		`"` + l.by + `"` + l.space() + `:"` + name + `"`,
		`"inputSchema":{"type":"object","properties":{"name":{"enum":["x",{}]},"tools":[{"name":"x"}]}}`,
		`"description":"` + strings.Repeat(l.pick("x", "\\\"},{", "é"), l.IntN(20)) + `"`,
	}
	l.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return "{" + l.space() + strings.Join(members, l.space()+",") + "}", name != "x" && name != "y" && name != "\\u0078"
}

func (l *listing) fill() {
	which := lists[l.IntN(len(lists))]
	l.of, l.by = which[0], which[1]
	l.both(l.pick(`{"jsonrpc":"2.0","id":1,"result":`, ` {"result":`) + l.pick(`{"`+l.of+`":[`, `{"nextCursor":"x" , "`+l.of+`": [`) + l.space())
	kept := false
	for i := range l.IntN(7) {
		if i > 0 {
			l.list.WriteString(",")
		}
		space := l.space()
		entry, keeps := l.entry()
		l.list.WriteString(space + entry)
		if keeps && kept {
			l.left.WriteString(",")
		}
		l.left.WriteString(space)
		if keeps {
			l.left.WriteString(entry)
			kept = true
		}
		l.both(l.space())
	}
	l.both(`]` + l.pick("", `,"_meta":{"tools":[{"name":"x"}]}`) + `}` + l.pick(`}`, `,"id":"x","jsonrpc":"2.0"}`) + l.space())
}

// What is left of a list is what was there, byte for byte, but for the entries that went
// and as many commas.
func TestRandomLists(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 600 {
		l := &listing{Rand: r}
		l.fill()
		list, left := l.list.String(), l.left.String()
		size := 1 + r.IntN(len(list))
		got, said, err := passed(jsonType, but("x", "y"), list, size)
		if diff := cmp.Diff(left, got); diff != "" || err != nil {
			t.Fatalf("%s in pieces of %d: %v (-want +got):\n%s", list, size, err, diff)
		}
		var before, after any
		if json.Unmarshal([]byte(list), &before) != nil || json.Unmarshal([]byte(got), &after) != nil {
			t.Fatalf("not JSON: %s, %s", list, got)
		}
		hidden := said.Hidden
		if diff := cmp.Diff(without(before, "x", "y"), after); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", list, diff)
		}
		inEvents(t, l, list, left, hidden)
	}
}

// inEvents has a list in an event, on as many lines as it has, with other fields and
// comments between them.
func inEvents(t *testing.T, l *listing, list, left string, hidden int64) {
	t.Helper()
	end := l.pick("\n", "\r\n")
	var stream strings.Builder
	list = strings.ReplaceAll(list, "\r\n", "\n")
	for line := range strings.SplitSeq(list, "\n") {
		stream.WriteString("data:" + l.pick("", " ") + line + end + l.pick("", "", ": alive"+end, "id: 7"+end))
	}
	stream.WriteString(end)
	size := 1 + l.IntN(stream.Len())
	got, said, err := passed(eventsType, but("x", "y"), stream.String(), size)
	if err != nil || said.Hidden != hidden {
		t.Fatalf("%q in pieces of %d: %v, %d hidden", stream.String(), size, err, said.Hidden)
	}
	events := standard(got)
	if len(events) != 1 || plainJSON(events[0]) != plainJSON(left) {
		t.Fatalf("%q, want %s", got, left)
	}
	if strings.Count(got, ": alive") != strings.Count(stream.String(), ": alive") || strings.Count(got, "id: 7") != strings.Count(stream.String(), "id: 7") {
		t.Fatalf("a line of no data is gone:\n%s\n%s", stream.String(), got)
	}
}

// plainJSON is a text as encoding/json writes it.
func plainJSON(text string) string {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return ""
	}
	b, _ := json.Marshal(v)
	return string(b)
}

// without is a message or a batch, as encoding/json reads it, without some entries of
// lists.
func without(v any, names ...string) any {
	if batch, ok := v.([]any); ok {
		for i := range batch {
			batch[i] = without(batch[i], names...)
		}
		return batch
	}
	message, _ := v.(map[string]any)
	result, _ := message["result"].(map[string]any)
	for _, which := range lists {
		entries, ok := result[which[0]].([]any)
		if !ok {
			continue
		}
		left := []any{}
		for _, entry := range entries {
			if name := fmt.Sprint(entry.(map[string]any)[which[1]]); !contains(names, name) {
				left = append(left, entry)
			}
		}
		result[which[0]] = left
	}
	return v
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// standard gives the data of a stream's events as the standard reads it.
func standard(stream string) (events []string) {
	stream = strings.TrimPrefix(stream, "\ufeff")
	stream = strings.ReplaceAll(strings.ReplaceAll(stream, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(stream, "\n")
	var data strings.Builder
	for _, line := range lines[:len(lines)-1] {
		field, value, _ := strings.Cut(line, ":")
		switch {
		case line == "":
			if s := strings.TrimSuffix(data.String(), "\n"); s != "" {
				events = append(events, s)
			}
			data.Reset()
		case field == "data":
			data.WriteString(strings.TrimPrefix(value, " ") + "\n")
		}
	}
	return events
}

// asGo gives them as Go's SDK reads them: a CR alone ends no line, space around the data
// is left out, and the end of the stream ends an event.
func asGo(stream string) (events []string) {
	var data []string
	flush := func() {
		if s := strings.Join(data, "\n"); s != "" {
			events = append(events, s)
		}
		data = nil
	}
	for line := range strings.SplitSeq(stream, "\n") {
		line = strings.TrimRight(line, "\r\n")
		field, value, found := strings.Cut(line, ":")
		switch {
		case line == "":
			flush()
		case !found:
			return events // malformed
		case field == "data":
			data = append(data, strings.TrimSpace(value))
		}
	}
	flush()
	return events
}
