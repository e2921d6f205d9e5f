package crossing

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// chat is what a request asks of a model.
func chat() *crossingv1.Operation {
	return &crossingv1.Operation{
		Protocol: "openai", Name: "chat", Service: "chat", Authority: "llm.azure.mesh:8000", Request: "POST /v1/chat/completions",
		ModelRequested: "gpt-oss-20b", DataClass: "internal", DataClassSource: crossingv1.Operation_LABEL,
		Labeler: "spiffe://onprem.acme.example/dlp/labeler", MaxTokens: proto.Uint32(512), Offered: []string{"search", "fetch"},
	}
}

// batch is a request of two operations.
func batch() *crossingv1.Operation {
	return &crossingv1.Operation{
		Protocol: "mcp", Service: "mcp", Authority: "retriever.aws.mesh:8000", Request: "POST /mcp", Session: "5c0ffee0c0ffee0c",
		Messages: []*crossingv1.Operation_Message{
			{Name: "call_tool", Tool: "search", Intent: "search-the-corpus", Decision: crossingv1.Decision_ALLOW},
			{Name: "call_tool", Tool: "drop_index", Decision: crossingv1.Decision_DENY},
		},
	}
}

// spoken is what an answer said.
func spoken() *crossingv1.Said {
	return &crossingv1.Said{
		Id: "chatcmpl-7", ModelServed: "gpt-oss-20b", FinishReason: "stop", Pieces: 187,
		Tokens: &crossingv1.Tokens{
			Input: proto.Uint32(412), Output: proto.Uint32(187), CacheRead: proto.Uint32(0), Source: crossingv1.Tokens_REPORTED,
		},
		FirstToken: durationpb.New(213 * time.Millisecond), LongestGap: durationpb.New(31 * time.Millisecond), Cost: proto.Uint64(599),
	}
}

var askChanges = []changed{
	{"operation.request", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.Request = "POST /v1/responses" }},
	{"operation.modelRequested", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.ModelRequested += "b" }},
	{"operation.modelVersion", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.ModelVersion = "2" }},
	{"operation.tool", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.Tool = "search" }},
	{"operation.agent", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.Agent = "planner" }},
	{"operation.dataClass", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.DataClass = "public" }},
	{"operation.dataClassSource", func(h *crossingv1.Half, _ *crossingv1.Close) {
		h.Operation.DataClassSource = crossingv1.Operation_WORKLOAD
	}},
	{"operation.labeler", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.Labeler += "2" }},
	{"operation.maxTokens", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.MaxTokens = proto.Uint32(513) }},
	{"operation.maxTokens", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.MaxTokens = nil }},
	{"operation.maxTokens", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.MaxTokens = proto.Uint32(0) }},
	{"operation.session", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.Session = "5c0ffee0c0ffee0d" }},
	{"operation.messages", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.Messages = batch().Messages }},
	{"operation.artifact", func(h *crossingv1.Half, _ *crossingv1.Close) { h.Operation.Artifact = new(crossingv1.Artifact) }},
	{"operation.artifact", func(h *crossingv1.Half, _ *crossingv1.Close) {
		h.Operation.Artifact = &crossingv1.Artifact{Source: "org/base"}
	}},
}

var saidChanges = []changed{
	{"said", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Said = nil }},
	{"said.id", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Said.Id += "1" }},
	{"operation.modelServed", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Said.ModelServed = "gpt-oss-120b" }},
	{"operation.finishReason", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Said.FinishReason = "length" }},
	{"said.failed", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Said.Failed = true }},
	{"said.fault", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Said.Fault = "overloaded_error" }},
	{"operation.tokens", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Said.Tokens.Output = proto.Uint32(188) }},
	{"operation.tokens", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Said.Tokens.CacheRead = nil }},
	{"operation.tokens", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Said.Tokens.Reasoning = proto.Uint32(0) }},
	{"operation.tokens", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Said.Tokens.Source = crossingv1.Tokens_COUNTED }},
	{"operation.tokens", func(_ *crossingv1.Half, c *crossingv1.Close) { c.Said.Tokens = nil }},
}

