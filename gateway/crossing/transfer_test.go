package crossing

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

var (
	aSum       = strings.Repeat("a", 64)
	anotherSum = strings.Repeat("b", 64)
)

// resumed is the second range of a download.
func resumed() *crossingv1.Transfer {
	return &crossingv1.Transfer{
		Id: strings.Repeat("1f", 16), Direction: crossingv1.Transfer_DOWNLOAD, Object: "/weights/llm.safetensors",
		Extent: crossingv1.Transfer_RANGE, First: 40, Length: 60, Size: 100, ContentSha256: aSum, Digested: 60,
	}
}

func TestCheckTransfer(t *testing.T) {
	declared := func(v crossingv1.Transfer_Verdict, by, sum string) func(*crossingv1.Transfer) {
		return func(t *crossingv1.Transfer) { t.Declared, t.DeclaredBy, t.DeclaredSha256 = v, by, sum }
	}
	const (
		none          = crossingv1.Transfer_VERDICT_UNSPECIFIED
		notComparable = crossingv1.Transfer_NOT_COMPARABLE
		match         = crossingv1.Transfer_MATCH
		mismatch      = crossingv1.Transfer_MISMATCH
	)
	for name, c := range map[string]struct {
		change func(*crossingv1.Transfer)
		fault  string
	}{
		"a range":     {func(*crossingv1.Transfer) {}, ""},
		"without id":  {func(t *crossingv1.Transfer) { t.Id, t.Anonymous = "", crossingv1.Transfer_NO_VALIDATOR }, ""},
		"a match":     {declared(match, "content-digest", ""), ""},
		"a mismatch":  {declared(mismatch, "content-digest", anotherSum), ""},
		"zeros":       {declared(mismatch, "content-digest", strings.Repeat("0", 64)), ""},
		"of the rest": {declared(notComparable, "repr-digest", anotherSum), ""},
		"unknown":     {declared(notComparable, "name", ""), ""},

		"no id and no reason":          {func(t *crossingv1.Transfer) { t.Id = "" }, "transfer id"},
		"an id and a reason":           {func(t *crossingv1.Transfer) { t.Anonymous = crossingv1.Transfer_NO_SIZE }, "transfer id"},
		"another id":                   {func(t *crossingv1.Transfer) { t.Id = strings.Repeat("G", 32) }, "transfer id"},
		"no direction":                 {func(t *crossingv1.Transfer) { t.Direction = 0 }, "direction"},
		"no object":                    {func(t *crossingv1.Transfer) { t.Object = "" }, "object"},
		"an endless object":            {func(t *crossingv1.Transfer) { t.Object = strings.Repeat("x", 513) }, "object"},
		"an object that is no text":    {func(t *crossingv1.Transfer) { t.Object = "/\x1b[2J" }, "object"},
		"no digest":                    {func(t *crossingv1.Transfer) { t.ContentSha256 = "" }, "digest"},
		"a digest in upper case":       {func(t *crossingv1.Transfer) { t.ContentSha256 = strings.Repeat("A", 64) }, "digest"},
		"declared by nobody":           {declared(match, "", ""), "verdict"},
		"declared without a verdict":   {declared(none, "content-digest", ""), "verdict"},
		"a match of something else":    {declared(match, "content-digest", anotherSum), "verdict"},
		"a mismatch of nothing":        {declared(mismatch, "content-digest", ""), "verdict"},
		"a mismatch of the same":       {declared(mismatch, "content-digest", aSum), "verdict"},
		"declared in another form":     {declared(notComparable, "content-digest", "x"), "verdict"},
		"declared by an endless field": {declared(match, strings.Repeat("x", 65), ""), "verdict"},
		"declared by what is no text":  {declared(match, "\n", ""), "verdict"},
	} {
		t.Run(name, func(t *testing.T) {
			moved := resumed()
			c.change(moved)
			f := egressFrame(nil, closing(crossingv1.Side_EGRESS))
			f.Close.Transfer = moved
			err := CheckFrame(f, egressID)
			if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("CheckFrame = %v, want %q", err, c.fault)
			}
		})
	}
}

