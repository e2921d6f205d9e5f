package sdk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/openai/openai-go/v3"
)

// call is one that a client in Go makes, and what it gives.
type call struct {
	name string
	make func() (any, error)
}

// tell makes calls one after the other, all or those that are named, as tell.mjs does.
func tell(t *testing.T, calls []call, names []string) (all []outcome) {
	t.Helper()
	for _, c := range calls {
		if len(names) > 0 && !slices.Contains(names, c.name) {
			continue
		}
		got, err := c.make()
		if err != nil {
			all = append(all, outcome{Call: c.name, Error: raisedBy(err)})
			continue
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		all = append(all, outcome{Call: c.name, Result: text})
	}
	return all
}

// raisedBy is an error as a program in Go can take it apart.
func raisedBy(err error) *raised {
	if e, ok := errors.AsType[*openai.Error](err); ok {
		return &raised{
			Class: "openai.Error", Status: e.StatusCode, Message: e.Message, Type: e.Type, Code: e.Code, Param: e.Param,
			Body: raw(e.RawJSON()), Request: e.Response.Header.Get("X-Request-Id"), RetryAfter: e.Response.Header.Get("Retry-After"),
		}
	}
	if e, ok := errors.AsType[*anthropic.Error](err); ok {
		return &raised{
			Class: "anthropic.Error", Status: e.StatusCode, Type: string(e.Type()),
			Body: raw(e.RawJSON()), Request: e.RequestID, RetryAfter: e.Response.Header.Get("Retry-After"),
		}
	}
	if e, ok := errors.AsType[*jsonrpc.Error](err); ok {
		return &raised{Class: "jsonrpc.Error", Code: fmt.Sprint(e.Code), Message: e.Message, Data: e.Data}
	}
	// How a broken stream is called is a matter of the HTTP version.
	if errors.Is(err, io.ErrUnexpectedEOF) || strings.HasPrefix(err.Error(), "stream error: ") {
		return &raised{Class: "broken off"}
	}
	return &raised{Class: fmt.Sprintf("%T", err), Message: err.Error()}
}

// raw is text as it is, in a document.
func raw(text string) json.RawMessage {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	quoted, _ := json.Marshal(text) // a string: it cannot fail
	return quoted
}

// gathered is what a stream brought.
type gathered struct {
	Events []json.RawMessage
	Error  *raised `json:",omitempty"`
	Sum    any     `json:",omitempty"`
}

// stream is what the SDKs have in common of theirs.
type stream[T any] interface {
	Next() bool
	Current() T
	Err() error
	Close() error
}

// gather reads a stream to its end, or to its error, which is told with the events.
func gather[T interface{ RawJSON() string }](s stream[T], each func(T)) gathered {
	defer s.Close()
	var g gathered
	for s.Next() {
		event := s.Current()
		g.Events = append(g.Events, raw(event.RawJSON()))
		each(event)
	}
	if err := s.Err(); err != nil {
		g.Error = raisedBy(err)
	}
	return g
}

// leave reads n events of a stream and goes away.
func leave[T any](s stream[T], n int) (any, error) {
	read := 0
	for read < n && s.Next() {
		read++
	}
	return map[string]int{"read": read}, errors.Join(s.Err(), s.Close())
}

// from is the HTTP client of a place, or one of its own that ends with the test.
func (at *place) from(t *testing.T) *http.Client {
	if at.http != nil {
		return at.http
	}
	tr := new(http.Transport)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}