// TestAgreedOnAsking: a request of an AI service says it in its agreed bytes, and what
// is each gateway's own is not in them.
func TestAgreedOnAsking(t *testing.T) {
	e, i := egressHalf(), ingressHalf()
	e.Operation = chat()
	if d := OpenDifferences(e, i); len(d) != 7 || OpenDigest(e) == OpenDigest(i) {
		t.Errorf("what one alone says of an AI service differs in %v", d)
	}
	i.Operation = chat()
	i.Operation.Offered = nil
	if d := OpenDifferences(e, i); len(d) > 0 || OpenDigest(e) != OpenDigest(i) {
		t.Errorf("what is offered differs in %v", d)
	}
	e.Operation, i.Operation = batch(), batch()
	i.Operation.Messages[0].Intent = "another"
	if d := OpenDifferences(e, i); len(d) > 0 || OpenDigest(e) != OpenDigest(i) {
		t.Errorf("the intents of a batch differ in %v", d)
	}
	for name, change := range map[string]func(o *crossingv1.Operation){
		"names":     func(o *crossingv1.Operation) { o.Messages[1].Name = "ping" },
		"tools":     func(o *crossingv1.Operation) { o.Messages[1].Tool = "search" },
		"decisions": func(o *crossingv1.Operation) { o.Messages[1].Decision = crossingv1.Decision_ALLOW },
		"order":     func(o *crossingv1.Operation) { slices.Reverse(o.Messages) },
		"one more":  func(o *crossingv1.Operation) { o.Messages = append(o.Messages, o.Messages[0]) },
		"one moved": func(o *crossingv1.Operation) { o.Messages[0].Name, o.Messages[0].Tool = "call_tools", "earch" },
	} {
		i.Operation = batch()
		change(i.Operation)
		if d := OpenDifferences(e, i); !slices.Equal(d, []string{"operation.messages"}) || OpenDigest(e) == OpenDigest(i) {
			t.Errorf("%s: the batches differ in %v", name, d)
		}
	}
	i.End.Decision = crossingv1.Decision_DENY // it may not have come so far as to read it
	if d := OpenDifferences(e, i); len(d) > 0 || AppendAgreedOpen(nil, i)[0] != agreedDenied {
		t.Errorf("a denial at the ingress gateway differs in %v", d)
	}
}

// TestAgreedOnAnswers: what both read in a whole answer, and no more.
func TestAgreedOnAnswers(t *testing.T) {
	e, i := closing(crossingv1.Side_EGRESS), closing(crossingv1.Side_INGRESS)
	e.Said, i.Said = spoken(), spoken()
	i.Said.FirstToken, i.Said.LongestGap, i.Said.Pieces, i.Said.Cost = nil, nil, 3, nil
	i.Said.ToolsListed, i.Said.ToolsHidden, i.Said.ToolsChanged, i.Said.MessagesStopped = 9, 2, []string{"x"}, 1
	if d := CloseDifferences(e, i, false); len(d) > 0 || CloseDigest(e) != CloseDigest(i) {
		t.Errorf("what is each gateway's own differs in %v", d)
	}
	for _, s := range []*crossingv1.Said{e.Said, i.Said} {
		s.Tokens.Source = crossingv1.Tokens_COUNTED
	}
	i.Said.Tokens.Output = proto.Uint32(7)
	if d := CloseDifferences(e, i, false); len(d) > 0 || CloseDigest(e) != CloseDigest(i) {
		t.Errorf("what was counted differs in %v", d)
	}
	i.Said = nil
	for _, c := range []*crossingv1.Close{e, i} {
		c.Cause = crossingv1.Cause_CALLER_GONE
	}
	if d := CloseDifferences(e, i, false); len(d) > 0 || CloseDigest(e) != CloseDigest(i) {
		t.Errorf("an answer that broke off differs in %v", d)
	}
}

