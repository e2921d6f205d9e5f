package kserve

import (
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/protoscan"
)

// What an inference's answer says: of the JSON text (Inference Response JSON Object), and
// of ModelInferResponse.
var (
	toldInText = jsonscan.MustSchema(map[string]uint8{"/model_name": nameOfModel, "/id": idOfAnswer}, tensorsOf("outputs"))
	toldInCall = &protoscan.Schema{
		1: {Kind: protoscan.Text, Is: nameOfModel},
		3: {Kind: protoscan.Text, Is: idOfAnswer},
		5: {Kind: protoscan.Nested, Is: ofTensor, In: tensor},
		6: {Kind: protoscan.Length, Is: rawContent},
	}
)

// answered reads the answer to a request for an inference. What it found holds only if the
// text or message proves to be whole.
type answered struct {
	said      inspect.Said
	id, model string
	tensors   tensors
	bad       bool

	split split
	scan  jsonscan.Scanner

	isCall bool
	frame  frame
	proto  protoscan.Scanner
}

// newInferred reads a text or the message of a call. Of what is neither it says nothing.
func newInferred(said inspect.Said, head *l7.ResponseHead) inspect.Answer {
	a := &answered{said: said}
	if strings.HasPrefix(head.Fields.Get("content-type"), "application/grpc") {
		a.isCall = true
		a.proto.Reset(toldInCall, (*protoHandler)(a))
		return a
	}
	var err error
	if a.split, err = splitOf(head.Fields); err != nil {
		return inspect.Unread(said)
	}
	if kind, _ := inspect.MediaOf(head.Fields); kind != inspect.JSON && !a.split.given {
		return inspect.Unread(said)
	}
	a.scan.Reset(toldInText.Paths, (*textHandler)(a))
	return a
}

// Pass reads p, and gives it.
func (a *answered) Pass(p []byte) ([]byte, error) {
	if !a.bad {
		a.bad = a.read(p) != nil
	}
	return p, nil
}

func (a *answered) read(p []byte) error {
	if !a.isCall {
		_, err := a.scan.Write(a.split.text(p))
		return err
	}
	text, err := a.frame.text(p)
	if err == nil {
		_, err = a.proto.Write(text)
	}
	return err
}

// End tells what was found.
func (a *answered) End() ([]byte, error) {
	if !a.bad && a.whole() {
		a.said.ID, a.said.Model = a.id, a.model
		if a.split.behind == a.tensors.binary { // or else the tensors are not as long as it says
			a.said.Outputs = a.tensors.told
		}
	}
	return nil, nil
}

func (a *answered) whole() bool {
	if a.isCall {
		return a.frame.end() == nil && a.proto.End() == nil
	}
	return a.scan.End() == nil && a.split.whole()
}

// Said is what was found so far.
func (a *answered) Said() *inspect.Said { return &a.said }

// found takes what can be told of the answer as a whole. It is not ok if is is something
// else.
func (a *answered) found(is uint8, text []byte) (ok bool) {
	name := &a.model
	switch is {
	case nameOfModel:
	case idOfAnswer:
		name = &a.id
	default:
		return false
	}
	if inspect.Nameable(string(text)) {
		*name = string(text)
	}
	return true
}

// textHandler and protoHandler are an answered that is told of values, which is not for
// others to do.
type (
	textHandler  answered
	protoHandler answered
)

func (h *textHandler) Value(path int, kind jsonscan.Kind, text []byte) error {
	is := toldInText.Is[path]
	if kind == jsonscan.String && (*answered)(h).found(is, text) {
		return nil
	}
	return h.tensors.inText(is, kind, text)
}

func (h *textHandler) End(path int) error {
	h.tensors.endInText(toldInText.Is[path])
	return nil
}

func (h *protoHandler) Value(is uint8, text []byte, number uint64) error {
	if !(*answered)(h).found(is, text) {
		h.tensors.inMessage(is, text, number)
	}
	return nil
}

func (h *protoHandler) End(is uint8) { h.tensors.endInMessage(is) }
