package mcp

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

const (
	jsonType   = "application/json"
	eventsType = "text/event-stream"
)

func answerOf(types ...string) *l7.ResponseHead {
	h := &l7.ResponseHead{Status: 200}
	for _, media := range types {
		h.Fields = append(h.Fields, l7.Field{Name: "content-type", Value: media})
	}
	return h
}

// but are rules under which a caller may have all but some operations, or tools, prompts
// and resources.
func but(not ...string) *inspect.Rules {
	return &inspect.Rules{
		May: func(a *inspect.Ask) bool {
			for _, n := range not {
				if a.Operation == n || a.Tool == n {
					return false
				}
			}
			return true
		},
		Pinned: func(string, [32]byte) bool { return true },
	}
}

// passed is what goes on of an answer that comes in pieces of n bytes.
func passed(media string, rules *inspect.Rules, content string, n int) (string, *inspect.Said, error) {
	a := Protocol{}.Answer(nil, answerOf(media), rules)
	var out strings.Builder
	for content != "" {
		piece := content[:min(n, len(content))]
		content = content[len(piece):]
		b, err := a.Pass([]byte(piece))
		if err != nil {
			return out.String(), a.Said(), err
		}
		out.Write(b)
	}
	b, err := a.End()
	out.Write(b)
	return out.String(), a.Said(), err
}

// answered is passed, which must be the same however the answer is cut.
func answered(t *testing.T, media string, rules *inspect.Rules, content string) (string, *inspect.Said, error) {
	t.Helper()
	want, wantSaid, err := passed(media, rules, content, len(content)+1)
	for n := 1; n < min(len(content), 90); n++ {
		if len(content) > 10_000 && n%13 != 0 {
			continue
		}
		got, said, cut := passed(media, rules, content, n)
		if err == nil && got != want || fmt.Sprint(cut) != fmt.Sprint(err) {
			t.Fatalf("%.300q in pieces of %d: %.300q %v, want %.300q %v", content, n, got, cut, want, err)
		}
		if err == nil {
			if diff := cmp.Diff(wantSaid, said); diff != "" {
				t.Fatalf("%.300q in pieces of %d (-whole +cut):\n%s", content, n, diff)
			}
		}
	}
	return want, wantSaid, err
}

// reply is an answer with a result.
func reply(result string) string { return `{"jsonrpc":"2.0","id":1,"result":` + result + `}` }

// event is a message as one of a stream.
func event(message string) string { return "event: message\ndata: " + message + "\n\n" }

const (
	sampling = `{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{"messages":[]}}`
	progress = `{"method":"notifications/progress","params":{"progress":1},"jsonrpc":"2.0"}`
)

