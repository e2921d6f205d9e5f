package inspect

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestRecordTensors(t *testing.T) {
	got := RecordTensors([]Tensor{{Name: "x", Datatype: "FP32", Shape: []int64{1, 2}, Bytes: 8}, {Name: "y", Bytes: 0}, {Bytes: -1}}, strings.ToUpper)
	want := []*crossingv1.Tensor{{Name: "X", Datatype: "FP32", Shape: []int64{1, 2}, Bytes: proto.Uint64(8)}, {Name: "Y", Bytes: proto.Uint64(0)}, {}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if RecordTensors(nil, nil) != nil {
		t.Error("there are tensors of none")
	}
}
