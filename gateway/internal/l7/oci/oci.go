// Package oci reads what a registry is asked for that only the content of a request tells:
// of what kind the manifest is that is pushed. All else the head tells, which package
// artifact reads. It holds nothing back and changes nothing.
//
// A manifest is pushed last, when all that it names is there (OCI distribution
// specification v1.1, "Push"): what may not be pushed never becomes reachable.
package oci

import (
	"net/http"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/manifest"
)

// Protocol is that of registries. It has no state.
type Protocol struct{}

var _ inspect.Protocol = Protocol{}

// Request begins to read a manifest that is pushed. It is nil of all other requests.
func (Protocol) Request(head *l7.RequestHead) (inspect.Request, inspect.Ask) {
	if head.Method != http.MethodPut || !strings.Contains(head.PathOnly(), "/manifests/") {
		return nil, inspect.Ask{}
	}
	return &push{reader: manifest.New(manifest.TypeOf(head.Fields)), asks: [1]inspect.Ask{inspect.NewAsk()}}, inspect.Ask{}
}

// Answer is nil: a manifest that is pulled is read as what the transfer moves.
func (Protocol) Answer([]inspect.Ask, *l7.ResponseHead, *inspect.Rules) inspect.Answer { return nil }

// push reads a manifest.
type push struct {
	reader *manifest.Reader
	asks   [1]inspect.Ask
	ended  bool
}

// Write takes a piece of the content.
func (p *push) Write(b []byte) (int, error) { return p.reader.Write(b) }

// End says that the content is whole.
func (p *push) End() error {
	p.ended = true
	return p.reader.End()
}

// Asks is always one, of a kind and no operation: the head tells that.
func (p *push) Asks() []inspect.Ask {
	p.asks[0].Kind = p.reader.Kind()
	return p.asks[:]
}

// Settled is true where the kind is known, or nothing more comes.
func (p *push) Settled() bool { return p.ended || p.reader.Kind() != "" }
