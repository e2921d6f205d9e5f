package controlplane

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/certs/certstest"
	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestCrossingIsJoined(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.publish(1, "")
	id := p.deliverBoth()
	got := recordsOf(t, p.operator(), &controlv1.ListCrossingsRequest{Id: id})
	if len(got) != 1 || got[0].GetState() != crossingv1.Record_JOINED || !got[0].GetAgree() {
		t.Fatalf("records = %v, want one joined that agrees", got)
	}
	resp, err := controlv1.NewCrossingServiceClient(p.operator()).ListTransitions(t.Context(), &controlv1.ListTransitionsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(resp.GetTransitions(), func(s *controlv1.TransitionStatus) bool { return s.GetOpen() })
	if i < 0 || resp.GetTransitions()[i].GetAllowed() != 1 || resp.GetTransitions()[i].GetOwner() != "ml-platform" {
		t.Errorf("transitions = %v, want one allowed crossing of onprem to azure", resp.GetTransitions())
	}
}

func TestDeliverTwiceIsOneRecord(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.publish(1, "")
	id := crossing.NewID(time.Now())
	batch := &controlv1.Batch{Frames: frames(t, id, onprem1, crossingv1.Side_EGRESS), Through: 5}
	for range 2 {
		if ack := p.deliver("onprem.demo", "onprem-1", batch); len(ack.GetRejected()) > 0 {
			t.Errorf("Deliver() rejected %v", ack.GetRejected())
		}
	}
	if got := recordsOf(t, p.operator(), &controlv1.ListCrossingsRequest{}); len(got) != 1 {
		t.Errorf("%d records, want 1", len(got))
	}
}

func TestFollowSeesARecordChange(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.publish(1, "")
	stream, err := controlv1.NewCrossingServiceClient(p.operator()).ListCrossings(p.patience(), &controlv1.ListCrossingsRequest{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	id := p.deliverBoth()
	for {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if r.GetId() == id && r.GetState() == crossingv1.Record_JOINED {
			return
		}
	}
}

func TestGetBootstrap(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.publish(1, "")
	got, err := controlv1.NewGatewayServiceClient(p.operator()).GetBootstrap(t.Context(), &controlv1.GetBootstrapRequest{Gateway: "azure-1"})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetAddress() != p.cp.Addr().String() || got.GetId() != p.cp.ID().String() {
		t.Errorf("GetBootstrap() = %v, want this control plane", got)
	}
	mesh := p.domains["mesh.demo"]
	bundle, err := spiffebundle.Parse(mesh.TrustDomain(), []byte(got.GetBundle()))
	if err != nil {
		t.Fatal(err)
	}
	if !bundle.X509Bundle().Equal(mesh.Bundle().X509Bundle()) {
		t.Error("the bundle is not the control plane's trust domain's")
	}
	p.stop()
	p.config.Advertise = "cp.mesh.demo:8444"
	p.start()
	got, err = controlv1.NewGatewayServiceClient(p.operator()).GetBootstrap(t.Context(), &controlv1.GetBootstrapRequest{Gateway: "azure-1"})
	if err != nil || got.GetAddress() != "cp.mesh.demo:8444" {
		t.Errorf("GetBootstrap() = %v, %v, want the advertised address", got, err)
	}
}

func TestConnectionEndsWithItsSVID(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.publish(1, "")
	stream, expires := p.shortLived()
	_, err := stream.Recv()
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v, want %v", err, codes.Unavailable)
	}
	if late := time.Since(expires); late < 0 || late > 10*time.Second {
		t.Errorf("the stream ended %s after its SVID", late)
	}
}

// TestConnectionEndsWithItsRoot: what a root vouched for is not heard any more once
// the root is gone, however long a stream has been open. It is counted; others go on.
func TestConnectionEndsWithItsRoot(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.publish(1, "")
	open := func(domain, name string) grpc.BidiStreamingClient[controlv1.Batch, controlv1.Ack] {
		stream, err := controlv1.NewCrossingServiceClient(p.as(domain, "/sallyport/gateway/"+name)).Deliver(p.patience())
		if err != nil {
			t.Fatal(err)
		}
		heard(t, stream)
		return stream
	}
	gone, stays := open("onprem.demo", "onprem-1"), open("azure.demo", "azure-1")
	p.domains["mesh.demo"].Trust(certstest.Mesh(t, "onprem.demo")["onprem.demo"].Bundle()) // another root
	start := time.Now()
	if _, err := gone.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v, want %v", err, codes.Unavailable)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the stream ended %s after its root", took)
	}
	heard(t, stays)
	p.awaitRefusal(crossingv1.Reason_BAD_IDENTITY, "live connection: ")
}