// TestPlainCrossingsAgreeAsBefore: what says nothing of an AI service has the bytes that
// it always had.
func TestPlainCrossingsAgreeAsBefore(t *testing.T) {
	h, c := egressHalf(), closing(crossingv1.Side_EGRESS)
	h.Operation.Offered = []string{"x"} // each gateway's own
	if b := AppendAgreedOpen(nil, h); b[0] != 1 || !strings.HasSuffix(string(b), h.Operation.Authority) {
		t.Errorf("an opening's agreed bytes are %x", b)
	}
	if b := AppendAgreedClose(nil, c); b[0] != 3 || b[len(b)-1] != 0 {
		t.Errorf("an end's agreed bytes are %x", b)
	}
	h.Operation.Request, c.Said = "POST /mcp", new(crossingv1.Said)
	if a, b := AppendAgreedOpen(nil, h), AppendAgreedClose(nil, c); a[0] != 5 || b[0] != 6 {
		t.Errorf("the agreed bytes of an AI service begin with %d and %d", a[0], b[0])
	}
}

// TestJoinAnswers: the record's operation is what was asked and what was answered.
func TestJoinAnswers(t *testing.T) {
	far := spoken()
	far.ModelServed, far.FirstToken = "gpt-oss-120b", durationpb.New(time.Second)
	for name, c := range map[string]struct {
		change func(e, i *Account)
		want   *crossingv1.Said
	}{
		"both":         {func(_, _ *Account) {}, spoken()},
		"egress alone": {func(_, i *Account) { i.Close.Said = nil }, spoken()},
		"ingress alone": {func(e, _ *Account) { e.Close.Said = nil }, &crossingv1.Said{
			ModelServed: "gpt-oss-120b", FinishReason: "stop", Tokens: spoken().Tokens,
		}},
		"egress missing": {func(e, _ *Account) { *e = Account{} }, &crossingv1.Said{
			ModelServed: "gpt-oss-120b", FinishReason: "stop", Tokens: spoken().Tokens,
		}},
		"none":           {func(e, i *Account) { e.Close.Said, i.Close.Said = nil, nil }, new(crossingv1.Said)},
		"not ended":      {func(e, i *Account) { e.Close, i.Close = nil, nil }, new(crossingv1.Said)},
		"nothing in it":  {func(e, _ *Account) { e.Close.Said = new(crossingv1.Said) }, new(crossingv1.Said)},
		"without tokens": {func(e, _ *Account) { e.Close.Said = &crossingv1.Said{FinishReason: "x"} }, &crossingv1.Said{FinishReason: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			e, i := accounts()
			e.Open.Operation, i.Open.Operation = chat(), chat()
			e.Close.Said, i.Close.Said = spoken(), proto.CloneOf(far)
			c.change(e, i)
			want := chat()
			want.Streamed = e.Close.GetStreamed() || i.Close.GetStreamed()
			want.ModelServed, want.FinishReason = c.want.ModelServed, c.want.FinishReason
			want.Tokens, want.FirstToken = c.want.Tokens, c.want.FirstToken
			r := Join(e, i)
			if d := cmp.Diff(want, r.GetOperation(), protocmp.Transform()); d != "" {
				t.Errorf("operation (-want +got):\n%s", d)
			}
			if !proto.Equal(r.GetEgress().GetSaid(), e.Close.GetSaid()) || !proto.Equal(r.GetIngress().GetSaid(), i.Close.GetSaid()) {
				t.Errorf("the ends say %v and %v", r.GetEgress().GetSaid(), r.GetIngress().GetSaid())
			}
		})
	}
}

// tensors are so many of that name, each of so many dimensions.
func tensors(n int, name string, dimensions int) (all []*crossingv1.Tensor) {
	for range n {
		shape := make([]int64, dimensions)
		for i := range shape {
			shape[i] = math.MaxInt64
		}
		all = append(all, &crossingv1.Tensor{Name: name, Datatype: "FP32", Shape: shape, Bytes: proto.Uint64(math.MaxUint64)})
	}
	return all
}

