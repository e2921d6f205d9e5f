package authority

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sallyport-mesh/sallyport/certs/authority/attest"
)

const (
	// maxRequest is far above any request of the Workload API.
	maxRequest = 64 << 10
	// maxToken is the longest JWT-SVID that is looked at.
	maxToken = 8 << 10
)

// server is the Workload API of one socket (SPIFFE Workload API, sections 4-6).
// WIT-SVIDs are unimplemented.
type server struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	a    *Authority
	at   *endpoint
	asks []attest.Selectors
	log  *zap.Logger
}

func newServer(a *Authority, e *endpoint) *grpc.Server {
	s := &server{a: a, at: e, asks: e.asks(), log: a.log.With(zap.String("socket", e.socket))}
	g := grpc.NewServer(
		grpc.Creds(peerCredentials{a.attestor}),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.UnaryInterceptor(s.admitCall),
		grpc.StreamInterceptor(s.admitStream),
	)
	workload.RegisterSpiffeWorkloadAPIServer(g, s)
	return g
}

func (s *server) admitCall(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	c, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	return next(context.WithValue(ctx, callerKey{}, c), req)
}

func (s *server) admitStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	c, err := s.admit(ss.Context())
	if err != nil {
		return err
	}
	return next(srv, &calledStream{ss, context.WithValue(ss.Context(), callerKey{}, c)})
}

type callerKey struct{}

// callerOf is who admit let in: the interceptors put it there for every call.
func callerOf(ctx context.Context) *caller {
	return ctx.Value(callerKey{}).(*caller)
}

// calledStream is a stream whose context knows its caller.
type calledStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *calledStream) Context() context.Context { return s.ctx }

// admit asks for the security header, which keeps a confused deputy that can
// merely be made to send requests from getting an SVID, and attests the caller.
func (s *server) admit(ctx context.Context) (*caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get("workload.spiffe.io"); len(v) != 1 || v[0] != "true" {
		return nil, status.Error(codes.InvalidArgument, "security header missing from request")
	}
	p := peerOf(ctx)
	if p == nil {
		s.log.Warn("workload refused", zap.Bool("attested", false))
		return nil, errNoIdentity
	}
	satisfied, found, err := p.Attest(s.asks)
	c := &caller{a: s.a, peer: p, found: found, socket: s.at.socket}
	seen := map[spiffeid.ID]bool{}
	for _, i := range satisfied {
		if e := s.at.entries[i]; !seen[e.ID] { // one ID may be asked for in two ways
			seen[e.ID] = true
			c.entries = append(c.entries, e)
		}
	}
	if len(c.entries) == 0 {
		s.log.Warn("workload refused", zap.Bool("attested", true), zap.Int32("pid", found.PID), zap.Strings("found", found.Facts()), zap.Error(err))
		return nil, errNoIdentity
	}
	_, err = c.entitled()
	return c, err
}

// FetchX509SVID sends the caller's SVIDs and all bundles, again whenever anything
// of it changes: with new SVIDs at half of their life and under a new root. It ends
// when the caller is entitled to none any more.
func (s *server) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	ctx := stream.Context()
	c := callerOf(ctx)
	var has map[spiffeid.ID]*held
	for {
		changed := s.a.Changed()
		entries, err := c.entitled()
		if err != nil {
			return err
		}
		if has, err = c.x509(entries, has); err != nil {
			return s.internal("x509-svid not issued", err)
		}
		resp, err := s.x509Response(entries, has)
		if err != nil {
			return err
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
		if err := s.wait(ctx, changed, has); err != nil {
			return err
		}
	}
}

// wait waits for a change, or for the first of the SVIDs to be renewed.
func (s *server) wait(ctx context.Context, changed <-chan struct{}, has map[spiffeid.ID]*held) error {
	now := s.a.now()
	left := s.a.cfg.X509TTL
	for _, h := range has {
		left = min(left, h.renewAt.Sub(now))
	}
	renew := time.NewTimer(left)
	defer renew.Stop()
	select {
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	case <-changed:
	case <-renew.C:
	}
	return nil
}

func (s *server) x509Response(entries []*entry, has map[spiffeid.ID]*held) (*workload.X509SVIDResponse, error) {
	resp := &workload.X509SVIDResponse{FederatedBundles: map[string][]byte{}}
	var own []byte
	for _, b := range s.a.bundles().Bundles() {
		if b.TrustDomain() == s.a.cfg.TrustDomain {
			own = raw(b.X509Authorities())
			continue
		}
		resp.FederatedBundles[b.TrustDomain().IDString()] = raw(b.X509Authorities())
	}
	for _, e := range entries {
		svid := has[e.ID].svid
		key, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey)
		if err != nil {
			return nil, s.internal("key not marshalled", err)
		}
		resp.Svids = append(resp.Svids, &workload.X509SVID{
			SpiffeId: svid.ID.String(), X509Svid: raw(svid.Certificates), X509SvidKey: key, Bundle: own,
		})
	}
	return resp, nil
}

