// Package kserve reads what inference servers are asked for that speak the Open Inference
// Protocol, version 2, over REST and gRPC: KServe's, and Triton's with its extensions for
// binary tensors, generated text, model repositories and shared memory. It holds nothing
// back and changes nothing. Of tensors it tells names, types, shapes and sizes, and keeps
// nothing of what is in them.
//
// What a path names is asked for; of a request for an inference the content must agree.
// Memory that is shared with the server's host is nothing that crosses: to register it is an
// operation of its own, and a request that has tensors there cannot be understood.
//
// A stream of inferences (ModelStreamInfer) goes on while its messages come, and each may
// be for another model: of the model nothing is known, so that an intent that asks for it
// denies the stream.
package kserve

import (
	"net/http"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// Operations, as an inspect.Ask names them. Those behind Generate control a server, or tell
// of it.
const (
	Infer          = "infer"
	StreamInfer    = "stream_infer"
	Generate       = "generate"
	ServerLive     = "server_live"
	ServerReady    = "server_ready"
	ServerMetadata = "server_metadata"
	ModelReady     = "model_ready"
	ModelMetadata  = "model_metadata"
	ModelConfig    = "model_config"
	ModelStats     = "model_statistics"
	Settings       = "settings" // of traces and logs

	RepositoryIndex = "repository_index"
	LoadModel       = "load_model"
	UnloadModel     = "unload_model"

	SharedMemoryStatus     = "shared_memory_status"
	RegisterSharedMemory   = "register_shared_memory"
	UnregisterSharedMemory = "unregister_shared_memory"
)

// Protocol is the Open Inference Protocol. It has no state.
type Protocol struct{}

var _ inspect.Protocol = Protocol{}

// Request begins to read a request. It is nil where the head says it all, or where it is
// no operation of those above.
func (Protocol) Request(head *l7.RequestHead) (inspect.Request, inspect.Ask) {
	if head.IsGRPC() {
		return ofCall(head)
	}
	ask := route(head.Method, head.PathOnly())
	switch {
	case !inspect.Nameable(ask.Model), !inspect.Nameable(ask.ModelVersion):
		ask.Model, ask.ModelVersion = "", ""
		return refused(ask, inspect.Unreadable("the path has no name of a model, or none of a version", nil)), ask
	case ask.Operation == Infer:
		return newInference(head, ask), ask
	}
	return nil, ask
}

// sharedRegion is the parameter of a tensor that is not in the content.
const sharedRegion = "shared_memory_region"

// errShared says that there is one.
var errShared = inspect.Unreadable("a tensor is in memory that is shared with the server's host, which does not cross", nil)

// refused is a request that cannot be understood, whatever its content is.
func refused(ask inspect.Ask, why error) inspect.Request {
	return &broken{asks: [1]inspect.Ask{ask}, err: why}
}

// broken is a request that is not read.
type broken struct {
	asks [1]inspect.Ask
	err  error
}

func (b *broken) Write([]byte) (int, error) { return 0, b.err }
func (b *broken) End() error                { return b.err }
func (b *broken) Asks() []inspect.Ask       { return b.asks[:] }
func (b *broken) Settled() bool             { return false }

// Answer begins to read an answer. Rules do not matter: nothing is left out.
func (Protocol) Answer(asks []inspect.Ask, head *l7.ResponseHead, _ *inspect.Rules) inspect.Answer {
	said := inspect.NewSaid()
	said.Failed = head.Status >= http.StatusBadRequest
	if len(asks) > 0 && asks[0].Operation == Infer && !said.Failed {
		return newInferred(said, head)
	}
	if said.Failed {
		return inspect.Unread(said)
	}
	return nil
}

// Refuse is an error as the protocol has it: a text, with the status; or a gRPC status.
func (Protocol) Refuse(r *inspect.Refusal, _ []inspect.Ask, head *l7.RequestHead) (*l7.ResponseHead, []byte) {
	return r.Answer(head, func(_ int, message string) any {
		return struct {
			Error string `json:"error"`
		}{message}
	})
}
