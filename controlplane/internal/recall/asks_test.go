package recall

import (
	"slices"
	"testing"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/join/jointest"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// asking are the frames of crossings of which each third calls a tool, and the others a
// model.
func asking(n int) []*crossingv1.Frame {
	var all []*crossingv1.Frame
	for i := range n {
		for _, f := range jointest.NewTrip(i).Frames() {
			if op := f.GetOpen().GetOperation(); op != nil && i%3 == 0 {
				op.Protocol, op.Name, op.Tool = "mcp", "call_tool", "search"
			} else if op != nil {
				op.Protocol, op.Name, op.ModelRequested, op.DataClass = "openai", "chat", "gpt-4o", "internal"
			}
			all = append(all, f)
		}
	}
	return all
}

// TestAsks asks for what AI services were asked for, whole and in pages, of what is kept
// alone, of what is joined alone, and of some of both.
func TestAsks(t *testing.T) {
	tools, models := []int{0, 3, 6, 9}, []int{1, 2, 4, 5, 7, 8, 10}
	for name, r := range map[string]*Records{"memory alone": Of(nil, 0), "both": over(open(t, t.TempDir())), "most is kept": over(open(t, t.TempDir()))} {
		add(t, r, asking(11)...)
		switch name {
		case "both":
			put(t, r)
			settle(t, r, stated{map[uint64]bool{3: true, 5: true, 6: true, 10: true}})
		case "most is kept":
			settle(t, r, stated{})
		}
		for _, test := range []struct {
			req  *controlv1.ListCrossingsRequest
			want []int
		}{
			{&controlv1.ListCrossingsRequest{Ai: true}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
			{&controlv1.ListCrossingsRequest{Tool: "search"}, tools},
			{&controlv1.ListCrossingsRequest{ModelPrefix: "gpt"}, models},
			{&controlv1.ListCrossingsRequest{DataClass: "internal", Ai: true}, models},
			{&controlv1.ListCrossingsRequest{Tool: "search", ModelPrefix: "gpt"}, nil},
		} {
			if got := numbers(listed(t, r, test.req)); !slices.Equal(got, test.want) {
				t.Errorf("%s, %v: %v, want %v", name, test.req, got, test.want)
			}
			for test.req.Limit = 1; test.req.Limit < 4; test.req.Limit++ {
				if got := numbers(inPages(t, r, test.req)); !slices.Equal(got, test.want) {
					t.Errorf("%s, %v: in pages %v, want %v", name, test.req, got, test.want)
				}
			}
		}
	}
}

// inPages turns all pages, from the newest back.
func inPages(t *testing.T, r *Records, req *controlv1.ListCrossingsRequest) (all []records.Joined) {
	t.Helper()
	defer func() { req.Before = "" }()
	for {
		page := listed(t, r, req)
		if all = append(page, all...); len(page) < int(req.GetLimit()) {
			return all
		}
		req.Before = page[0].Record.GetId()
	}
}
