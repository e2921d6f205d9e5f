package render

import (
	"strconv"
	"strings"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// tensors adds a row for each input or output of an inference.
func tensors(g *Grid, name string, all []*crossingv1.Tensor) {
	for i, t := range all {
		g.Row(first(name, i), tensor(t))
	}
}

// tensor is one: "pixels FP32[1,3,224,224], 588.0 KiB".
func tensor(t *crossingv1.Tensor) string {
	text := spaced(t.GetName(), t.GetDatatype())
	if len(t.GetShape()) > 0 {
		sizes := make([]string, 0, len(t.GetShape()))
		for _, size := range t.GetShape() {
			sizes = append(sizes, strconv.FormatInt(size, 10))
		}
		text += "[" + strings.Join(sizes, ",") + "]"
	}
	if t != nil && t.Bytes != nil {
		text += ", " + Size(t.GetBytes())
	}
	return text
}
