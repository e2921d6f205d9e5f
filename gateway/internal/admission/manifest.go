package admission

import (
	"errors"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// Bounds of a manifest. What is beyond them passes if its digest is allowed, and names nothing.
const (
	maxManifest = 4 << 20 // bytes: what registries should take (OCI distribution specification, Pushing Manifests)
	maxNamed    = 8 << 10 // digests
)

// descriptors are the places in an image manifest and in an image index at which content is
// named that is part of it (OCI image specification, manifest.md and image-index.md). The
// subject is not: whoever lists a signature does not list what is signed.
var descriptors = jsonscan.MustCompile("/config/digest", "/layers/*/digest", "/manifests/*/digest")

// errMany says that a manifest names too much.
var errMany = errors.New("too many digests")

// manifest reads what a manifest names while it passes. A nil one reads nothing.
type manifest struct {
	scanner *jsonscan.Scanner
	named   []Sum
	n       int
	failed  bool
}

func newManifest() *manifest {
	m := new(manifest)
	m.scanner = jsonscan.New(descriptors, m)
	return m
}

// Value implements jsonscan.Handler. A digest in another algorithm cannot be held against
// what passes.
func (m *manifest) Value(_ int, _ jsonscan.Kind, text []byte) error {
	if s, ok := policy.ParseSHA256(string(text)); ok {
		m.named = append(m.named, s)
	}
	if len(m.named) > maxNamed {
		return errMany
	}
	return nil
}

// take reads a piece.
func (m *manifest) take(p []byte) {
	if m == nil || m.failed {
		return
	}
	if m.n += len(p); m.n > maxManifest {
		m.failed = true
		return
	}
	_, err := m.scanner.Write(p)
	m.failed = err != nil
}

// end is what it names: nothing, unless all of it is JSON that every reader takes alike.
func (m *manifest) end() []Sum {
	if m == nil || m.failed || m.scanner.End() != nil {
		return nil
	}
	return m.named
}
