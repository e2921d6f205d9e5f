//go:build !race

package certs_test

import (
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

// TestKnownJWTAllocatesNothing: a workload shows its token with each request.
func TestKnownJWTAllocatesNothing(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.example", "azure.example")
	here := mesh["azure.example"].Source("/sallyport/gateway/gw-1")
	token, now := mesh["aws.example"].JWT("/agent", audience), time.Now()
	n := testing.AllocsPerRun(100, func() {
		if _, err := here.ValidateJWT(token, audience, now); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