func TestListsOfTools(t *testing.T) {
	for name, tt := range map[string]struct{ content, want string }{
		"first":          {reply(`{"tools":[{"name":"x"},{"name":"a"},{"name":"b"}]}`), reply(`{"tools":[{"name":"a"},{"name":"b"}]}`)},
		"middle":         {reply(`{"tools":[{"name":"a"},{"name":"x"},{"name":"b"}]}`), reply(`{"tools":[{"name":"a"},{"name":"b"}]}`)},
		"last":           {reply(`{"tools":[{"name":"a"},{"name":"b"},{"name":"x"}]}`), reply(`{"tools":[{"name":"a"},{"name":"b"}]}`)},
		"all":            {reply(`{"tools":[{"name":"x"},{"name":"x"}]}`), reply(`{"tools":[]}`)},
		"none":           {reply(`{"tools":[ { "name":"a" } , {"name":"b"}],"nextCursor":"c"}`), reply(`{"tools":[ { "name":"a" } , {"name":"b"}],"nextCursor":"c"}`)},
		"space":          {reply("{\"tools\" : [ {\"name\":\"x\"} , {\"name\":\"a\"}\n,\t{\"name\":\"x\"}\r\n] }"), reply("{\"tools\" : [   {\"name\":\"a\"}\n\t\r\n] }")},
		"empty":          {reply(`{"tools":[ ]}`), reply(`{"tools":[ ]}`)},
		"null":           {reply(`{"tools":null}`), reply(`{"tools":null}`)},
		"name escaped":   {reply(`{"tools":[{"n\u0061me":"\u0078"}]}`), reply(`{"tools":[]}`)},
		"name is last":   {reply(`{"tools":[{"inputSchema":{"properties":{"name":{"type":"string"},"tools":[]}},"name":"x"},{"name":"a"}]}`), reply(`{"tools":[{"name":"a"}]}`)},
		"look-alike":     {reply(`{"tools":[{"name":"` + "\u0445" + `"},{"name":"x "},{"name":"X"}]}`), reply(`{"tools":[{"name":"` + "\u0445" + `"},{"name":"x "},{"name":"X"}]}`)},
		"normal forms":   {reply(`{"tools":[{"name":"` + "e\u0301" + `"},{"name":"` + "\u00e9" + `"}]}`), reply(`{"tools":[{"name":"` + "e\u0301" + `"}]}`)},
		"elsewhere":      {reply(`{"content":[{"tools":[{"name":"x"}]}],"structuredContent":{"tools":[{"name":"x"}]}}`), reply(`{"content":[{"tools":[{"name":"x"}]}],"structuredContent":{"tools":[{"name":"x"}]}}`)},
		"id is last":     {`{"result":{"tools":[{"name":"x"}]},"id":"1","jsonrpc":"2.0"}`, `{"result":{"tools":[]},"id":"1","jsonrpc":"2.0"}`},
		"in a batch":     {"[" + reply(`{}`) + ", " + reply(`{"tools":[{"name":"x"},{"name":"a"}]}`) + "," + reply(`{"tools":[{"name":"x"}]}`) + " ]", "[" + reply(`{}`) + ", " + reply(`{"tools":[{"name":"a"}]}`) + "," + reply(`{"tools":[]}`) + " ]"},
		"long name":      {reply(`{"tools":[{"name":"` + strings.Repeat("n", 300) + `"}]}`), reply(`{"tools":[]}`)},
		"error of null":  {`{"error":null,"result":{"tools":[{"name":"x"}]}}`, `{"error":null,"result":{"tools":[]}}`},
		"space around":   {" \n" + reply(`{"tools":[{"name":"x"}]}`) + " \n", " \n" + reply(`{"tools":[]}`) + " \n"},
		"tools of tools": {reply(`{"tools":[{"name":"x","tools":[{"name":"a"}]},{"name":"a","tools":[{"name":"x"}]}]}`), reply(`{"tools":[{"name":"a","tools":[{"name":"x"}]}]}`)},
	} {
		t.Run(name, func(t *testing.T) {
			rules := but("x", "\u00e9")
			got, said, err := answered(t, jsonType, rules, tt.content)
			if got != tt.want || err != nil {
				t.Errorf("%s, %v; want %s", got, err, tt.want)
			}
			if gone := strings.Count(tt.content, `"name"`) - strings.Count(got, `"name"`); name != "tools of tools" && name != "name is last" && name != "name escaped" && int(said.Hidden) != gone {
				t.Errorf("%d are hidden, %d are gone", said.Hidden, gone)
			}
			if strings.ContainsAny(tt.content, "\r\n") {
				return // an event cannot have that
			}
			got, _, err = answered(t, eventsType, rules, event(tt.content))
			if got != event(tt.want) || err != nil {
				t.Errorf("%s, %v; want %s", got, err, event(tt.want))
			}
		})
	}
}

