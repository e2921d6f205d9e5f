package federation

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/certs"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// background runs something until the test ends or stop is called.
func background(t testing.TB, run func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("it ended with: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// endpointOf serves an authority's bundle in memory, and gives a follower of it.
func endpointOf(t testing.TB, k *Keeper, a *fakeAuthority, certificate func() (*tls.Certificate, error)) *Follower {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	e, err := serveOn(l, EndpointConfig{TrustDomain: a.td, Bundle: a.Bundle, Certificate: certificate})
	if err != nil {
		t.Fatal(err)
	}
	background(t, e.Run)
	at, err := ParseEndpoint(&configv1.BundleEndpoint{
		TrustDomain: a.td.Name(), Url: "https://bundle.aws.test/", Profile: ProfileSPIFFE, Id: a.td.IDString() + testName,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &Follower{Keeper: k, Endpoints: []Endpoint{at}, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return l.DialContext(ctx)
	}}
}

// newestRoot shows the SVID under the newest root, as an endpoint does that knows
// no better.
func newestRoot(a *fakeAuthority) func() (*tls.Certificate, error) {
	return func() (*tls.Certificate, error) {
		svids, err := a.OwnSVIDs()
		if err != nil {
			return nil, err
		}
		return certs.Certificate(svids[0]), nil
	}
}

// plane carries statements and judges none of them. Its source judges callers.
type plane struct {
	controlv1.UnimplementedBundleServiceServer
	net    *bufconn.Listener
	source *certs.Source

	mu      sync.Mutex // guards what follows
	newest  map[string]*configv1.SignedBundle
	change  func(*configv1.SignedBundle) // forges what is sent; may be nil
	holders []*controlv1.BundleHolder    // nil: nobody may ask
	changed chan struct{}
}

func newPlane(t testing.TB, source *certs.Source) *plane {
	t.Helper()
	p := &plane{net: bufconn.Listen(1 << 16), source: source, newest: map[string]*configv1.SignedBundle{}, changed: make(chan struct{})}
	server := grpc.NewServer(grpc.WaitForHandlers(true), grpc.Creds(credentials.NewTLS(certs.ServerTLS(source, certs.AuthorizeAny(), "h2"))))
	controlv1.RegisterBundleServiceServer(server, p)
	background(t, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, server.Stop)()
		if err := server.Serve(p.net); !errors.Is(err, grpc.ErrServerStopped) {
			return err
		}
		return nil
	})
	return p
}

func (p *plane) Publish(_ context.Context, req *controlv1.PublishBundleRequest) (*controlv1.PublishBundleResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if req.GetSigned().GetTrustDomain() == "refused.test" {
		return nil, status.Error(codes.FailedPrecondition, "no")
	}
	p.newest[req.GetSigned().GetTrustDomain()] = req.GetSigned()
	close(p.changed)
	p.changed = make(chan struct{})
	return &controlv1.PublishBundleResponse{}, nil
}

func (p *plane) Watch(_ *controlv1.WatchBundlesRequest, stream controlv1.BundleService_WatchServer) error {
	for {
		p.mu.Lock()
		var all []*configv1.SignedBundle
		for _, s := range p.newest {
			if p.change != nil {
				s = proto.CloneOf(s)
				p.change(s)
			}
			all = append(all, s)
		}
		changed := p.changed
		p.mu.Unlock()
		for _, s := range all {
			if err := stream.Send(s); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (p *plane) of(td string) *configv1.SignedBundle {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.newest[td]
}

func (p *plane) ListHolders(context.Context, *controlv1.ListHoldersRequest) (*controlv1.ListHoldersResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holders == nil {
		return nil, status.Error(codes.PermissionDenied, "no")
	}
	return &controlv1.ListHoldersResponse{Holders: p.holders}, nil
}

// join connects an authority.
func (p *plane) join(t testing.TB, a Authority, k *Keeper) *Channel {
	t.Helper()
	publisher, err := NewPublisher(a, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &Channel{
		Address: "cp", ID: p.source.ID(), Publisher: publisher, Keeper: k,
		dialer: grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.net.DialContext(ctx) }),
	}
	background(t, c.Run)
	background(t, publisher.Run)
	return c
}

// peerOf is the chain of a gateway under the newest root.
func peerOf(t testing.TB, a *fakeAuthority) *x509svid.SVID {
	t.Helper()
	return svidOf(t, a.newest(), "/sallyport/gateway/aws-1")
}

func trusts(k *Keeper, svid *x509svid.SVID) bool {
	_, err := certs.Verify(k, svid.Certificates, certs.AuthorizeID(svid.ID))
	return err == nil
}
