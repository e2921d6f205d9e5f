package openai

import (
	"errors"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

func TestRoute(t *testing.T) {
	long := strings.Repeat("m", inspect.MaxText+1)
	for _, tt := range []struct {
		method, path     string
		operation, model string
		kind             error
	}{
		{"POST", "/v1/chat/completions", Chat, "", nil},
		{"POST", "/v1/chat/completions?x=y", Chat, "", nil},
		{"POST", "/v1/responses", Responses, "", nil},
		{"POST", "/v1/completions", TextCompletion, "", nil},
		{"POST", "/v1/embeddings", Embeddings, "", nil},
		{"POST", "/openai/v1/responses?api-version=preview", Responses, "", nil},
		{"POST", "/openai/deployments/gpt-5/chat/completions?api-version=2025-04-01", Chat, "gpt-5", nil},
		{"POST", "/openai/deployments/gpt%2D5/embeddings", Embeddings, "gpt-5", nil},
		{"POST", "/openai/deployments/gpt-5/completions", TextCompletion, "gpt-5", nil},
		{"POST", "/openai/deployments/chat/completions", TextCompletion, "chat", nil},
		{"POST", "/v1/%63hat/completions", Chat, "", nil},
		{"GET", "/v1/models", ListModels, "", nil},
		{"GET", "/v1/models/gpt-5", GetModel, "gpt-5", nil},
		{"GET", "/v1/models/ft:gpt-5:org::1", GetModel, "ft:gpt-5:org::1", nil},
		{"GET", "/v1/models/meta/llama", GetModel, "meta/llama", nil},
		{"GET", "/v1/models/meta%2Fllama", GetModel, "meta/llama", nil},
		{"GET", "/v1/responses/resp_1", GetResponse, "", nil},
		{"GET", "/v1/responses/resp_1?stream=true&starting_after=3", GetResponse, "", nil},
		{"POST", "/v1/responses/resp_1/cancel", CancelResponse, "", nil},
		{"DELETE", "/v1/responses/resp_1", DeleteResponse, "", nil},

		{"POST", "/v1/chat/completions?model=gpt-5", Chat, "gpt-5", nil},
		{"POST", "/v1/chat/completions?model=gpt-5&model=gpt-5", Chat, "gpt-5", nil},
		{"POST", "/v1/chat/completions?mod%65l=meta%2Fllama+3", Chat, "meta/llama 3", nil},
		{"POST", "/v1/chat/completions?models=x;y=z", Chat, "", nil},
		{"POST", "/openai/deployments/gpt-5/chat/completions?model=gpt-5", Chat, "gpt-5", nil},
		{"POST", "/v1/chat/completions?model=a&model=b", Chat, "", inspect.ErrAmbiguous},
		{"POST", "/v1/chat/completions?Model=a", Chat, "", inspect.ErrAmbiguous},
		{"POST", "/v1/chat/completions?x=1;model=a", Chat, "", inspect.ErrAmbiguous},
		{"POST", "/v1/chat/completions?model=a;b", Chat, "", inspect.ErrAmbiguous},
		{"POST", "/openai/deployments/a/chat/completions?model=b", Chat, "a", inspect.ErrAmbiguous},
		{"GET", "/v1/models/a?model=b", GetModel, "a", inspect.ErrAmbiguous},
		{"POST", "/v1/chat/completions?model=", Chat, "", inspect.ErrUnreadable},
		{"POST", "/v1/chat/completions?model=%zz", Chat, "", inspect.ErrUnreadable},
		{"POST", "/v1/chat/completions?%zz=m", Chat, "", inspect.ErrUnreadable},
		{"POST", "/v1/chat/completions?model=%00", Chat, "", inspect.ErrUnreadable},
		{"POST", "/openai/deployments/%ff/chat/completions", Chat, "", inspect.ErrUnreadable},
		{"GET", "/v1/models/" + long, GetModel, "", inspect.ErrUnreadable},

		{"GET", "/v1/chat/completions", "", "", nil},
		{"post", "/v1/chat/completions", "", "", nil},
		{"POST", "/chat/completions", "", "", nil},
		{"POST", "/api/v1/chat/completions", "", "", nil},
		{"POST", "//v1/chat/completions", "", "", nil},
		{"POST", "/v1//chat/completions", "", "", nil},
		{"POST", "/v1/chat/completions/", "", "", nil},
		{"POST", "/v1/Chat/completions", "", "", nil},
		{"POST", "/v1/chat%2Fcompletions", "", "", nil},
		{"POST", "/v1/x/../chat/completions", "", "", nil},
		{"POST", "/v1/./chat/completions", "", "", nil},
		{"POST", "/v1/%2e%2e/chat/completions", "", "", nil},
		{"POST", "/v1/chat/completions%zz", "", "", nil},
		{"POST", "/v1/responses/resp_1", "", "", nil},
		{"POST", "/v1/responses/compact", "", "", nil},
		{"POST", "/v1/responses/x%2Fcancel", "", "", nil},
		{"GET", "/v1/responses/resp_1/input_items", "", "", nil},
		{"DELETE", "/v1/models/ft:gpt-5", "", "", nil},
		{"GET", "/v1/models/../x", "", "", nil},
		{"POST", "/openai/deployments/a%2Fb/chat/completions", "", "", nil},
		{"GET", "/openai/deployments/a/models", "", "", nil},
		{"GET", "/openai/deployments/a/responses/r", "", "", nil},
		{"POST", "/v1/images/generations", "", "", nil},
		{"POST", "/v1/batches", "", "", nil}, // whose models are in a file
		{"GET", "/v1/files/file_1/content", "", "", nil},
		{"GET", "/v1", "", "", nil},
		{"GET", "/", "", "", nil},
		{"OPTIONS", "*", "", "", nil},
		{"CONNECT", "", "", "", nil},
		{"GET", "/openai", "", "", nil},
		{"GET", "/openai/deployments", "", "", nil},
	} {
		ask, err := route(&l7.RequestHead{Method: tt.method, Path: tt.path})
		if ask.Operation != tt.operation || ask.Model != tt.model || (err == nil) != (tt.kind == nil) || !errors.Is(err, tt.kind) {
			t.Errorf("%s %.80s is %q of %q, %v; want %q of %q, %v", tt.method, tt.path, ask.Operation, ask.Model, err, tt.operation, tt.model, tt.kind)
		}
	}
}

func TestWhatHasARequest(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		reads        bool
	}{
		{"POST", "/v1/chat/completions", true},
		{"POST", "/v1/responses", true},
		{"POST", "/v1/completions", true},
		{"POST", "/v1/embeddings", true},
		{"GET", "/v1/models/a?model=b", true}, // to say that it contradicts itself
		{"GET", "/v1/models", false},
		{"GET", "/v1/models/a", false},
		{"GET", "/v1/responses/r", false},
		{"POST", "/v1/responses/r/cancel", false},
		{"DELETE", "/v1/responses/r", false},
		{"POST", "/v1/files", false},
	} {
		if r, _ := (Protocol{}).Request(&l7.RequestHead{Method: tt.method, Path: tt.path}); (r != nil) != tt.reads {
			t.Errorf("%s %s: a request: %v, want %v", tt.method, tt.path, r != nil, tt.reads)
		}
	}
}