// FetchX509Bundles sends the X.509 bundles of all trust domains, again whenever
// they change.
func (s *server) FetchX509Bundles(_ *workload.X509BundlesRequest, stream workload.SpiffeWorkloadAPI_FetchX509BundlesServer) error {
	return s.watchBundles(stream.Context(), func(set *spiffebundle.Set) error {
		resp := &workload.X509BundlesResponse{Bundles: map[string][]byte{}}
		for _, b := range set.Bundles() {
			resp.Bundles[b.TrustDomain().IDString()] = raw(b.X509Authorities())
		}
		return stream.Send(resp)
	})
}

// FetchJWTBundles sends the JWT bundles of all trust domains, again whenever
// they change.
func (s *server) FetchJWTBundles(_ *workload.JWTBundlesRequest, stream workload.SpiffeWorkloadAPI_FetchJWTBundlesServer) error {
	return s.watchBundles(stream.Context(), func(set *spiffebundle.Set) error {
		resp := &workload.JWTBundlesResponse{Bundles: map[string][]byte{}}
		for _, b := range set.Bundles() {
			doc, err := b.JWTBundle().Marshal()
			if err != nil {
				return s.internal("jwt bundle not marshalled", err)
			}
			resp.Bundles[b.TrustDomain().IDString()] = doc
		}
		return stream.Send(resp)
	})
}

func (s *server) watchBundles(ctx context.Context, send func(*spiffebundle.Set) error) error {
	c := callerOf(ctx)
	for {
		changed := s.a.Changed()
		if _, err := c.entitled(); err != nil {
			return err
		}
		if err := send(s.a.bundles()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-changed:
		}
	}
}

// FetchJWTSVID makes JWT-SVIDs for the audiences: of the ID that is asked for, or of
// all that the caller is entitled to.
func (s *server) FetchJWTSVID(ctx context.Context, req *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	if len(req.GetAudience()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "audience must be specified")
	}
	if slices.Contains(req.GetAudience(), "") {
		return nil, status.Error(codes.InvalidArgument, "an audience is empty")
	}
	c := callerOf(ctx)
	entries, err := c.entitled()
	if err != nil {
		return nil, err
	}
	if want := req.GetSpiffeId(); want != "" {
		entries = slices.DeleteFunc(entries, func(e *entry) bool { return e.ID.String() != want })
	}
	if len(entries) == 0 {
		return nil, errNoIdentity
	}
	svids, err := c.jwt(entries, req.GetAudience())
	if err != nil {
		return nil, s.internal("jwt-svid not issued", err)
	}
	resp := &workload.JWTSVIDResponse{}
	for i, e := range entries {
		resp.Svids = append(resp.Svids, &workload.JWTSVID{SpiffeId: e.ID.String(), Svid: svids[i].Token})
	}
	return resp, nil
}

// ValidateJWTSVID checks a JWT-SVID of any known trust domain.
func (s *server) ValidateJWTSVID(_ context.Context, req *workload.ValidateJWTSVIDRequest) (*workload.ValidateJWTSVIDResponse, error) {
	switch {
	case req.GetAudience() == "":
		return nil, status.Error(codes.InvalidArgument, "audience must be specified")
	case len(req.GetSvid()) > maxToken:
		return nil, status.Error(codes.InvalidArgument, fmt.Sprintf("JWT-SVID is longer than %d bytes", maxToken))
	}
	svid, err := jwtsvid.ParseAndValidate(req.GetSvid(), jwtSet(s.a.bundles()), []string{req.GetAudience()})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	claims, err := structpb.NewStruct(svid.Claims)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "claims cannot be told: "+err.Error())
	}
	return &workload.ValidateJWTSVIDResponse{SpiffeId: svid.ID.String(), Claims: claims}, nil
}

// internal logs what went wrong here and tells the workload only that it did.
func (s *server) internal(what string, err error) error {
	s.log.Error(what, zap.Error(err))
	return status.Error(codes.Internal, what)
}

// raw is certificates in the Workload API's form: DER, one after the other.
func raw(certs []*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certs {
		out = append(out, cert.Raw...)
	}
	return out
}

// jwtSet is the JWT part of bundles.
func jwtSet(set *spiffebundle.Set) *jwtbundle.Set {
	out := jwtbundle.NewSet()
	for _, b := range set.Bundles() {
		out.Add(b.JWTBundle())
	}
	return out
}