// TestCheckAsk: what may be said of what an AI service is asked for.
func TestCheckAsk(t *testing.T) {
	long := strings.Repeat("x", maxWord+1)
	for name, c := range map[string]struct {
		change func(*crossingv1.Operation)
		fault  string
	}{
		"a chat":                    {func(*crossingv1.Operation) {}, ""},
		"another alphabet":          {func(o *crossingv1.Operation) { o.Tool = "検索" }, ""},
		"a batch":                   {func(o *crossingv1.Operation) { proto.Reset(o); proto.Merge(o, batch()) }, ""},
		"at most 0 tokens":          {func(o *crossingv1.Operation) { o.MaxTokens = proto.Uint32(0) }, ""},
		"a model served":            {func(o *crossingv1.Operation) { o.ModelServed = "x" }, "before its end"},
		"a finish":                  {func(o *crossingv1.Operation) { o.FinishReason = "stop" }, "before its end"},
		"tokens":                    {func(o *crossingv1.Operation) { o.Tokens = new(crossingv1.Tokens) }, "before its end"},
		"a first token":             {func(o *crossingv1.Operation) { o.FirstToken = new(durationpb.Duration) }, "before its end"},
		"a session's id":            {func(o *crossingv1.Operation) { o.Session = "c2Vzc2lvbg" }, "session"},
		"a labeler that is nobody":  {func(o *crossingv1.Operation) { o.Labeler = "somebody" }, "scheme"},
		"an endless model":          {func(o *crossingv1.Operation) { o.ModelRequested = long }, "name"},
		"a tool that moves cursors": {func(o *crossingv1.Operation) { o.Tool = "\x1b[2J" }, "name"},
		"an agent of two lines":     {func(o *crossingv1.Operation) { o.Agent = "a\nb" }, "name"},
		"an endless class":          {func(o *crossingv1.Operation) { o.DataClass = long }, "name"},
		"an endless offer":          {func(o *crossingv1.Operation) { o.Offered[1] = long }, "name"},
		"too many offers":           {func(o *crossingv1.Operation) { o.Offered = make([]string, maxOffered+1) }, "too much"},
		"an endless message":        {func(o *crossingv1.Operation) { o.Messages = []*crossingv1.Operation_Message{{Tool: long}} }, "name"},
		"an endless artifact":       {func(o *crossingv1.Operation) { o.Artifact = &crossingv1.Artifact{Source: long} }, "name"},
		"an artifact of two lines":  {func(o *crossingv1.Operation) { o.Artifact = &crossingv1.Artifact{Name: "a\nb"} }, "name"},
		"an endless version":        {func(o *crossingv1.Operation) { o.ModelVersion = long }, "name"},
		"an input":                  {func(o *crossingv1.Operation) { o.Inputs = tensors(1, "x", maxDimensions) }, ""},
		"too many inputs":           {func(o *crossingv1.Operation) { o.Inputs = tensors(maxTensors+1, "x", 1) }, "tensors"},
		"too many dimensions":       {func(o *crossingv1.Operation) { o.Inputs = tensors(1, "x", maxDimensions+1) }, "tensors"},
		"an endless input":          {func(o *crossingv1.Operation) { o.Inputs = tensors(1, long, 1) }, "tensors"},
		"too many messages": {func(o *crossingv1.Operation) {
			o.Messages = make([]*crossingv1.Operation_Message, maxMessages+1)
		}, "too much"},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckFrame(badOpen(func(h *crossingv1.Half) { h.Operation = chat(); c.change(h.Operation) }), egressID)
			if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("CheckFrame = %v, want %q", err, c.fault)
			}
		})
	}
	if err := CheckFrame(badOpen(func(h *crossingv1.Half) { h.End.Said = spoken() }), egressID); err == nil {
		t.Error("an opening has an answer")
	}
}

