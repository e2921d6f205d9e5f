package digest

import (
	"slices"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/manifest"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Movement is the account of a transfer while it streams. Most exchanges have none: it
// is nil, and takes what passes for nothing. It is for one goroutine at a time.
type Movement struct {
	transfer transfer.Transfer
	declared []Declared

	content  Content
	trailers l7.Fields
	whole    bool // it came to its right end
}

// NewMovement is of what a head tells: of the request with an upload, of both with a
// download.
func NewMovement(t transfer.Transfer, declared []Declared) *Movement {
	m := &Movement{transfer: t, declared: declared}
	if t.Lined {
		m.content.CountLines()
	}
	if t.Manifest != "" {
		m.content.manifest = manifest.New(t.Manifest)
	}
	return m
}

// Answered notes what the answer tells of an upload.
func (m *Movement) Answered(t transfer.Transfer, declared []Declared) {
	m.transfer, m.declared = t, declared
}

// Pass digests content that went on.
func (m *Movement) Pass(b []byte) {
	if m != nil {
		m.content.Write(b) //nolint:errcheck // it never fails
	}
}

// Finish says that there is no more content.
func (m *Movement) Finish(trailers l7.Fields) {
	if m != nil {
		m.whole, m.trailers = true, slices.Clone(trailers)
	}
}

// Record is what the crossing's record says of it; nothing passes any more.
func (m *Movement) Record() *crossingv1.Transfer {
	sum := m.content.BreakOff
	if m.whole {
		sum = m.content.Finish
	}
	return sum().Record(&m.transfer, append(m.declared, InTrailers(&m.transfer, m.trailers)...))
}