// heard holds that a stream is.
func heard(t *testing.T, stream grpc.BidiStreamingClient[controlv1.Batch, controlv1.Ack]) {
	t.Helper()
	if err := stream.Send(&controlv1.Batch{Through: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
}

// awaitRefusal waits until the control plane has counted one.
func (p *plane) awaitRefusal(reason crossingv1.Reason, detail string) {
	p.t.Helper()
	ctx := p.patience()
	for ; ctx.Err() == nil; <-time.After(50 * time.Millisecond) { // counts are stored when their second is over
		stream, err := controlv1.NewCrossingServiceClient(p.operator()).ListRefusals(ctx, &controlv1.ListRefusalsRequest{})
		if err != nil {
			p.t.Fatal(err)
		}
		for r, err := stream.Recv(); err == nil; r, err = stream.Recv() {
			if r.GetRefusal().GetReason() == reason && strings.HasPrefix(r.GetRefusal().GetDetail(), detail) {
				return
			}
		}
	}
	p.t.Errorf("no refusal for %s: %s", reason, detail)
}

// shortLived is a stream that was heard, and when its gateway's SVID expires.
// An SVID that expires before, as one of two seconds does on a machine that is
// busy enough, is followed by one that lasts longer.
func (p *plane) shortLived() (grpc.BidiStreamingClient[controlv1.Batch, controlv1.Ack], time.Time) {
	p.t.Helper()
	domain, life := p.domains["onprem.demo"], 2*time.Second
	for {
		domain.TTL = life
		source := domain.Source("/sallyport/gateway/onprem-1")
		svid, err := source.GetX509SVID()
		if err != nil {
			p.t.Fatal(err)
		}
		stream, err := controlv1.NewCrossingServiceClient(p.dial(source)).Deliver(p.patience())
		if err == nil {
			err = stream.Send(&controlv1.Batch{Through: 1})
		}
		if err == nil {
			_, err = stream.Recv()
		}
		if err == nil {
			return stream, svid.Certificates[0].NotAfter
		}
		if life *= 2; life > 10*time.Second {
			p.t.Fatal(err)
		}
	}
}

func TestUnknownTrustDomainIsNotHeard(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	stranger := certstest.Mesh(t, "onprem.demo")["onprem.demo"] // the same name, another root
	stranger.Trust(p.domains["mesh.demo"].Bundle())
	conn := p.dial(stranger.Source("/sallyport/gateway/onprem-1"))
	_, err := controlv1.NewPolicyServiceClient(conn).GetPolicy(t.Context(), &controlv1.GetPolicyRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a call with a forged SVID = %v, want the handshake to fail", err)
	}
}

func TestDirectoryIsUsedOnce(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	if _, err := New(t.Context(), p.config); !errors.Is(err, ErrInUse) {
		t.Errorf("New() over the same directory = %v, want %v", err, ErrInUse)
	}
}

func TestNewClosesWhatItMade(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	taken := p.cp.Addr().String()
	config := p.config
	config.Dir, config.Listen = t.TempDir(), taken
	if _, err := New(t.Context(), config); err == nil || !strings.Contains(err.Error(), "listen") {
		t.Fatalf("New() at a taken address = %v", err)
	}
	config.Listen = "127.0.0.1:0"
	cp, err := New(t.Context(), config)
	if err != nil {
		t.Fatalf("New() again = %v, so the first left the directory locked", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := cp.Run(ctx); err != nil {
		t.Errorf("Run() with an ended context = %v", err)
	}
}

func TestValidateTellsAllFaults(t *testing.T) {
	t.Parallel()
	err := Config{Listen: "nowhere", Advertise: "nowhere"}.Validate()
	for _, want := range []string{"dir", "policyKeys", "operators", "listen", "advertise"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, want %q in it", err, want)
		}
	}
	if _, err := New(t.Context(), Config{}); err == nil {
		t.Error("New() of an empty config succeeded")
	}
}
