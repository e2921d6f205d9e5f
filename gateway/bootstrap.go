package gateway

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/certs/federation"
	"github.com/sallyport-mesh/sallyport/gateway/internal/capture"
	"github.com/sallyport-mesh/sallyport/gateway/internal/guard"
	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// DefaultAttach is where workloads attach unless the bootstrap file says
// otherwise.
const DefaultAttach = "127.0.0.1:8443"

// How long what is open may go on after another process has taken over, if the
// bootstrap file does not say, and what it may say. A minute is longer than nearly
// all answers of models take, and short enough that soon after an upgrade the new
// program alone is at work, with all of the host's memory and its UDP port.
const (
	defaultDrain = time.Minute
	minDrain     = time.Second
	maxDrain     = time.Hour
)

// bootstrap is a bootstrap file that was checked.
type bootstrap struct {
	*configv1.Bootstrap
	self         spiffeid.ID
	controlPlane spiffeid.ID
	bundle       *spiffebundle.Bundle
	endpoints    []federation.Endpoint // of other trust domains' bundles
	callers      []capture.Caller      // of capture
	guards       map[string]guard.Place
}

// checkBootstrap finds all faults at once, each naming its field.
func checkBootstrap(in *configv1.Bootstrap) (*bootstrap, error) {
	if in == nil {
		return nil, errors.New("bootstrap: missing")
	}
	b := &bootstrap{Bootstrap: proto.CloneOf(in)}
	if b.Attach == "" {
		b.Attach = DefaultAttach
	}
	if b.Drain == nil {
		b.Drain = durationpb.New(defaultDrain)
	}
	return b, errors.Join(
		b.checkSelf(), b.checkControlPlane(), b.checkKeys(), b.checkFederation(),
		checkAddress("attach", b.Attach, true),
		checkAddress("attachLoopback", b.AttachLoopback, false),
		checkAddress("tunnel", b.Tunnel, false),
		checkAddress("admin", b.Admin, false),
		checkCarriers(b.Carriers),
		checkDrain(b.Drain),
		b.checkPorts(),
		b.checkCapture(),
		b.checkLimits(),
		b.checkSecrets(),
		b.checkSealed(),
		b.checkGuards(),
		required("environment", b.Environment),
		required("stateDir", b.StateDir),
	)
}

func fault(field, format string, args ...any) error {
	return fmt.Errorf("bootstrap: %s: %w", field, fmt.Errorf(format, args...))
}

func required(field, value string) error {
	if value == "" {
		return fault(field, "missing")
	}
	return nil
}

func checkAddress(field, addr string, must bool) error {
	if addr == "" {
		if must {
			return fault(field, "missing")
		}
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fault(field, "want HOST:PORT: %w", err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fault(field, "want HOST:PORT: port %q is not a number up to 65535", port)
	}
	return nil
}

func checkCarriers(carriers []string) error {
	for i, c := range carriers {
		if c != tunnel.TCP && c != tunnel.QUIC {
			return fault("carriers["+strconv.Itoa(i)+"]", "want %s or %s, not %q", tunnel.TCP, tunnel.QUIC, c)
		}
	}
	return nil
}

func checkDrain(d *durationpb.Duration) error {
	if d != nil && (d.CheckValid() != nil || d.AsDuration() < minDrain || d.AsDuration() > maxDrain) {
		return fault("drain", "want %s to %s, not %s", minDrain, maxDrain, d.AsDuration())
	}
	return nil
}

func (b *bootstrap) checkSelf() error {
	td, err := spiffeid.TrustDomainFromString(b.TrustDomain)
	if err != nil {
		err = fault("trustDomain", "%w", err)
	}
	if bad := spiffeid.ValidatePathSegment(b.Gateway); bad != nil {
		return errors.Join(err, fault("gateway", "%w", bad))
	}
	if err != nil {
		return err
	}
	if b.self, err = policy.GatewayID(td, b.Gateway); err != nil {
		return fault("gateway", "%w", err)
	}
	return nil
}

func (b *bootstrap) checkControlPlane() error {
	cp := b.GetControlPlane()
	id, err := spiffeid.FromString(cp.GetId())
	if err != nil {
		err = fault("controlPlane.id", "%w", err)
	} else if b.bundle, err = spiffebundle.Parse(id.TrustDomain(), []byte(cp.GetBundle())); err != nil {
		err = fault("controlPlane.bundle", "%w", err)
	}
	b.controlPlane = id
	return errors.Join(err, checkAddress("controlPlane.address", cp.GetAddress(), true))
}

func (b *bootstrap) checkFederation() error {
	var faults []error
	for i, e := range b.GetFederation() {
		field := "federation[" + strconv.Itoa(i) + "]"
		at, err := federation.ParseEndpoint(e)
		switch {
		case err != nil:
			faults = append(faults, fault(field, "%w", err))
		case at.TrustDomain().Name() == b.TrustDomain:
			faults = append(faults, fault(field, "%s is the gateway's own trust domain", at.TrustDomain()))
		}
		b.endpoints = append(b.endpoints, at)
	}
	return errors.Join(faults...)
}

func (b *bootstrap) checkKeys() error {
	keys := b.GetPolicyKeys()
	switch n := uint32(len(keys.GetKeys())); {
	case n == 0:
		return fault("policyKeys.keys", "no key may sign a policy, so none would ever be in force")
	case keys.GetThreshold() < 1 || keys.GetThreshold() > n:
		return fault("policyKeys.threshold", "want 1 to %d, the number of keys", n)
	}
	if err := signed.CheckKeys(keys); err != nil {
		return fault("policyKeys.keys", "%w", err)
	}
	return nil
}
