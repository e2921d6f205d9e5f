package kserve

import (
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/protoscan"
)

// service is the gRPC service of the protocol.
const service = "/inference.GRPCInferenceService/"

// named is a message that names a model, and a version of it. askedInCall is what a
// ModelInferRequest has.
var (
	named = &protoscan.Schema{
		1: {Kind: protoscan.Text, Is: nameOfModel},
		2: {Kind: protoscan.Text, Is: versionOfModel},
	}
	askedInCall = &protoscan.Schema{
		1: {Kind: protoscan.Text, Is: nameOfModel},
		2: {Kind: protoscan.Text, Is: versionOfModel},
		5: {Kind: protoscan.Nested, Is: ofTensor, In: tensor},
		6: {Kind: protoscan.Nested, Is: ofRequested, In: &protoscan.Schema{2: parameters}},
		7: {Kind: protoscan.Length, Is: rawContent},
	}
	// inRepository is one that names a model of a repository.
	inRepository = &protoscan.Schema{2: {Kind: protoscan.Text, Is: nameOfModel}}
)

// method is what a gRPC method asks for, and what is read of its message; nothing if it
// names no model.
func method(name string) (operation string, reads *protoscan.Schema) {
	switch name {
	case "ModelInfer":
		return Infer, askedInCall
	case "ModelStreamInfer":
		return StreamInfer, nil
	case "ServerLive":
		return ServerLive, nil
	case "ServerReady":
		return ServerReady, nil
	case "ServerMetadata":
		return ServerMetadata, nil
	case "ModelReady":
		return ModelReady, named
	case "ModelMetadata":
		return ModelMetadata, named
	case "ModelConfig":
		return ModelConfig, named
	case "ModelStatistics":
		return ModelStats, named
	case "RepositoryIndex":
		return RepositoryIndex, nil
	case "RepositoryModelLoad":
		return LoadModel, inRepository
	case "RepositoryModelUnload":
		return UnloadModel, inRepository
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
	asks    [1]inspect.Ask
	frame   frame
	scan    protoscan.Scanner
	tensors tensors
	named   bool // the message has a name of a model
	version bool // and a version
	ended   bool
	err     error
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
func (c *call) Asks() []inspect.Ask {
	c.asks[0].Inputs = c.tensors.told
	return c.asks[:]
}

// Settled is true where the message has ended: its fields come in any order.
func (c *call) Settled() bool { return c.ended }

// callHandler is a call that is told of values, which is not for others to do.
type callHandler call

var _ protoscan.Ender = (*callHandler)(nil)

func (h *callHandler) Value(is uint8, text []byte, number uint64) error {
	switch is {
	case nameOfModel:
		return only(&h.asks[0].Model, &h.named, "model", text)
	case versionOfModel:
		return only(&h.asks[0].ModelVersion, &h.version, "version of the model", text)
	case nameOfParameter:
		if string(text) == sharedRegion {
			return errShared
		}
	}
	h.tensors.inMessage(is, text, number)
	return nil
}

func (h *callHandler) End(is uint8) { h.tensors.endInMessage(is) }

// only takes a name that a message may have once, or again as it was.
func only(name *string, there *bool, what string, text []byte) error {
	switch {
	case !inspect.Nameable(string(text)):
		return inspect.Unreadable("the name of the "+what+" is too long, or has control characters", nil)
	case *there && *name != string(text):
		return inspect.Ambiguous("the message has more than one "+what, nil)
	}
	*name, *there = string(text), true
	return nil
}
