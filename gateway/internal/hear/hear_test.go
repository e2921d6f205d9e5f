package hear

import (
	"bytes"
	"compress/gzip"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/anthropic"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/mcp"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/openai"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func answered(media string, fields ...l7.Field) *l7.ResponseHead {
	return &l7.ResponseHead{Status: 200, Fields: append(fields, l7.Field{Name: "content-type", Value: media})}
}

func chat() []inspect.Ask {
	ask := inspect.NewAsk()
	ask.Operation = openai.Chat
	return []inspect.Ask{ask}
}

const (
	piece = `data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"x"}}]}` + "\n\n"
	usage = `data: {"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":0}}` + "\n\n"
)

// TestNothing: what nobody reads passes.
func TestNothing(t *testing.T) {
	var none *Answer
	if out, err := none.Pass([]byte("x")); string(out) != "x" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := none.End(); out != nil || err != nil || none.Record() != nil || none.Forbidden() != nil {
		t.Errorf("%q, %v", out, err)
	}
	if New(openai.Protocol{}, nil, answered("text/html"), nil, time.Now()) != nil {
		t.Error("a page is read")
	}
	unknown := answered("text/event-stream", l7.Field{Name: "content-encoding", Value: "own"})
	if New(openai.Protocol{}, chat(), unknown, nil, time.Now()) != nil {
		t.Error("a coding that nobody knows is read")
	}
}

// TestTimes: the first piece of content and the longest gap between two are timed, from
// the crossing's opening.
func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(openai.Protocol{}, chat(), answered("text/event-stream"), nil, time.Now())
		for _, pause := range []time.Duration{2, 1, 5, 3} {
			<-time.After(pause * time.Second)
			if out, err := a.Pass([]byte(piece)); string(out) != piece || err != nil {
				t.Fatalf("%q, %v", out, err)
			}
		}
		<-time.After(time.Minute)
		a.Pass([]byte(usage))
		r := a.Record()
		if r.GetFirstToken().AsDuration() != 2*time.Second || r.GetLongestGap().AsDuration() != 5*time.Second || r.GetPieces() != 4 {
			t.Errorf("it says %v", r)
		}
		if tokens := r.GetTokens(); tokens.GetSource() != crossingv1.Tokens_REPORTED || tokens.Output == nil || tokens.GetOutput() != 0 || tokens.GetInput() != 3 {
			t.Errorf("tokens %v", tokens)
		}
	})
}

// TestCoded: an answer in a content coding is read, and goes on as it came.
func TestCoded(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte(piece + piece))
	z.Close()
	a := New(openai.Protocol{}, chat(), answered("text/event-stream", l7.Field{Name: "content-encoding", Value: "gzip"}), nil, time.Now())
	out, err := a.Pass(packed.Bytes())
	if !bytes.Equal(out, packed.Bytes()) || err != nil {
		t.Errorf("%d of %d bytes, %v", len(out), packed.Len(), err)
	}
	a.End()
	if tokens := a.Record().GetTokens(); tokens.GetSource() != crossingv1.Tokens_COUNTED || tokens.GetOutput() != 2 {
		t.Errorf("tokens %v", tokens)
	}
}

// TestCodedResults: sums of what could be decoded are no report, where nobody can tell
// whether that was all.
func TestCodedResults(t *testing.T) {
	const line = `{"result":{"type":"succeeded","message":{"model":"m","usage":{"input_tokens":3,"output_tokens":4}}}}` + "\n"
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte(line + line))
	z.Flush()
	cut := packed.Len()
	z.Close()
	ask := inspect.NewAsk()
	ask.Operation = anthropic.BatchResults
	for source, content := range map[crossingv1.Tokens_Source][]byte{
		crossingv1.Tokens_REPORTED: packed.Bytes(),
		crossingv1.Tokens_COUNTED:  packed.Bytes()[:cut],
	} {
		head := answered("application/x-jsonl", l7.Field{Name: "content-encoding", Value: "gzip"})
		a := New(anthropic.Protocol{}, []inspect.Ask{ask}, head, nil, time.Now())
		if out, err := a.Pass(content); !bytes.Equal(out, content) || err != nil {
			t.Errorf("%d of %d bytes, %v", len(out), len(content), err)
		}
		if out, err := a.End(); out != nil || err != nil {
			t.Errorf("%q, %v", out, err)
		}
		if tokens := a.Record().GetTokens(); tokens.GetSource() != source || tokens.GetInput() != 6 || tokens.GetOutput() != 8 {
			t.Errorf("%v: tokens %v", source, tokens)
		}
	}
}

// TestShortened: where something may be left out, the head says nothing of the whole, and
// a coding that hides it is refused.
func TestShortened(t *testing.T) {
	rules := &inspect.Rules{May: func(*inspect.Ask) bool { return true }, Pinned: func(string, [32]byte) bool { return true }}
	head := answered("application/json", l7.Field{Name: "content-length", Value: "9"}, l7.Field{Name: "etag", Value: `"x"`})
	if New(mcp.Protocol{}, nil, head, rules, time.Now()) == nil || head.Fields.Has("content-length") || head.Fields.Has("etag") {
		t.Errorf("head %v", head.Fields)
	}
	coded := New(mcp.Protocol{}, nil, answered("application/json", l7.Field{Name: "content-encoding", Value: "gzip"}), rules, time.Now())
	if _, err := coded.Pass([]byte("x")); !errors.Is(err, inspect.ErrUnreadable) || !errors.Is(coded.Forbidden(), inspect.ErrUnreadable) {
		t.Errorf("%v", err)
	}
}
