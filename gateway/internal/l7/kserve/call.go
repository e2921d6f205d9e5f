package kserve

import (
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/protoscan"
)

// service is the gRPC service of the protocol.
const service = "/inference.GRPCInferenceService/"

// What a message of a call has.
const (
	nameOfModel uint8 = iota
	ofTensor          // an input or an output, with its parameters
	ofParameter
	nameOfParameter
)

// tensor is what an input or an output has, with the number of its parameters: a map, of
// which each entry has its key as field 1.
func tensor(parameters protoscan.Number) *protoscan.Schema {
	return &protoscan.Schema{parameters: {Kind: protoscan.Nested, Is: ofParameter, In: &protoscan.Schema{
		1: {Kind: protoscan.Text, Is: nameOfParameter},
	}}}
}

// named is a message whose field of that number names a model.
func named(number protoscan.Number) *protoscan.Schema {
	return &protoscan.Schema{number: {Kind: protoscan.Text, Is: nameOfModel}}
}

// inferRequest is what a ModelInferRequest has.
var inferRequest = &protoscan.Schema{
	1: {Kind: protoscan.Text, Is: nameOfModel},
	5: {Kind: protoscan.Nested, Is: ofTensor, In: tensor(4)},
	6: {Kind: protoscan.Nested, Is: ofTensor, In: tensor(2)},
}

// method is what a gRPC method asks for, and what is read of its message; nothing if it
// names no model.
func method(name string) (operation string, reads *protoscan.Schema) {
	switch name {
	case "ModelInfer":
		return Infer, inferRequest
	case "ModelStreamInfer":
		return StreamInfer, nil
	case "ServerLive":
		return ServerLive, nil
	case "ServerReady":
		return ServerReady, nil
	case "ServerMetadata":
		return ServerMetadata, nil
	case "ModelReady":
		return ModelReady, named(1)
	case "ModelMetadata":
		return ModelMetadata, named(1)
	case "ModelConfig":
		return ModelConfig, named(1)
	case "ModelStatistics":
		return ModelStats, named(1)
	case "RepositoryIndex":
		return RepositoryIndex, nil
	case "RepositoryModelLoad":
		return LoadModel, named(2)
	case "RepositoryModelUnload":
		return UnloadModel, named(2)
	case "TraceSetting", "LogSettings":
		return Settings, nil
	}
	return sharedMemory(strings.TrimPrefix(strings.TrimPrefix(name, "System"), "Cuda")), nil
}

// sharedMemory is what a method asks for that memory has of both kinds.
func sharedMemory(name string) string {
	switch name {
	case "SharedMemoryStatus":
		return SharedMemoryStatus
	case "SharedMemoryRegister":
		return RegisterSharedMemory
	case "SharedMemoryUnregister":
		return UnregisterSharedMemory
	}
	return ""
}

// ofCall begins to read a gRPC call.
func ofCall(head *l7.RequestHead) (inspect.Request, inspect.Ask) {
	ask := inspect.NewAsk()
	name, ours := strings.CutPrefix(head.PathOnly(), service)
	if !ours || head.Method != "POST" {
		return nil, ask
	}
	var reads *protoscan.Schema
	if ask.Operation, reads = method(name); reads == nil {
		return nil, ask
	}
	c := &call{asks: [1]inspect.Ask{ask}}
	c.scan.Reset(reads, (*callHandler)(c))
	return c, ask
}

// call reads the one message of a call.
type call struct {
	asks  [1]inspect.Ask
	frame frame
	scan  protoscan.Scanner
	shown bool // the message has a name of a model
	ended bool
	err   error
}

// Write takes a piece of the content.
func (c *call) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	text, err := c.frame.text(p)
	if err == nil {
		_, err = c.scan.Write(text)
	}
	c.fail(err)
	return len(p), c.err
}

// fail keeps why a content cannot be understood.
func (c *call) fail(err error) {
	if err != nil {
		c.err = faultOf(err)
	}
}

// End says that the content is whole.
func (c *call) End() error {
	if c.err == nil {
		if err := c.frame.end(); err != nil {
			c.fail(err)
		} else {
			c.fail(c.scan.End())
		}
	}
	c.ended = true
	return c.err
}

// Asks is always one.
func (c *call) Asks() []inspect.Ask { return c.asks[:] }

// Settled is true where the message has ended: its fields come in any order.
func (c *call) Settled() bool { return c.ended }

// callHandler is a call that is told of values, which is not for others to do.
type callHandler call

var _ protoscan.Handler = (*callHandler)(nil)

func (h *callHandler) Value(is uint8, text []byte, _ uint64) error {
	switch is {
	case nameOfModel:
		name := string(text)
		switch {
		case !inspect.Nameable(name):
			return inspect.Unreadable("the name of the model is too long, or has control characters", nil)
		case h.shown && h.asks[0].Model != name:
			return inspect.Ambiguous("the message names two models", nil)
		}
		h.asks[0].Model, h.shown = name, true
	case nameOfParameter:
		if string(text) == sharedRegion {
			return errShared
		}
	}
	return nil
}