func TestCheckFrameRefusesAnOpeningWithATransfer(t *testing.T) {
	f := badOpen(func(h *crossingv1.Half) { h.End.Transfer = resumed() })
	if err := CheckFrame(f, egressID); err == nil || !strings.Contains(err.Error(), "transfer") {
		t.Errorf("CheckFrame = %v", err)
	}
}

func TestObject(t *testing.T) {
	for name, want := range map[string]string{
		"/v2/llm/blobs/sha256:0": "/v2/llm/blobs/sha256:0",
		"/\x1b[2Jé":              `/\x1b[2J\u00e9`,
		strings.Repeat("x", 600): strings.Repeat("x", 512),
	} {
		if got := Object(name); got != want {
			t.Errorf("Object(%q) = %q, want %q", name, got, want)
		}
	}
}

// TestJoinTransfers: what both gateways read from the same heads and the same bytes
// is the same, unless it broke off on its way.
func TestJoinTransfers(t *testing.T) {
	gone := func(e, _ *crossingv1.Close) { e.Cause = crossingv1.Cause_CALLER_GONE }
	for name, c := range map[string]struct {
		change func(e, i *crossingv1.Close)
		want   []string
	}{
		"alike":              {func(_, _ *crossingv1.Close) {}, nil},
		"none at one":        {func(_, i *crossingv1.Close) { i.Transfer = nil }, []string{"transfer"}},
		"ids":                {func(_, i *crossingv1.Close) { i.Transfer.Id = strings.Repeat("2", 32) }, []string{"transfer.id"}},
		"anonymous at one":   {func(_, i *crossingv1.Close) { i.Transfer.Id = "" }, []string{"transfer.id"}},
		"ranges":             {func(e, _ *crossingv1.Close) { e.Transfer.First = 0 }, []string{"transfer.first"}},
		"extents":            {func(e, _ *crossingv1.Close) { e.Transfer.Extent = 1 }, []string{"transfer.extent"}},
		"contents":           {func(_, i *crossingv1.Close) { i.Transfer.ContentSha256 = anotherSum }, []string{"transfer.contentSha256"}},
		"lengths":            {func(_, i *crossingv1.Close) { i.Transfer.Digested = 61 }, []string{"transfer.digested"}},
		"names and verdicts": {func(_, i *crossingv1.Close) { i.Transfer.Object, i.Transfer.Declared = "/", 2 }, nil},
		"broken off": {func(e, i *crossingv1.Close) {
			gone(e, i)
			e.Transfer.Digested, e.Transfer.ContentSha256, e.Transfer.Partial = 7, anotherSum, true
		}, nil},
		"broken off before the head came": {func(e, i *crossingv1.Close) {
			gone(e, i)
			e.Transfer.Id, e.Transfer.Extent = "", 0
		}, nil},
		"another that broke off": {func(e, i *crossingv1.Close) {
			gone(e, i)
			e.Transfer.Id = strings.Repeat("2", 32)
		}, []string{"transfer.id"}},
		"broken off, and none at one": {func(e, i *crossingv1.Close) { gone(e, i); e.Transfer = nil }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			e, i := accounts()
			e.Close.Transfer, i.Close.Transfer = resumed(), resumed()
			c.change(e.Close, i.Close)
			r := Join(e, i)
			if d := cmp.Diff(c.want, r.GetDifferences()); d != "" {
				t.Errorf("differences (-want +got):\n%s", d)
			}
			if !proto.Equal(r.GetEgress().GetTransfer(), e.Close.Transfer) || !proto.Equal(r.GetIngress().GetTransfer(), i.Close.Transfer) {
				t.Errorf("record %v", r)
			}
		})
	}
}
