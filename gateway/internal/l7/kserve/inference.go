package kserve

import (
	"fmt"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

// askedInText is what the JSON text of a request for an inference has (Inference Request
// JSON Object; Triton's extensions Binary Tensor Data and Shared-Memory, and the name that
// its examples repeat).
var askedInText = jsonscan.MustSchema(map[string]uint8{
	"": document, "/model_name": nameOfModel, "/model_version": versionOfModel,
	"?/inputs/*/parameters/" + sharedRegion:  region,
	"?/outputs/*/parameters/" + sharedRegion: region,
}, tensorsOf("inputs"))

// inference reads the content of a request for one: a JSON text, and behind it the tensors
// that it says are there. The path says what is asked for; but that is told only once there
// is content, so that it is denied where that cannot be understood.
type inference struct {
	asks    [1]inspect.Ask
	begun   bool
	split   split
	scan    jsonscan.Scanner
	tensors tensors
	err     error
}

func newInference(head *l7.RequestHead, ask inspect.Ask) *inference {
	r := &inference{asks: [1]inspect.Ask{ask}}
	r.scan.Reset(askedInText.Paths, (*inferenceHandler)(r))
	if r.split, r.err = splitOf(head.Fields); r.err != nil || r.split.given {
		return r
	}
	if kind, ok := inspect.MediaOf(head.Fields); !ok || kind != inspect.JSON {
		r.err = inspect.Unreadable("the content is of no JSON type", nil)
	}
	return r
}

// Write takes a piece of the content.
func (r *inference) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	r.begun = true
	if _, err := r.scan.Write(r.split.text(p)); err != nil {
		r.err = inspect.Scanned(err)
	}
	return len(p), r.err
}

// End says that the content is whole.
func (r *inference) End() error {
	if r.err != nil {
		return r.err
	}
	if err := r.scan.End(); err != nil {
		r.err = inspect.Scanned(err)
	} else if r.tensors.binary != r.split.behind || !r.split.whole() {
		r.err = inspect.Ambiguous("the tensors behind the text are not of the sizes that it says", nil)
	}
	return r.err
}

// Asks is one, once there is content.
func (r *inference) Asks() []inspect.Ask {
	if !r.begun {
		return nil
	}
	r.asks[0].Inputs = r.tensors.told
	return r.asks[:]
}

// Settled is true where Asks is one.
func (r *inference) Settled() bool { return r.begun }

// inferenceHandler is an inference that is told of values, which is not for others to do.
type inferenceHandler inference

var _ jsonscan.Ender = (*inferenceHandler)(nil)

func (h *inferenceHandler) Value(path int, kind jsonscan.Kind, text []byte) error {
	switch is := askedInText.Is[path]; is {
	case document:
		if kind != jsonscan.Object {
			return inspect.Unreadable("the content is no JSON object", nil)
		}
	case nameOfModel:
		if kind != jsonscan.String || string(text) != h.asks[0].Model {
			return inspect.Ambiguous("the content names another model than the path", nil)
		}
	case versionOfModel:
		if kind != jsonscan.Null && (kind != jsonscan.String || string(text) != h.asks[0].ModelVersion) {
			return inspect.Ambiguous("the content names another version of the model than the path", nil)
		}
	case region:
		return errShared
	default:
		return h.tensors.inText(is, kind, text)
	}
	return nil
}

func (h *inferenceHandler) End(path int) error {
	h.tensors.endInText(askedInText.Is[path])
	return nil
}

// lengthField says how long the JSON text is that binary tensors follow.
const lengthField = "inference-header-content-length"

// split parts a content in a text and what is behind it.
type split struct {
	given  bool  // the head says where
	left   int64 // of the text
	behind int64 // bytes that came behind it
}

// splitOf is as the head says.
func splitOf(fields l7.Fields) (s split, err error) {
	for i := range fields {
		if fields[i].Name != lengthField {
			continue
		}
		n, err := l7.ParseLength(fields[i].Value)
		if err != nil || s.given {
			return s, inspect.Ambiguous(fmt.Sprintf("%s is not one length", lengthField), err)
		}
		s.given, s.left = true, n
	}
	return s, nil
}

// text is what a piece has of the text.
func (s *split) text(p []byte) []byte {
	if !s.given {
		return p
	}
	n := min(int64(len(p)), s.left)
	s.left -= n
	s.behind += int64(len(p)) - n
	return p[:n]
}

// whole says that the text has come.
func (s *split) whole() bool { return s.left == 0 }
