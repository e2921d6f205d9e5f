package shown

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func today() time.Time { return time.Date(2026, 11, 23, 10, 20, 0, 0, time.UTC) }

// However often a record changes, its crossing is shown once, when it is
// finished; a half that is late is waited for.
func TestFollowerShowsACrossingOnce(t *testing.T) {
	const (
		open, one, joined = crossingv1.Record_OPEN, crossingv1.Record_ONE_SIDED, crossingv1.Record_JOINED
		disagree, denied  = crossingv1.Record_DISAGREE, crossingv1.Record_DENIED
	)
	for _, c := range []struct {
		name   string
		open   bool
		states []crossingv1.Record_State // one each second; 0 lets time pass
		want   []string                  // second and state of what is shown
	}{
		{"as it should", false, []crossingv1.Record_State{open, open, one, joined, joined}, []string{"3 JOINED"}},
		{"its opening too", true, []crossingv1.Record_State{open, open, one, joined}, []string{"0 OPEN", "3 JOINED"}},
		{"denied", true, []crossingv1.Record_State{denied}, []string{"0 DENIED"}},
		{"the ends disagree", false, []crossingv1.Record_State{open, disagree, joined}, []string{"1 DISAGREE"}},
		{"no other half", false, []crossingv1.Record_State{one, 0, 0, 0, 0, 0, joined}, []string{"5 ONE_SIDED"}},
		{"a half that says more", false, []crossingv1.Record_State{one, one, open, 0, 0, 0, 0, joined}, []string{"7 JOINED"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := New(c.open)
			var got []string
			for second, state := range c.states {
				now := today().Add(time.Duration(second) * time.Second)
				shown := f.Overdue(now)
				if state != 0 {
					r := &crossingv1.Record{Id: "a", State: state, Egress: &crossingv1.End{Open: timestamppb.New(today())}}
					shown = append(shown, f.Take(r, now)...)
				}
				for _, r := range shown {
					got = append(got, string(rune('0'+second))+" "+r.GetState().String())
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("shown (-want +got):\n%s", diff)
			}
		})
	}
}

// Of old crossings nobody waits for a half that never came.
func TestFollowerDoesNotWaitForThePast(t *testing.T) {
	f := New(false)
	r := &crossingv1.Record{Id: "a", State: crossingv1.Record_ONE_SIDED, Ingress: &crossingv1.End{Open: timestamppb.New(today().Add(-time.Hour))}}
	if shown := f.Take(r, today()); len(shown) != 1 {
		t.Errorf("%d shown at once, want 1", len(shown))
	}
}

// What it remembers is bounded.
func TestFollowerForgets(t *testing.T) {
	f := New(false)
	for n := range 3 * maxShown {
		f.set(strconv.Itoa(n), finished)
	}
	if n := len(f.shown) + len(f.earlier); n > 2*maxShown || f.stageOf(strconv.Itoa(3*maxShown-1)) != finished {
		t.Errorf("%d crossings are known, want at most %d and the last of them", n, 2*maxShown)
	}
}