// TestListsOfOthers: what is listed is shown to who may ask for it by the operation that
// asks for such things, not by another one.
func TestListsOfOthers(t *testing.T) {
	const (
		prompts   = `{"prompts":[{"name":"x","arguments":[{"name":"a"}]},{"name":"a","title":"x"}]}`
		resources = `{"resources":[{"uri":"file:///x","name":"a"} , {"name":"x","uri":"file:///a"}],"nextCursor":"x"}`
		templates = `{"resourceTemplates":[{"uriTemplate":"file:///{x}","name":"a"},{"name":"x","uriTemplate":"db:///{x}"}]}`
		none      = `{"prompts":[],"resources":null,"resourceTemplates":[],"contents":[{"uri":"file:///x"}],"messages":[]}`
	)
	for _, tt := range []struct {
		name   string
		rules  *inspect.Rules
		result string
		want   string
		hidden int64
	}{
		{"prompts by name", but("x"), prompts, `{"prompts":[{"name":"a","title":"x"}]}`, 1},
		{"no prompts", but(GetPrompt), prompts, `{"prompts":[]}`, 2},
		{"prompts of who calls no tools", but(CallTool, ReadResource), prompts, prompts, 0},
		{"resources by URI", but("file:///x"), resources, `{"resources":[  {"name":"x","uri":"file:///a"}],"nextCursor":"x"}`, 1},
		{"resources by name", but("x", "a"), resources, resources, 0},
		{"no resources", but(ReadResource), resources, `{"resources":[  ],"nextCursor":"x"}`, 2},
		{"resources of who gets no prompts", but(GetPrompt, CallTool), resources, resources, 0},
		{"templates as if they were URIs", but("db:///{x}"), templates, `{"resourceTemplates":[{"uriTemplate":"file:///{x}","name":"a"}]}`, 1},
		{"no templates", but(ReadResource), templates, `{"resourceTemplates":[]}`, 2},
		{"tools of who reads nothing", but(ReadResource, GetPrompt), `{"tools":[{"name":"x"}]}`, `{"tools":[{"name":"x"}]}`, 0},
		{"two lists", but("x"), `{"tools":[{"name":"x"}],"prompts":[{"name":"x"},{"name":"a"}]}`, `{"tools":[],"prompts":[{"name":"a"}]}`, 2},
		{"elsewhere", but("x", GetPrompt, ReadResource), none, none, 0},
		{"a long URI", but("x"), `{"resources":[{"uri":"` + strings.Repeat("u", inspect.MaxText+1) + `"}]}`, `{"resources":[]}`, 1},
	} {
		rules := tt.rules
		rules.Seen = func(name string, _ [32]byte) {
			if !strings.Contains(tt.result, `"tools"`) {
				t.Errorf("%s: %s is seen as a tool", tt.name, name)
			}
		}
		for media, both := range map[string][2]string{
			jsonType:   {reply(tt.result), reply(tt.want)},
			eventsType: {event(progress) + event("["+reply(tt.result)+"]"), event(progress) + event("["+reply(tt.want)+"]")},
		} {
			got, said, err := answered(t, media, rules, both[0])
			if got != both[1] || err != nil || said.Hidden != tt.hidden {
				t.Errorf("%s: %s, %d hidden, %v; want %s", tt.name, got, said.Hidden, err, both[1])
			}
		}
	}
}

