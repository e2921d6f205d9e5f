package share

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/budget"
	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const alice, plan = "spiffe://onprem.demo/ai/alice", "plan"

// control is a control plane that says what it is told to.
type control struct {
	asked []*controlv1.ShareBudgetsRequest
	says  *controlv1.ShareBudgetsResponse // nil if it is away
}

func (c *control) ShareBudgets(ctx context.Context, req *controlv1.ShareBudgetsRequest, _ ...grpc.CallOption) (*controlv1.ShareBudgetsResponse, error) {
	c.asked = append(c.asked, req)
	if _, ok := ctx.Deadline(); !ok {
		return nil, errors.New("it could last for ever")
	}
	if c.says == nil {
		return nil, errors.New("nobody is there")
	}
	return c.says, nil
}

// today is a limit of requests a day, and when that began.
func today() (limit []limits.Limit, start int64) {
	now := time.Now().UTC()
	return []limits.Limit{{What: limits.Requests, Most: 100, Window: 24 * time.Hour}}, now.Truncate(24 * time.Hour).Unix()
}

func reserve(l *budget.Ledger, n int64) *budget.Refused {
	limit, _ := today()
	_, refused := l.Reserve(alice, plan, limit, budget.Amounts{Requests: n}, time.Now())
	return refused
}

func heard(by string, n int64) *controlv1.BudgetUse {
	_, start := today()
	return &controlv1.BudgetUse{Caller: alice, Intent: plan, What: "requests", Window: 86400, Start: start, Used: n, Gateway: by}
}

func TestWhatIsAsked(t *testing.T) {
	_, start := today()
	c := &control{}
	l := budget.New()
	s := New(Config{Ledger: l, Control: c, Self: "a", Run: "r"})
	peers := map[string]bool{"b": true}
	use := &controlv1.BudgetUse{Caller: alice, Intent: plan, What: "requests", Window: 86400, Start: start, Used: 7}
	if refused := reserve(l, 7); refused != nil {
		t.Fatal(refused)
	}
	steps := []struct {
		name string
		says *controlv1.ShareBudgetsResponse
		want *controlv1.ShareBudgetsRequest
	}{
		{"the control plane is away", nil, &controlv1.ShareBudgetsRequest{Uses: []*controlv1.BudgetUse{use}, Complete: true}},
		{"it is told again", &controlv1.ShareBudgetsResponse{Memory: "m", Version: 5, Whole: true}, &controlv1.ShareBudgetsRequest{Uses: []*controlv1.BudgetUse{use}, Complete: true}},
		{
			"and once more, as it did not say before whose memory is whole", &controlv1.ShareBudgetsResponse{Memory: "m", Version: 6, Whole: true},
			&controlv1.ShareBudgetsRequest{Memory: "m", Since: 5, Uses: []*controlv1.BudgetUse{use}, Complete: true},
		},
		{"then nothing", &controlv1.ShareBudgetsResponse{Memory: "n", Version: 1, Whole: true}, &controlv1.ShareBudgetsRequest{Memory: "m", Since: 6, Complete: true}},
		{"after it has forgotten, all", &controlv1.ShareBudgetsResponse{Memory: "n", Version: 2, Whole: true}, &controlv1.ShareBudgetsRequest{
			Memory: "n", Since: 1, Uses: []*controlv1.BudgetUse{use}, Complete: true,
		}},
	}
	for i, step := range steps {
		c.says = step.says
		if err := s.Share(t.Context(), peers); (err != nil) != (step.says == nil) {
			t.Errorf("%s: %v", step.name, err)
		}
		step.want.Run, step.want.Sequence = "r", uint64(i+1)
		if diff := cmp.Diff(step.want, c.asked[i], protocmp.Transform(), protocmp.IgnoreEmptyMessages()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
}

func TestWhatIsHeard(t *testing.T) {
	for _, c := range []struct {
		name string
		uses []*controlv1.BudgetUse
		left int64
	}{
		{"nothing", nil, 100},
		{"a peer's", []*controlv1.BudgetUse{heard("b", 30)}, 70},
		{"two peers'", []*controlv1.BudgetUse{heard("b", 30), heard("c", 30)}, 40},
		{"the later counts", []*controlv1.BudgetUse{heard("b", 30), heard("b", 20)}, 80},
		{"an earlier run's", []*controlv1.BudgetUse{heard("a", 30)}, 70},
		{"one of another environment", []*controlv1.BudgetUse{heard("x", 30), heard("", 30)}, 100},
		{"of what nobody knows", []*controlv1.BudgetUse{{Caller: alice, Intent: plan, What: "calls", Window: 86400, Used: 30, Gateway: "b"}, nil}, 100},
	} {
		l := budget.New()
		s := New(Config{Ledger: l, Control: &control{says: &controlv1.ShareBudgetsResponse{Uses: c.uses}}, Self: "a", Run: "r"})
		if err := s.Share(t.Context(), map[string]bool{"b": true, "c": true}); err != nil {
			t.Fatal(err)
		}
		if reserve(l, c.left+1) == nil {
			t.Errorf("%s: more than %d are left", c.name, c.left)
		}
		if refused := reserve(l, c.left); refused != nil {
			t.Errorf("%s: fewer than %d are left: %v", c.name, c.left, refused)
		}
	}
}

// TestMissedIsAskedForAgain: what came before its window is asked for once more.
func TestMissedIsAskedForAgain(t *testing.T) {
	early := heard("b", 30)
	early.Start += 86400
	c := &control{says: &controlv1.ShareBudgetsResponse{Memory: "m", Version: 5, Whole: true, Uses: []*controlv1.BudgetUse{early}}}
	s := New(Config{Ledger: budget.New(), Control: c, Self: "a", Run: "r"})
	for range 3 {
		if err := s.Share(t.Context(), map[string]bool{"b": true}); err != nil {
			t.Fatal(err)
		}
		c.says = &controlv1.ShareBudgetsResponse{Memory: "m", Version: 5, Whole: true}
	}
	if c.asked[1].GetSince() != 0 || c.asked[2].GetSince() != 5 {
		t.Errorf("asked since %d and %d, want 0 and 5", c.asked[1].GetSince(), c.asked[2].GetSince())
	}
}

// FuzzHeard: nothing that the control plane says panics, or counts against nobody.
func FuzzHeard(f *testing.F) {
	f.Add(alice, plan, "requests", uint32(86400), int64(1_795_392_000), int64(5), "b")
	f.Add("", "", "cost", uint32(0), int64(-1), int64(-1), "a")
	f.Fuzz(func(t *testing.T, caller, intent, what string, window uint32, start, used int64, by string) {
		l := budget.New()
		u := &controlv1.BudgetUse{Caller: caller, Intent: intent, What: what, Window: window, Start: start, Used: used, Gateway: by}
		s := New(Config{Ledger: l, Control: &control{says: &controlv1.ShareBudgetsResponse{Memory: "m", Uses: []*controlv1.BudgetUse{u, u}}}, Self: "a", Run: "r"})
		for range 2 {
			if err := s.Share(context.Background(), map[string]bool{"b": true}); err != nil {
				t.Fatal(err)
			}
		}
		if caller != alice {
			if refused := reserve(l, 100); refused != nil {
				t.Errorf("%v, for %v", refused, u)
			}
		}
	})
}
