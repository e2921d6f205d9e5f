package authority

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	// maxRequest is far above any request of the Workload API.
	maxRequest = 64 << 10
	// maxToken is the longest JWT-SVID that is looked at.
	maxToken = 8 << 10
)

// server is the Workload API of one entry (SPIFFE Workload API, sections 4-6).
// WIT-SVIDs are unimplemented.
type server struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	a     *Authority
	entry Entry
	log   *zap.Logger
}

func newServer(a *Authority, e Entry) *grpc.Server {
	s := &server{a: a, entry: e, log: a.log.With(zap.Stringer("id", e.ID))}
	g := grpc.NewServer(
		grpc.Creds(peerCredentials{}),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.UnaryInterceptor(s.admitCall),
		grpc.StreamInterceptor(s.admitStream),
	)
	workload.RegisterSpiffeWorkloadAPIServer(g, s)
	return g
}

func (s *server) admitCall(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (s *server) admitStream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := s.admit(ss.Context()); err != nil {
		return err
	}
	return next(srv, ss)
}

// admit asks for the security header, which keeps a confused deputy that can
// merely be made to send requests from getting an SVID, and attests the caller.
func (s *server) admit(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get("workload.spiffe.io"); len(v) != 1 || v[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	uid, ok := userOf(ctx)
	if !ok || !s.entry.allows(uid) {
		s.log.Warn("workload refused", zap.Uint32("uid", uid), zap.Bool("attested", ok))
		return status.Error(codes.PermissionDenied, "no identity issued")
	}
	return nil
}

// FetchX509SVID sends an SVID and all bundles, again whenever bundles change,
// and a new SVID at half of its life.
func (s *server) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	rotate := time.NewTicker(s.a.x509TTL / 2)
	defer rotate.Stop()
	svid, err := s.issue()
	if err != nil {
		return err
	}
	for {
		bundles, changed := s.a.bundles()
		resp, err := s.x509Response(svid, bundles)
		if err != nil {
			return err
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-changed:
		case <-rotate.C:
			if svid, err = s.issue(); err != nil {
				return err
			}
		}
	}
}

func (s *server) issue() (*x509svid.SVID, error) {
	svid, err := s.a.issue(s.entry)
	if err != nil {
		return nil, s.internal("x509-svid not issued", err)
	}
	s.log.Debug("x509-svid issued", zap.Time("not_after", svid.Certificates[0].NotAfter))
	return svid, nil
}

func (s *server) x509Response(svid *x509svid.SVID, bundles *spiffebundle.Set) (*workload.X509SVIDResponse, error) {
	key, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey)
	if err != nil {
		return nil, s.internal("key not marshalled", err)
	}
	resp := &workload.X509SVIDResponse{FederatedBundles: map[string][]byte{}}
	var own []byte
	for _, b := range bundles.Bundles() {
		if b.TrustDomain() == s.a.td {
			own = raw(b.X509Authorities())
			continue
		}
		resp.FederatedBundles[b.TrustDomain().IDString()] = raw(b.X509Authorities())
	}
	resp.Svids = []*workload.X509SVID{{
		SpiffeId:    svid.ID.String(),
		X509Svid:    raw(svid.Certificates),
		X509SvidKey: key,
		Bundle:      own,
	}}
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
	for {
		bundles, changed := s.a.bundles()
		if err := send(bundles); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-changed:
		}
	}
}

// FetchJWTSVID makes a JWT-SVID of the entry's ID for the audiences.
func (s *server) FetchJWTSVID(_ context.Context, req *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	if len(req.GetAudience()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "audience must be specified")
	}
	for _, audience := range req.GetAudience() {
		if audience == "" {
			return nil, status.Error(codes.InvalidArgument, "an audience is empty")
		}
	}
	if want := req.GetSpiffeId(); want != "" && want != s.entry.ID.String() {
		return nil, status.Error(codes.PermissionDenied, "no identity issued")
	}
	svid, err := s.a.ca.View().Active().Issuer.JWTSVID(s.entry.ID, req.GetAudience(), s.a.now(), s.a.jwtTTL)
	if err != nil {
		return nil, s.internal("jwt-svid not issued", err)
	}
	return &workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{{SpiffeId: s.entry.ID.String(), Svid: svid.Token}}}, nil
}

// ValidateJWTSVID checks a JWT-SVID of any known trust domain.
func (s *server) ValidateJWTSVID(_ context.Context, req *workload.ValidateJWTSVIDRequest) (*workload.ValidateJWTSVIDResponse, error) {
	switch {
	case req.GetAudience() == "":
		return nil, status.Error(codes.InvalidArgument, "audience must be specified")
	case len(req.GetSvid()) > maxToken:
		return nil, status.Error(codes.InvalidArgument, fmt.Sprintf("JWT-SVID is longer than %d bytes", maxToken))
	}
	bundles, _ := s.a.bundles()
	svid, err := jwtsvid.ParseAndValidate(req.GetSvid(), jwtSet(bundles), []string{req.GetAudience()})
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
