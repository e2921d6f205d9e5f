package exchange

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/hold"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/listener"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// TestTensorsOfBothHalves: of an inference that is longer than what is held, both gateways
// tell the same tensors, those that the bytes before the decision tell of, however they
// are cut.
func TestTensorsOfBothHalves(t *testing.T) {
	const first = `{"inputs":[{"name":"a","datatype":"INT8","shape":[1,2],"data":["`
	const second = `"]},{"name":"b","data":["",""],"shape":[`
	// What is held ends behind the first digit of the second shape's second number.
	fill := hold.Usual - 1 - len(first) - len(second+"30,4")
	content := first + strings.Repeat("x", fill) + second + "30,40]}]}"
	want := []*crossingv1.Tensor{{Name: "a", Datatype: "INT8", Shape: []int64{1, 2}}, {Name: "b"}}
	for how, sent := range map[string]func(*listener.Request) *listener.Request{"as it comes": asItComes, "in pieces": inPieces, "in halves": inHalves} {
		t.Run(how, func(t *testing.T) {
			w := reading(t, policytest.Estate(t, 1, func(p *policyv1.Policy) {
				p.Workloads["llm"].Serves["chat"] = "kserve://:8000"
				p.Intents[0].Allow.Methods, p.Intents[0].Allow.Paths = nil, nil
				p.Intents[0].When, p.Intents[0].Condition = `ai.model_version in ["2"]`, is("ai.model_version", "2")
			}))
			r := w.ask(t, sent(request("POST", "/v2/models/m/versions/2/infer", content, l7.Field{Name: "content-type", Value: "application/json"})))
			if r.head.Status != 200 || r.body.String() != "you said "+content {
				t.Fatalf("answer %+v, %d bytes", r.head, r.body.Len())
			}
			if rec := w.joined(t); !rec.GetAgree() || rec.GetOperation().GetModelVersion() != "2" {
				t.Errorf("record %v", rec)
			}
			for side, spool := range map[string]*fakeSpool{"near": w.near, "far": w.far} {
				if diff := cmp.Diff(want, spool.account(t).Open.GetOperation().GetInputs(), protocmp.Transform()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", side, diff)
				}
			}
		})
	}
}
