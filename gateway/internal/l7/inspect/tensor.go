package inspect

import crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"

// Bounds of what is told of tensors.
const (
	MaxTensors    = 32 // of one request, or of one answer
	MaxDimensions = 16 // of one tensor
)

// Tensor is an input or an output of an inference, without what is in it.
type Tensor struct {
	Name     string
	Datatype string  // of an element, such as FP32
	Shape    []int64 // the size of each dimension, at most MaxDimensions; nil if that is not known
	Bytes    int64   // of its content, where that stands as bytes; -1 if it does not
}

// RecordTensors are tensors as a record has them, with every name and datatype as word
// makes it; nil if there are none.
func RecordTensors(all []Tensor, word func(string) string) []*crossingv1.Tensor {
	if len(all) == 0 {
		return nil
	}
	recorded := make([]*crossingv1.Tensor, 0, len(all))
	for i := range all {
		t := &crossingv1.Tensor{Name: word(all[i].Name), Datatype: word(all[i].Datatype), Shape: all[i].Shape}
		if all[i].Bytes >= 0 {
			size := uint64(all[i].Bytes)
			t.Bytes = &size
		}
		recorded = append(recorded, t)
	}
	return recorded
}
