package api

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// counting are records of two transitions and two hours.
func counting() (all []*crossingv1.Record) {
	noon := time.Date(2026, 11, 23, 12, 0, 30, 0, time.UTC)
	for i := range 12 {
		r := &crossingv1.Record{
			Id: fmt.Sprintf("01a207e6-e4d8-7d3e-9a54-%012x", i+1), State: crossingv1.Record_JOINED,
			Transition: &crossingv1.Transition{From: "onprem", To: []string{"azure", "aws"}[i%2], Owner: "ml-platform"},
			Source:     "spiffe://onprem.demo/ai/orchestrator", Destination: fmt.Sprintf("spiffe://azure.demo/ai/llm-%d", i%3),
			Egress: &crossingv1.End{
				Gateway: onprem1, Decision: crossingv1.Decision_ALLOW, Open: timestamppb.New(noon.Add(time.Duration(i) * 10 * time.Minute)),
				RequestBytes: uint64(i), ResponseBytes: 100,
			},
		}
		if i%4 == 3 {
			r.State, r.Egress.Decision = crossingv1.Record_DENIED, crossingv1.Decision_DENY
		}
		all = append(all, r)
	}
	return all
}

// TestMatrix: what crossed is counted alike from memory and from the store, in any window
// of whole minutes.
func TestMatrix(t *testing.T) {
	store, err := records.OpenSQLite(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	all := counting()
	var joined []records.Joined
	for _, r := range all {
		joined = append(joined, records.Joined{Egress: onprem1, Ingress: azure1, Record: r})
	}
	if err := store.Put(t.Context(), joined); err != nil {
		t.Fatal(err)
	}
	asked := func(counts Counts, req *controlv1.GetMatrixRequest) string {
		m := published(t, func(c *Config) { c.Counts = counts })
		m.records.records = all
		resp, err := controlv1.NewCrossingServiceClient(m.operator()).GetMatrix(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, c := range resp.GetCells() {
			text += fmt.Sprintln(c.GetFrom(), c.GetTo(), c.GetOwner(), c.GetDenied(), c.GetState(), c.GetCrossings(), c.GetRequestBytes(), c.GetResponseBytes())
		}
		for _, k := range resp.GetTalkers() {
			text += fmt.Sprintln(k.GetTo(), k.GetSource(), k.GetDestination(), k.GetCrossings(), k.GetDenied(), k.GetRequestBytes(), k.GetResponseBytes())
		}
		return text
	}
	hour := timestamppb.New(time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC))
	for _, req := range []*controlv1.GetMatrixRequest{
		{Talkers: 5}, {Since: hour, Talkers: 2}, {Until: hour}, {Since: hour, Until: hour, Talkers: 1},
	} {
		fromMemory, fromStore := asked(nil, req), asked(store, req)
		if fromMemory != fromStore {
			t.Errorf("%v: from memory\n%sfrom the store\n%s", req, fromMemory, fromStore)
		}
		if req.GetSince() == nil && req.GetUntil() == nil && len(fromMemory) < 200 {
			t.Errorf("it says too little:\n%s", fromMemory)
		}
	}
	m := published(t, nil)
	for what, req := range map[string]*controlv1.GetMatrixRequest{
		"too many talkers": {Talkers: maxTalkers + 1}, "until before since": {Since: hour, Until: timestamppb.New(hour.AsTime().Add(-time.Hour))},
	} {
		_, err := controlv1.NewCrossingServiceClient(m.operator()).GetMatrix(t.Context(), req)
		wantCode(t, what, err, codes.InvalidArgument)
	}
	m = published(t, func(c *Config) { c.Counts = store })
	_, err = controlv1.NewCrossingServiceClient(m.operator()).GetMatrix(t.Context(), &controlv1.GetMatrixRequest{Since: &timestamppb.Timestamp{Seconds: 1 << 40}})
	wantCode(t, "a year that there is not", err, codes.InvalidArgument)
}