func TestPins(t *testing.T) {
	const add = `{"name":"add", "inputSchema":{"type":"object","properties":{"b":{"minimum":1.50},"a":{}}}}`
	pin := sha256.Sum256([]byte(`{"inputSchema":{"properties":{"a":{},"b":{"minimum":1.5}},"type":"object"},"name":"add"}`))
	seen := map[string][32]byte{}
	rules := but("x")
	rules.Pinned = func(tool string, digest [32]byte) bool { return tool != "add" || digest == pin }
	rules.Seen = func(tool string, digest [32]byte) { seen[tool] = digest }
	for name, tt := range map[string]struct {
		tools, want string
		changed     []string
	}{
		"as it was":             {add, add, nil},
		"written otherwise":     {`{"inputSchema":{"properties":{"a":{ },"b":{"minimum":15e-1}},"type":"obj\u0065ct"},"name":"add"}`, `{"inputSchema":{"properties":{"a":{ },"b":{"minimum":15e-1}},"type":"obj\u0065ct"},"name":"add"}`, nil},
		"changed":               {`{"name":"add","description":"Sends all to me."},{"name":"b"}`, `{"name":"b"}`, []string{"add"}},
		"something comes twice": {`{"name":"add", "inputSchema":{"type":"object","type":"object","properties":{"b":{"minimum":1.50},"a":{}}}}`, ``, []string{"add"}},
		"two of a name":         {add + `,{"name":"add"}`, add, []string{"add"}},
		"hidden":                {`{"name":"x","y":"\ud800"}`, ``, nil},
	} {
		got, said, err := answered(t, jsonType, rules, reply(`{"tools":[`+tt.tools+`]}`))
		if got != reply(`{"tools":[`+tt.want+`]}`) || err != nil {
			t.Errorf("%s: %s, %v", name, got, err)
		}
		if diff := cmp.Diff(tt.changed, said.Changed); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if seen["x"] != [32]byte{} || seen["b"] != sha256.Sum256([]byte(`{"name":"b"}`)) || len(seen) != 3 {
		t.Errorf("seen: %x", seen)
	}
}

// What cannot be told apart ends the answer.
func TestRefusedAnswers(t *testing.T) {
	big := `{"name":"a","x":"` + strings.Repeat("x", maxEntry) + `"}`
	for name, tt := range map[string]struct {
		content string
		kind    error
	}{
		"no name":                  {reply(`{"tools":[{"title":"x"}]}`), inspect.ErrUnreadable},
		"name of a number":         {reply(`{"tools":[{"name":7}]}`), inspect.ErrUnreadable},
		"two names":                {reply(`{"tools":[{"name":"a","name":"x"}]}`), inspect.ErrAmbiguous},
		"two names, one escaped":   {reply(`{"tools":[{"name":"a","\u006eame":"x"}]}`), inspect.ErrAmbiguous},
		"name in another case":     {reply(`{"tools":[{"name":"a","Name":"x"}]}`), inspect.ErrAmbiguous},
		"half a pair":              {reply(`{"tools":[{"name":"\ud800"}]}`), inspect.ErrAmbiguous},
		"NUL":                      {reply(`{"tools":[{"name":"a\u0000"}]}`), inspect.ErrAmbiguous},
		"two lists":                {reply(`{"tools":[],"tools":[{"name":"x"}]}`), inspect.ErrAmbiguous},
		"list in another case":     {reply(`{"Tools":[{"name":"x"}]}`), inspect.ErrAmbiguous},
		"two results":              {`{"result":{},"result":{"tools":[{"name":"x"}]}}`, inspect.ErrAmbiguous},
		"result in another case":   {`{"RESULT":{"tools":[{"name":"x"}]}}`, inspect.ErrAmbiguous},
		"result with a long s":     {`{"re` + "\u017f" + `ult":{"tools":[{"name":"x"}]}}`, inspect.ErrAmbiguous},
		"a list in a list":         {reply(`{"tools":[[{"name":"x"}]]}`), inspect.ErrUnreadable},
		"tools by name":            {reply(`{"tools":["x"]}`), inspect.ErrUnreadable},
		"a tool of null":           {reply(`{"tools":[{"name":"a"},null]}`), inspect.ErrUnreadable},
		"a tool of a number":       {reply(`{"tools":[7]}`), inspect.ErrUnreadable},
		"tools in an object":       {reply(`{"tools":{"x":{"name":"x"}}}`), inspect.ErrUnreadable},
		"tools of a text":          {reply(`{"tools":"x"}`), inspect.ErrUnreadable},
		"a prompt without a name":  {reply(`{"prompts":[{"title":"x"}]}`), inspect.ErrUnreadable},
		"a resource by its name":   {reply(`{"resources":[{"name":"x"}]}`), inspect.ErrUnreadable},
		"a resource of two URIs":   {reply(`{"resources":[{"uri":"a","uri":"x"}]}`), inspect.ErrAmbiguous},
		"a template of a URI":      {reply(`{"resourceTemplates":[{"uri":"x"}]}`), inspect.ErrUnreadable},
		"prompts in an object":     {reply(`{"prompts":{"x":{"name":"x"}}}`), inspect.ErrUnreadable},
		"resources by URI":         {reply(`{"resources":["x"]}`), inspect.ErrUnreadable},
		"prompts in another case":  {reply(`{"Prompts":[{"name":"x"}]}`), inspect.ErrAmbiguous},
		"a batch in a batch":       {"[[" + reply(`{"tools":[{"name":"x"}]}`) + "]]", inspect.ErrUnreadable},
		"a text in a batch":        {`["x"]`, inspect.ErrUnreadable},
		"a big tool":               {reply(`{"tools":[` + big + `]}`), inspect.ErrUnreadable},
		"much before the kind":     {`{"x":"` + strings.Repeat("x", maxUnknown) + `","result":{}}`, inspect.ErrUnreadable},
		"result and method":        {`{"id":1,"result":{},"method":"ping"}`, inspect.ErrAmbiguous},
		"method and result":        {`{"id":1,"method":"ping","result":{"tools":[{"name":"x"}]}}`, inspect.ErrAmbiguous},
		"result and error":         {`{"id":1,"error":{},"result":{}}`, inspect.ErrAmbiguous},
		"method of a number":       {`{"id":1,"method":7}`, inspect.ErrUnreadable},
		"not UTF-8":                {reply("{\"tools\":[{\"name\":\"\xff\"}]}"), inspect.ErrUnreadable},
		"cut":                      {`{"result":{"tools":[{"name":"a"}`, inspect.ErrUnreadable},
		"two documents":            {reply(`{}`) + reply(`{"tools":[{"name":"x"}]}`), inspect.ErrUnreadable},
		"a mark":                   {"\ufeff" + reply(`{}`), inspect.ErrUnreadable},
		"nested too deep":          {reply(`{"x":` + strings.Repeat("[", 300)), inspect.ErrUnreadable},
		"a text":                   {"Bad Request", inspect.ErrUnreadable},
		"it asks for what may not": {reply(`{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"},"b":{"method":"elicitation/create","params":{}}}}`), inspect.ErrForbidden},
		"it asks with two methods": {reply(`{"inputRequests":{"a":{"method":"roots/list","method":"elicitation/create"}}}`), inspect.ErrAmbiguous},
		"it asks in another case":  {reply(`{"inputRequests":{"a":{"method":"roots/list","Method":"elicitation/create"}}}`), inspect.ErrAmbiguous},
		"it asks without a method": {reply(`{"inputRequests":{"a":{}}}`), inspect.ErrUnreadable},
		"it asks in a list":        {reply(`{"inputRequests":[{"method":"elicitation/create"}]}`), inspect.ErrUnreadable},
		"it asks in a text":        {reply(`{"inputRequests":{"a":"elicitation/create"}}`), inspect.ErrUnreadable},
		"it asks for much":         {reply(`{"inputRequests":{"a":{"method":"roots/list","params":"` + strings.Repeat("x", maxInputs) + `"}}}`), inspect.ErrUnreadable},
	} {
		for media, content := range map[string]string{jsonType: tt.content, eventsType: event(tt.content)} {
			out, _, err := answered(t, media, but("x", Elicit), content)
			if !errors.Is(err, tt.kind) || strings.Contains(out, `"x"`) {
				t.Errorf("%s: %.300s, %v, want %v", name, out, err, tt.kind)
			}
			if _, ok := errors.AsType[*inspect.Error](err); !ok {
				t.Errorf("%s: %T", name, err)
			}
		}
		// Who only looks finds no fault, and changes nothing.
		for _, media := range []string{jsonType, eventsType} {
			if got, _, err := answered(t, media, nil, tt.content); got != tt.content || err != nil {
				t.Errorf("%s without rules: %.99s, %v", name, got, err)
			}
		}
	}
}

func TestMessagesToTheClient(t *testing.T) {
	rules := but(CreateMessage, "x/y", "method/x")
	all := event(reply(`{}`)) + ": alive\n\n" + event(sampling) + "id: 7\n" + event(progress) + event(`{"params":{"method":"z"},"method":"x/y"}`) + event(`{"id":3,"method":"roots/list"}`) + event(`{"method":"x"}`)
	want := event(reply(`{}`)) + ": alive\n\n\n" + "id: 7\n" + event(progress) + "\n" + event(`{"id":3,"method":"roots/list"}`) + "\n"
	got, said, err := answered(t, eventsType, rules, all)
	if diff := cmp.Diff(want, got); diff != "" || err != nil || said.Stopped != 3 {
		t.Errorf("%d stopped, %v (-want +got):\n%s", said.Stopped, err, diff)
	}
	crlf := strings.ReplaceAll(all, "\n", "\r\n")
	if got, said, err = answered(t, eventsType, rules, crlf); err != nil || said.Stopped != 3 || strings.Contains(got, "sampling") || !strings.Contains(got, "roots/list") {
		t.Errorf("%d stopped, %v:\n%q", said.Stopped, err, got)
	}
	keep := ": alive\n" + event(sampling) + ": alive\n\n: and"
	if got, _, err = answered(t, eventsType, rules, keep); got != ": alive\n\n: alive\n\n: and" || err != nil {
		t.Errorf("%v:\n%q", err, got)
	}
	for name, content := range map[string]string{
		"JSON":               sampling,
		"a batch":            "[" + progress + "," + sampling + "]",
		"a batch, and first": "[" + sampling + "," + progress + "]",
	} {
		if got, said, err := answered(t, jsonType, rules, content); !errors.Is(err, inspect.ErrForbidden) || strings.Contains(got, "sampling") || said.Stopped != 1 {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	if got, _, err := answered(t, eventsType, rules, event("["+progress+","+sampling+"]")); !errors.Is(err, inspect.ErrForbidden) || strings.Contains(got, "sampling") {
		t.Errorf("an event of a batch: %s, %v", got, err)
	}
	for _, op := range []string{Notify, Ping, ListRoots, Elicit, "tools/call"} {
		method := map[string]string{Notify: "notifications/message", Ping: "ping", ListRoots: "roots/list", Elicit: "elicitation/create", "tools/call": "tools/call"}[op]
		content := event(`{"jsonrpc":"2.0","id":1,"method":"` + method + `"}`)
		if got, _, err := answered(t, eventsType, but(op), content); got != "\n" || err != nil {
			t.Errorf("%s: %q, %v", op, got, err)
		}
		if got, _, err := answered(t, eventsType, but(CallTool), content); got != content || err != nil {
			t.Errorf("%s: %q, %v", op, got, err)
		}
	}
	asks := reply(`{"inputRequests":{"a":{"method":"roots/list"},"b":{"method":"elicitation/create"}},"tools":null}`)
	if got, _, err := answered(t, jsonType, rules, asks); got != asks || err != nil {
		t.Errorf("%s, %v", got, err)
	}
}

// Streams that readers of events could take in two ways, and what goes on of those
// that they cannot.
func TestEvents(t *testing.T) {
	list, left := reply(`{"tools":[{"name":"x"},{"name":"a"}]}`), reply(`{"tools":[{"name":"a"}]}`)
	for name, tt := range map[string]struct {
		content, want string
		kind          error
	}{
		"no blank line at the end":   {"data: " + list, "data: " + left, nil},
		"no line at the end":         {"data: " + list + "\n", "data: " + left + "\n", nil},
		"cut":                        {"data: " + list[:20], "", inspect.ErrUnreadable},
		"another name":               {"event: x\ndata:" + list + "\n\n", "event: x\ndata:" + left + "\n\n", nil},
		"a name behind":              {"data:" + list + "\nevent: x\n\n", "data:" + left + "\nevent: x\n\n", nil},
		"no data":                    {"event: prime\nid: 1\nretry: 2\ndata:\n\ndata\n\nid\n\n", "event: prime\nid: 1\nretry: 2\ndata:\n\ndata\n\nid\n\n", nil},
		"a mark":                     {"\ufeffdata: " + list + "\n\n", "\ufeffdata: " + left + "\n\n", nil},
		"CRLF":                       {"data: " + list + "\r\n\r\n", "data: " + left + "\r\n\r\n", nil},
		"CR ends lines":              {"data: " + list + "\r\r", "", inspect.ErrAmbiguous},
		"CR in a comment":            {": x\rdata: " + list + "\n\n", "", inspect.ErrAmbiguous},
		"a list for Go alone":        {"data: {\"id\":1\r,\"result\":{\"tools\":[{\"name\":\"x\"}]}\ndata: }\n\n", "", inspect.ErrAmbiguous},
		"a tool on many lines":       {"data: {\"result\":{\"tools\":[{\ndata: \"name\":\nid: 1\ndata:\"x\"\ndata: }\n: c\ndata: ]}}\n\n", "data: {\"result\":{\"tools\":[\ndata: \nid: 1\ndata:\ndata: \n: c\ndata: ]}}\n\n", nil},
		"a name on two lines":        {"data: {\"result\":{\"tools\":[{\"name\":\"x\ndata: y\"}]}}\n\n", "", inspect.ErrUnreadable},
		"two messages":               {"data: " + reply(`{}`) + "\ndata: " + list + "\n\n", "", inspect.ErrUnreadable},
		"no message":                 {"data: [DONE]\n\n", "", inspect.ErrUnreadable},
		"much before the data":       {strings.Repeat("id: 1\n", maxUnknown), "", inspect.ErrUnreadable},
		"much within a tool":         {"data: {\"result\":{\"tools\":[{\"name\":\n" + strings.Repeat(": x\n", maxEntry), "", inspect.ErrUnreadable},
		"much space between tools":   {"data: {\"result\":{\"tools\":[{\"name\":\"a\"}," + strings.Repeat(" ", maxEntry+1), "", inspect.ErrUnreadable},
		"much space before a tool":   {"data: {\"result\":{\"tools\":[" + strings.Repeat(" ", maxEntry+1) + "]}}\n\n", "data: {\"result\":{\"tools\":[" + strings.Repeat(" ", maxEntry+1) + "]}}\n\n", nil},
		"much that keeps it alive":   {strings.Repeat(": x\n", maxUnknown) + "data: " + list + "\n\n", strings.Repeat(": x\n", maxUnknown) + "data: " + left + "\n\n", nil},
		"a batch, with a list in it": {"data: [" + progress + "," + list + "]\n\n", "data: [" + progress + "," + left + "]\n\n", nil},
	} {
		got, _, err := answered(t, eventsType, but("x"), tt.content)
		if !errors.Is(err, tt.kind) || err == nil && got != tt.want || strings.Contains(got, `"x"`) {
			t.Errorf("%s: %.200q, %v; want %.200q, %v", name, got, err, tt.want, tt.kind)
		}
	}
}

func TestSaid(t *testing.T) {
	for name, tt := range map[string]struct {
		content string
		want    func(*inspect.Said)
	}{
		"a result":     {reply(`{"content":[],"isError":false}`), func(*inspect.Said) {}},
		"a tool fails": {reply(`{"content":[{"isError":false}],"isError":true}`), func(s *inspect.Said) { s.Failed, s.Fault = true, "tool_error" }},
		"an error":     {`{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}`, func(s *inspect.Said) { s.Failed, s.Fault = true, "error -32601" }},
		"a list":       {reply(`{"tools":[{"name":"a"},{"name":"b"}]}`), func(s *inspect.Said) { s.Listed = 2 }},
	} {
		want := inspect.NewSaid()
		tt.want(&want)
		for _, rules := range []*inspect.Rules{nil, but()} {
			for media, content := range map[string]string{jsonType: tt.content, eventsType: event(progress) + event(tt.content)} {
				got, said, err := answered(t, media, rules, content)
				if diff := cmp.Diff(&want, said); diff != "" || err != nil || got != content {
					t.Errorf("%s: %s, %v (-want +got):\n%s", name, got, err, diff)
				}
			}
		}
	}
}

// Who only looks at a stream finds what it says behind an event that is no message.
func TestSaidBehindOthers(t *testing.T) {
	for _, odd := range []string{"data: [DONE]\n\n", "data: {\"result\":\n\n", "data: {\"id\":1,\rid: 2\n\n", "data: " + reply(`{"tools":[7]}`) + "\n\n"} {
		content := odd + event(reply(`{"isError":true}`))
		got, said, err := answered(t, eventsType, nil, content)
		if got != content || err != nil || said.Fault != "tool_error" {
			t.Errorf("%q: %q, %+v, %v", odd, got, said, err)
		}
	}
}

func TestShapes(t *testing.T) {
	for _, tt := range []struct {
		types  []string
		is     shape
		answer bool // with rules
	}{
		{nil, other, false},
		{[]string{"text/plain"}, other, false},
		{[]string{"text/html, image/png"}, other, false},
		{[]string{"application/json"}, asJSON, true},
		{[]string{"Application/JSON ; charset=UTF-8"}, asJSON, true},
		{[]string{"text/event-stream;charset=utf-8"}, asEvents, true},
		{[]string{"text/event-stream", "application/json"}, either, true},
		{[]string{"text/plain, text/event-stream"}, either, true},
		{[]string{"application/json; charset=utf-16"}, either, true},
	} {
		h := answerOf(tt.types...)
		a := Protocol{}.Answer(nil, h, but())
		if shaped(h) != tt.is || (a != nil) != tt.answer || (Protocol{}).MayShorten(h, but()) != tt.answer || (Protocol{}).MayShorten(h, nil) {
			t.Errorf("%q is %d, %T", tt.types, shaped(h), a)
		}
		if tt.is == either {
			if out, err := a.Pass([]byte(reply(`{}`))); !errors.Is(err, inspect.ErrAmbiguous) || len(out) > 0 {
				t.Errorf("%q: %s, %v", tt.types, out, err)
			}
			if (Protocol{}).Answer(nil, h, nil) != nil {
				t.Errorf("%q is read", tt.types)
			}
		}
	}
	for media, a := range map[string]inspect.Answer{jsonType: newBody(but()), eventsType: newStream(but())} {
		if out, err := a.End(); len(out) > 0 || err != nil {
			t.Errorf("nothing as %s: %s, %v", media, out, err)
		}
	}
}
