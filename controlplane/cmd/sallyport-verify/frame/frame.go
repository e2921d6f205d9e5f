// Package frame reads what a gateway wrote down, as gateway/crossing/FORMAT.md has it, and
// says where it belongs. It shares no code with the gateways.
//
// The one invariant: a frame with an opening or an end belongs to the gateway that wrote
// it, at the side that it stands on.
package frame

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
)

// MaxSize is the largest frame, in bytes.
const MaxSize = 1 << 16

// Reader reads frames one after another, each in place of the one before.
type Reader struct{ m *wire.Message }

// NewReader is one that has read nothing yet.
func NewReader() *Reader { return &Reader{wire.NewMessage(message.Frame)} }

// Read reads a frame. What it gives is good until the next one is read. It refuses what a
// decoder of frames refuses, and a crossing's frame that is not its gateway's to write.
func (r *Reader) Read(data []byte) (*wire.Message, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("frame of %d bytes, the most is %d", len(data), MaxSize)
	}
	if err := r.m.Decode(data); err != nil {
		return nil, err
	}
	if r.m.Count(message.Said...) != 1 {
		return nil, errors.New("frame: it does not say exactly one thing")
	}
	return r.m, nil
}

// Read reads one frame.
func Read(data []byte) (*wire.Message, error) { return NewReader().Read(data) }

// Place is where an opening or an end belongs. Its texts are the frame's.
type Place struct {
	// Of is the opening or the end, and Ending which.
	Of     *wire.Message
	Ending bool
	// Side that the writer stands on.
	Side uint64
	// Egress, Ingress, Run and Number place the crossing; ID names it.
	Egress, Ingress, Run, ID []byte
	Number                   uint64
}

// PlaceOf is where a frame belongs; false if it has neither an opening nor an end. It
// refuses one that is not its gateway's to write.
func PlaceOf(f *wire.Message) (p Place, is bool, err error) {
	if p.Of = f.Sub("open"); p.Of == nil {
		if p.Of = f.Sub("close"); p.Of == nil {
			return p, false, nil
		}
		p.Ending = true
	}
	key := p.Of.Sub("key")
	p.ID, p.Side, p.Number = p.Of.Bytes("id"), p.Of.Uint("side"), key.Uint("sequence")
	p.Egress, p.Ingress, p.Run = key.Bytes("egress"), key.Bytes("ingress"), key.Bytes("run")
	writer := f.Bytes("gateway")
	switch {
	case !isID(p.ID):
		err = errors.New("its id is none of a crossing")
	case !statement.IsRun(string(p.Run)) || !statement.IsRun(string(f.Bytes("run"))):
		err = errors.New("its run is none")
	case p.Number == 0:
		err = errors.New("its number is 0")
	case bytes.Equal(p.Egress, p.Ingress) || p.Ending && len(p.Ingress) == 0:
		err = errors.New("its gateways are none of a crossing")
	case p.Side == message.Egress && !bytes.Equal(writer, p.Egress), p.Side == message.Ingress && !bytes.Equal(writer, p.Ingress):
		err = errors.New("another gateway wrote it than the one whose it is")
	case p.Side == 0:
		err = errors.New("it has no side")
	case p.Side == message.Egress && !bytes.Equal(p.Run, f.Bytes("run")):
		err = errors.New("it is of another run than the one that wrote it")
	}
	if err != nil {
		return p, true, fmt.Errorf("frame of a crossing: %w", err)
	}
	return p, true, nil
}

var errForeign = errors.New("its source is of another trust domain than its egress gateway, which does not speak for that")

// Speaks holds that a crossing's source is of the egress gateway's trust domain: it speaks
// for nobody else's. Of what was denied, nothing is asked.
func (p *Place) Speaks() error {
	if p.Ending || p.Of.Sub("end").Uint("decision") == message.Deny {
		return nil
	}
	if source := p.Of.Bytes("source"); len(source) == 0 || !bytes.Equal(domain(source), domain(p.Egress)) {
		return errForeign
	}
	return nil
}

// domain is the beginning of a SPIFFE ID that has the trust domain.
func domain(id []byte) []byte {
	const scheme = len("spiffe://")
	if at := bytes.IndexByte(id[min(scheme, len(id)):], '/'); at >= 0 {
		return id[:scheme+at]
	}
	return id
}

// isID says that it is a UUID of version 7 and variant 10 in its text (RFC 9562, section
// 5.7).
func isID(id []byte) bool {
	if len(id) != 36 || id[14] != '7' || !bytes.ContainsRune([]byte("89ab"), rune(id[19])) {
		return false
	}
	for at, c := range id {
		if at == 8 || at == 13 || at == 18 || at == 23 {
			if c != '-' {
				return false
			}
		} else if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}
