package kserve

import (
	"math"
	"slices"
	"strconv"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/protoscan"
)

// What stands somewhere in a text or a message, of a request or an answer.
const (
	document uint8 = iota
	nameOfModel
	versionOfModel
	idOfAnswer
	ofTensor    // an input or an output, where it begins
	ofRequested // an output that is asked for
	nameOfTensor
	datatype
	shape
	dimension
	binarySize // of a tensor behind the text
	rawContent // of a tensor behind all that is told of them
	region     // of shared memory
	ofParameter
	nameOfParameter
)

// tensorsOf are the places of a text where its tensors are told, which are in that member.
func tensorsOf(member string) map[string]uint8 {
	each := "/" + member + "/*"
	return map[string]uint8{
		each: ofTensor, each + "/name": nameOfTensor, each + "/datatype": datatype, each + "/shape": shape, each + "/shape/*": dimension,
		each + "/parameters/binary_data_size": binarySize,
	}
}

// tensor is what a message has of an input or an output (InferInputTensor,
// InferOutputTensor), with its parameters.
var tensor = &protoscan.Schema{
	1: {Kind: protoscan.Text, Is: nameOfTensor},
	2: {Kind: protoscan.Text, Is: datatype},
	3: {Kind: protoscan.Varints, Is: dimension},
	4: parameters,
}

// parameters are a map, of which each entry has its key as field 1.
var parameters = protoscan.Field{Kind: protoscan.Nested, Is: ofParameter, In: &protoscan.Schema{
	1: {Kind: protoscan.Text, Is: nameOfParameter},
}}

// tensors are those of a request or of an answer, as they are read: of each its name, its
// type, its shape and the length of its content, never that itself. None of it decides
// anything, so that what cannot be told is left out.
type tensors struct {
	told   []inspect.Tensor // the first ones
	began  int              // all that were met
	binary int64            // bytes of those behind the text, as that says

	shape     []int64 // of the last one, as far as it has come
	misshapen bool    // it is no list of whole numbers

	raw     int // contents that stand behind one another in a message
	lengths [inspect.MaxTensors]int64
}

// last is the one that is being read; nil if no more are told.
func (t *tensors) last() *inspect.Tensor {
	if t.began == 0 || t.began > len(t.told) {
		return nil
	}
	return &t.told[t.began-1]
}

// begin begins another one. In a message, its content may have come before it.
func (t *tensors) begin() {
	size := int64(-1)
	if t.began < min(t.raw, len(t.lengths)) {
		size = t.lengths[t.began]
	}
	if t.began < inspect.MaxTensors {
		t.told = append(t.told, inspect.Tensor{Bytes: size})
	}
	t.began++
	t.shape, t.misshapen = t.shape[:0], false
}

// text takes one that stands in a tensor.
func (t *tensors) text(is uint8, text []byte) {
	last := t.last()
	if last == nil {
		return
	}
	if len(text) > inspect.MaxText {
		text = nil
	}
	if is == nameOfTensor {
		last.Name = string(text)
	} else {
		last.Datatype = string(text)
	}
}

// dimension takes the size of one.
func (t *tensors) dimension(size int64) {
	if len(t.shape) < inspect.MaxDimensions {
		t.shape = append(t.shape, size)
	}
}

// shaped says that the shape of the last one is whole. Before that it is not told: what
// is held of a content may end anywhere.
func (t *tensors) shaped() {
	if last := t.last(); last != nil && !t.misshapen && len(t.shape) > 0 {
		last.Shape = slices.Clone(t.shape)
	}
}

// content takes the length of one that stands in a message, in the order of the tensors.
func (t *tensors) content(length uint64) {
	size := int64(min(length, math.MaxInt64)) //nolint:gosec // at most that
	if t.raw < len(t.lengths) {
		t.lengths[t.raw] = size
	}
	if t.raw < len(t.told) {
		t.told[t.raw].Bytes = size
	}
	t.raw++
}

// behind takes the length of the last one's content, which follows the text.
func (t *tensors) behind(kind jsonscan.Kind, text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 32)
	if kind != jsonscan.Number || err != nil || t.binary > math.MaxInt64-int64(n) {
		return inspect.Unreadable("binary_data_size is no size", nil)
	}
	t.binary += int64(n)
	if last := t.last(); last != nil {
		last.Bytes = int64(n)
	}
	return nil
}

// inText takes what stands in a text.
func (t *tensors) inText(is uint8, kind jsonscan.Kind, text []byte) error {
	switch {
	case is == ofTensor:
		t.begin()
	case is == binarySize:
		return t.behind(kind, text)
	case is == dimension:
		size, err := strconv.ParseInt(string(text), 10, 64)
		t.misshapen = t.misshapen || kind != jsonscan.Number || err != nil
		t.dimension(size)
	case kind == jsonscan.String && is != shape:
		t.text(is, text)
	}
	return nil
}

// endInText takes note of the end of what stands in a text.
func (t *tensors) endInText(is uint8) {
	if is == shape {
		t.shaped()
	}
}

// endInMessage does so in a message, in which a shape may come in several parts.
func (t *tensors) endInMessage(is uint8) {
	if is == ofTensor {
		t.shaped()
	}
}

// inMessage takes what stands in a message.
func (t *tensors) inMessage(is uint8, text []byte, number uint64) {
	switch is {
	case ofTensor:
		t.begin()
	case nameOfTensor, datatype:
		t.text(is, text)
	case dimension:
		t.dimension(int64(number)) //nolint:gosec // an int64 on the wire
	case rawContent:
		t.content(number)
	}
}
