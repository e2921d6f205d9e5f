package render

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// owned is a transition that somebody answers for.
func ownedStatus() *controlv1.TransitionStatus {
	return &controlv1.TransitionStatus{From: "onprem", To: "azure", Owner: "ml-platform", ReviewBy: "2027-06-30", Open: true, Allowed: 7, Denied: 2}
}

func finding(kind controlv1.Finding_Kind, uncertain bool) *controlv1.Finding {
	return &controlv1.Finding{Kind: kind, Uncertain: uncertain, Transition: &crossingv1.Transition{Owner: "ml-platform"}}
}

// TestAnswers: what is missing for good is a bad answer; what may still come, and who is
// silent, is none at all.
func TestAnswers(t *testing.T) {
	silent := ownedStatus()
	silent.Statements = &controlv1.Statements{Silent: timestamppb.New(time.Unix(1, 0))}
	ownerless := ownedStatus()
	ownerless.Owner = ""
	type answer struct {
		text   string
		bad    bool
		detail string
	}
	for _, tt := range []struct {
		name     string
		status   *controlv1.TransitionStatus
		findings []*controlv1.Finding
		want     map[int]answer // by number
	}{
		{"as it should be", ownedStatus(), nil, map[int]answer{
			1: {"1", false, "9 crossings, 0 unmatched; "}, 2: {"0", false, "of 1 open, 1 shut; next review 2027-06-30 onprem ─► azure (ml-platform)"},
			5: {"0", false, "both ends of its crossings: ml-platform"},
		}},
		{"a half is missing", ownedStatus(), []*controlv1.Finding{finding(controlv1.Finding_ONE_SIDED, false)}, map[int]answer{
			1: {"1", true, "1 unmatched: sallyport unmatched"}, 2: {"0", false, ""}, 5: {"1", true, "ml-platform (1 crossing)"},
		}},
		{"a half may still come", ownedStatus(), []*controlv1.Finding{finding(controlv1.Finding_ONE_SIDED, true)}, map[int]answer{
			1: {Unknown, false, "0 unmatched, 1 that may still be: sallyport unmatched"}, 5: {Unknown, false, "1 crossing may still come"},
		}},
		{"both", ownedStatus(), []*controlv1.Finding{finding(controlv1.Finding_LOST, false), finding(controlv1.Finding_LOST, true)}, map[int]answer{
			1: {Unknown, true, "1 unmatched, 1 that may still be"}, 5: {"1", true, "ml-platform (1 crossing)"},
		}},
		{"the halves differ: both are there", ownedStatus(), []*controlv1.Finding{finding(controlv1.Finding_DISAGREE, false)}, map[int]answer{
			1: {"1", true, "1 unmatched"}, 5: {"0", false, "ml-platform"},
		}},
		{"a gateway is silent", silent, nil, map[int]answer{1: {Unknown, false, "silent: onprem ─► azure"}}},
		{"nobody owns it", ownerless, nil, map[int]answer{2: {"1", true, "of 1 open"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all := Answers([]*controlv1.TransitionStatus{tt.status, {From: "azure", To: "onprem"}}, tt.findings)
			if len(all) != 5 {
				t.Fatalf("%d answers", len(all))
			}
			for n, want := range tt.want {
				if q := all[n-1]; q.Number != n || q.Answer != want.text || q.Bad != want.bad || !strings.Contains(q.Detail, want.detail) {
					t.Errorf("question %d: %+v, want %+v", n, q, want)
				}
			}
			for _, n := range []int{3, 4} {
				if all[n-1].Answer != Unknown {
					t.Errorf("question %d is answered: %+v", n, all[n-1])
				}
			}
		})
	}
}

// TestOwnerSays: a review that is over is named so, a store of one's own too.
func TestOwnerSays(t *testing.T) {
	o := Ownership{
		Status: ownedStatus(), Serial: 7, Now: time.Date(2027, 6, 29, 12, 0, 0, 0, time.UTC),
		Policy: &policyv1.Policy{
			Teams: map[string]*policyv1.Team{"ml-platform": {Contact: "ml@demo"}},
			Sinks: map[string]*policyv1.Sink{"records": {Store: "view"}},
		},
	}
	o.Status.Sink, o.Status.SinceSerial = "records", 3
	o.LastDay.Add(&controlv1.MatrixCell{Crossings: 5, ResponseBytes: 2048})
	o.LastDay.Add(&controlv1.MatrixCell{Crossings: 2, Denied: true, State: crossingv1.Record_DENIED})
	o.LastDay.Add(&controlv1.MatrixCell{Crossings: 1, State: crossingv1.Record_DISAGREE})
	said := func() string {
		var text strings.Builder
		if err := Owner(&text, o); err != nil {
			t.Fatal(err)
		}
		return text.String()
	}
	for _, want := range []string{"ml-platform, ml@demo", "the mesh's own store", "2027-06-30, in 1 day\n", "serial 7, so since serial 3", "6 allowed, 2 denied, 1 unmatched; 2.0 KiB"} {
		if text := said(); !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	if o.Now = o.Now.AddDate(0, 1, 0); !strings.Contains(said(), "2027-06-30, overdue") {
		t.Errorf("the review is overdue:\n%s", said())
	}
}

// TestMatrixShowsPairsThatAreShut: what was tried on a pair that is shut is counted, and
// where a call led is not always known.
func TestMatrixShowsPairsThatAreShut(t *testing.T) {
	var text strings.Builder
	err := Matrix(&text, []*controlv1.TransitionStatus{ownedStatus(), {From: "azure", To: "onprem"}}, &controlv1.GetMatrixResponse{Cells: []*controlv1.MatrixCell{
		{From: "azure", To: "onprem", Denied: true, State: crossingv1.Record_DENIED, Crossings: 3},
		{From: "onprem", Denied: true, State: crossingv1.Record_DENIED, Crossings: 4},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FROM \\ TO", "0 / 3, 0 B", "0 / 4, 0 B"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, text.String())
		}
	}
}