// TestCheckSaid: what may be said of an answer.
func TestCheckSaid(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*crossingv1.Said)
		fault  string
	}{
		"an answer":              {func(*crossingv1.Said) {}, ""},
		"nothing":                {func(s *crossingv1.Said) { proto.Reset(s) }, ""},
		"counted":                {func(s *crossingv1.Said) { s.Tokens.Source = crossingv1.Tokens_COUNTED }, ""},
		"no tokens":              {func(s *crossingv1.Said) { s.Tokens = nil }, ""},
		"tokens by nobody":       {func(s *crossingv1.Said) { s.Tokens.Source = 0 }, "who counted"},
		"0 tokens by nobody":     {func(s *crossingv1.Said) { s.Tokens = &crossingv1.Tokens{Reasoning: proto.Uint32(0)} }, "who counted"},
		"an endless id":          {func(s *crossingv1.Said) { s.Id = strings.Repeat("x", maxWord+1) }, "name"},
		"a model in two lines":   {func(s *crossingv1.Said) { s.ModelServed = "a\nb" }, "name"},
		"a finish that deletes":  {func(s *crossingv1.Said) { s.FinishReason = "\x7f" }, "name"},
		"a fault that deletes":   {func(s *crossingv1.Said) { s.Fault = "\u0085" }, "name"},
		"a changed tool's":       {func(s *crossingv1.Said) { s.ToolsChanged = []string{"a", "\x00"} }, "name"},
		"a token before asking":  {func(s *crossingv1.Said) { s.FirstToken = durationpb.New(-1) }, "duration"},
		"a gap of many years":    {func(s *crossingv1.Said) { s.LongestGap = durationpb.New(1 << 62) }, "duration"},
		"an output":              {func(s *crossingv1.Said) { s.Outputs = tensors(maxTensors, "y", maxDimensions) }, ""},
		"too many outputs":       {func(s *crossingv1.Said) { s.Outputs = tensors(maxTensors+1, "y", 1) }, "tensors"},
		"an output in two lines": {func(s *crossingv1.Said) { s.Outputs = tensors(1, "a\nb", 1) }, "tensors"},
		"an answer without cost": {func(s *crossingv1.Said) { s.Cost = nil }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := egressFrame(nil, closing(crossingv1.Side_EGRESS))
			f.Close.Said = spoken()
			c.change(f.Close.Said)
			err := CheckFrame(f, egressID)
			if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("CheckFrame = %v, want %q", err, c.fault)
			}
		})
	}
}

// TestWord: whatever a caller says, its word fits a record.
func TestWord(t *testing.T) {
	for s, want := range map[string]string{
		"":                             "",
		"gpt-oss-20b":                  "gpt-oss-20b",
		"検索":                           "検索",
		"a\x1b[2J\n":                   `a\x1b[2J\n`,
		"\xff":                         `\xff`,
		strings.Repeat("x", 300):       strings.Repeat("x", maxWord),
		strings.Repeat("é", 300):       strings.Repeat("é", maxWord/2),
		strings.Repeat("x", 255) + "é": strings.Repeat("x", 255),
	} {
		if got := Word(s); got != want || !areWords(got) {
			t.Errorf("Word(%q) = %q, want %q", s, got, want)
		}
	}
}

func FuzzWord(f *testing.F) {
	f.Add("gpt-oss-20b")
	f.Add(strings.Repeat("\xf0\x9f", 200) + "\x1b")
	f.Fuzz(func(t *testing.T, s string) {
		got := Word(s)
		if !areWords(got) || !utf8.ValidString(got) || Word(got) != got {
			t.Errorf("Word(%q) = %q", s, got)
		}
	})
}

// TestFullestAskFits: an opening with as much as may be listed is still a frame.
func TestFullestAskFits(t *testing.T) {
	h := egressHalf()
	h.Operation = chat()
	h.Operation.Offered = nil
	for n := range maxOffered {
		h.Operation.Offered = append(h.Operation.Offered, fmt.Sprintf("%0*d", maxWord, n))
	}
	for n := range maxMessages {
		h.Operation.Messages = append(h.Operation.Messages, &crossingv1.Operation_Message{
			Name: "call_tool", Tool: fmt.Sprintf("%0*d", maxWord, n), Intent: strings.Repeat("i", maxWord), Decision: crossingv1.Decision_ALLOW,
		})
	}
	h.Operation.Inputs = tensors(maxTensors, strings.Repeat("x", maxWord), maxDimensions)
	f := egressFrame(h, nil)
	b, err := MarshalFrame(f)
	if err != nil || CheckFrame(f, egressID) != nil {
		t.Fatalf("%d bytes: %v, %v", len(b), err, CheckFrame(f, egressID))
	}
}
