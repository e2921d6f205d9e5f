package carrier

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sallyport-mesh/sallyport/certs"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestIdentityReason(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want crossingv1.Reason
	}{
		{"another", errors.New("x"), crossingv1.Reason_BAD_IDENTITY},
		{"expired", fmt.Errorf("handshake: %w", certs.ErrExpired), crossingv1.Reason_EXPIRED_IDENTITY},
		{"no peer", fmt.Errorf("%w: no gateway of the policy", certs.ErrUnauthorized), crossingv1.Reason_UNKNOWN_PEER},
		{"revoked", fmt.Errorf("%w: %w: by act 3f", certs.ErrUnauthorized, ErrRevoked), crossingv1.Reason_REVOKED_GATEWAY},
		// As package certs wraps what Authorize said.
		{"no policy", fmt.Errorf("%w: %w", certs.ErrUnauthorized, ErrNoPolicy), crossingv1.Reason_NO_POLICY},
	} {
		if got := IdentityReason(c.err); got != c.want {
			t.Errorf("%s: IdentityReason(%v) = %s, want %s", c.name, c.err, got, c.want)
		}
	}
}
