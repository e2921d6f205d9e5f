package authority

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/authority/attest"
	"github.com/sallyport-mesh/sallyport/certs/durable"
	"github.com/sallyport-mesh/sallyport/certs/internal/unixsock"
)

var td = spiffeid.RequireTrustDomainFromString("aws.example")

func config(t *testing.T) Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return Config{
		TrustDomain: td,
		Dir:         filepath.Join(dir, "authority"),
		Entries: []Entry{
			{ID: spiffeid.RequireFromPath(td, "/agent"), Socket: filepath.Join(dir, "run", "agent.sock"), DNSNames: []string{"agent.aws.mesh", "127.0.0.1"}},
			{ID: spiffeid.RequireFromPath(td, "/other"), Socket: filepath.Join(dir, "run", "other.sock"), UIDs: []uint32{ownUID() + 1}},
		},
	}
}

func start(t *testing.T, c Config, clock func() time.Time) *Authority {
	t.Helper()
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if clock != nil {
		a.now = clock
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
		for _, e := range c.Entries {
			if _, err := os.Lstat(e.Socket); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("socket %q is left behind", e.Socket)
			}
		}
	})
	return a
}

func dial(t *testing.T, e Entry) *workloadapi.Client {
	t.Helper()
	c, err := workloadapi.New(t.Context(), workloadapi.WithAddr("unix://"+e.Socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestX509SVID(t *testing.T) {
	c := config(t)
	a := start(t, c, nil)
	svid, err := dial(t, c.Entries[0]).FetchX509SVID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leaf := svid.Certificates[0]
	if svid.ID != c.Entries[0].ID {
		t.Errorf("ID = %v, want %v", svid.ID, c.Entries[0].ID)
	}
	for _, name := range c.Entries[0].DNSNames {
		if err := leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if err := leaf.VerifyHostname("127.0.0.2"); err == nil {
		t.Error("it verifies for an address that it does not have")
	}
	if leaf.KeyUsage != x509.KeyUsageDigitalSignature || leaf.IsCA {
		t.Errorf("key usage %b, CA %t", leaf.KeyUsage, leaf.IsCA)
	}
	want := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if diff := cmp.Diff(want, leaf.ExtKeyUsage); diff != "" {
		t.Errorf("extended key usage (-want +got):\n%s", diff)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life != time.Hour+30*time.Second {
		t.Errorf("life = %v", life)
	}
	if _, _, err := x509svid.Verify(svid.Certificates, a.Bundle()); err != nil {
		t.Error(err)
	}
	if len(svid.Certificates) != 2 {
		t.Errorf("%d certificates, want the SVID and its intermediate", len(svid.Certificates))
	}
}

func TestBundlesAndJWT(t *testing.T) {
	c := config(t)
	a := start(t, c, nil)
	foreign := spiffebundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString("azure.example"), a.Bundle().X509Authorities())
	forged := spiffebundle.New(td) // must not replace the authority's own
	a.SetFederated(foreign, forged)
	client := dial(t, c.Entries[0])

	set, err := client.FetchX509Bundles(t.Context())
	if err != nil || set.Len() != 2 {
		t.Fatalf("FetchX509Bundles = %v, %v", set, err)
	}
	if b, ok := set.Get(td); !ok || !b.Equal(a.Bundle().X509Bundle()) {
		t.Error("own X.509 bundle is another one")
	}
	jwts, err := client.FetchJWTBundles(t.Context())
	if err != nil || jwts.Len() != 2 {
		t.Fatalf("FetchJWTBundles = %v, %v", jwts, err)
	}
	full, err := client.FetchX509Context(t.Context())
	if err != nil || full.Bundles.Len() != 2 {
		t.Fatalf("FetchX509Context = %v, %v", full, err)
	}

	svid, err := client.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: "one", ExtraAudiences: []string{"two"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"one", "two"}, svid.Audience); diff != "" {
		t.Errorf("audiences (-want +got):\n%s", diff)
	}
	if got, err := client.ValidateJWTSVID(t.Context(), svid.Marshal(), "two"); err != nil || got.ID != c.Entries[0].ID {
		t.Errorf("ValidateJWTSVID = %v, %v", got, err)
	}
	if _, err := client.ValidateJWTSVID(t.Context(), svid.Marshal(), "three"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("ValidateJWTSVID for another audience = %v", err)
	}
	if _, err := client.ValidateJWTSVID(t.Context(), strings.Repeat("x", maxToken+1), "two"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("ValidateJWTSVID of a long text = %v", err)
	}
	_, err = client.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: "one", Subject: c.Entries[1].ID})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("JWT-SVID of another ID = %v, want PermissionDenied", err)
	}
}

// TestRefusedCalls makes each call without the header, as another user, and
// without what it needs.
func TestRefusedCalls(t *testing.T) {
	c := config(t)
	start(t, c, nil)
	header := metadata.Pairs("workload.spiffe.io", "true")
	tests := []struct {
		name   string
		entry  Entry
		header metadata.MD
		want   codes.Code
	}{
		{"no header", c.Entries[0], nil, codes.InvalidArgument},
		{"header is not true", c.Entries[0], metadata.Pairs("workload.spiffe.io", "yes"), codes.InvalidArgument},
		{"another user", c.Entries[1], header, codes.PermissionDenied},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, err := range callAll(t, tt.entry, tt.header) {
				if status.Code(err) != tt.want {
					t.Errorf("%s = %v, want %v", name, err, tt.want)
				}
			}
		})
	}
	t.Run("no audience", func(t *testing.T) {
		all := callAll(t, c.Entries[0], header)
		for _, name := range []string{"FetchJWTSVID", "ValidateJWTSVID"} {
			if status.Code(all[name]) != codes.InvalidArgument {
				t.Errorf("%s = %v, want InvalidArgument", name, all[name])
			}
		}
		if status.Code(all["FetchWITSVID"]) != codes.Unimplemented {
			t.Errorf("FetchWITSVID = %v, want Unimplemented", all["FetchWITSVID"])
		}
	})
}

func callAll(t *testing.T, e Entry, header metadata.MD) map[string]error {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+e.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(t.Context(), header))
	defer cancel()
	api := workload.NewSpiffeWorkloadAPIClient(conn)
	out := map[string]error{}
	_, out["FetchJWTSVID"] = api.FetchJWTSVID(ctx, &workload.JWTSVIDRequest{})
	_, out["ValidateJWTSVID"] = api.ValidateJWTSVID(ctx, &workload.ValidateJWTSVIDRequest{})
	out["FetchX509SVID"] = first(api.FetchX509SVID(ctx, &workload.X509SVIDRequest{}))
	out["FetchX509Bundles"] = first(api.FetchX509Bundles(ctx, &workload.X509BundlesRequest{}))
	out["FetchJWTBundles"] = first(api.FetchJWTBundles(ctx, &workload.JWTBundlesRequest{}))
	out["FetchWITSVID"] = first(api.FetchWITSVID(ctx, &workload.WITSVIDRequest{}))
	return out
}

func first[T any](stream grpc.ServerStreamingClient[T], err error) error {
	if err == nil {
		_, err = stream.Recv()
	}
	return err
}

// TestClockAhead has an authority whose clock is two hours off on either side.
func TestClockAhead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		off    time.Duration
		notYet bool
	}{{"ahead", 2 * time.Hour, true}, {"behind", -2 * time.Hour, false}} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(t)
			start(t, c, func() time.Time { return time.Now().Add(tt.off) })
			s, err := certs.NewSource(t.Context(), certs.Options{WorkloadAPI: "unix://" + c.Entries[0].Socket})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			_, err = s.GetX509SVID()
			var dates *certs.DatesError
			if !errors.Is(err, certs.ErrExpired) || !errors.As(err, &dates) || dates.NotYet() != tt.notYet {
				t.Errorf("GetX509SVID = %v", err)
			}
		})
	}
}

// sent is a FetchX509SVID stream that keeps what is sent.
type sent struct {
	grpc.ServerStream
	ctx   context.Context
	times []time.Duration
	certs []string
	other []int
	begin time.Time
}

func (s *sent) Context() context.Context { return s.ctx }

func (s *sent) Send(r *workload.X509SVIDResponse) error {
	s.times = append(s.times, time.Since(s.begin))
	s.certs = append(s.certs, string(r.GetSvids()[0].GetX509Svid()))
	s.other = append(s.other, len(r.GetFederatedBundles()))
	return nil
}

// idle makes an authority that serves nobody, and is closed when the test ends.
func idle(t *testing.T, c Config) *Authority {
	t.Helper()
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// admitted is a context of a caller that was let in for the entries.
func admitted(ctx context.Context, a *Authority, entries ...Entry) context.Context {
	c := &caller{a: a, peer: &attest.Peer{}, socket: "/test.sock"}
	for _, e := range entries {
		c.entries = append(c.entries, &entry{Entry: e})
	}
	return context.WithValue(ctx, callerKey{}, c)
}

func TestRotatesAtHalfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t)
		agent := c.Entries[0]
		c.Entries = nil
		a := idle(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), 110*time.Minute)
		defer cancel()
		stream := &sent{ctx: admitted(ctx, a, agent), begin: time.Now()}
		done := make(chan error, 1)
		s := &server{a: a, log: a.log}
		go func() { done <- s.FetchX509SVID(nil, stream) }()
		<-time.After(10 * time.Minute)
		a.SetFederated(spiffebundle.New(spiffeid.RequireTrustDomainFromString("azure.example")))
		for _, after := range []time.Duration{60 * time.Minute, 5 * time.Minute} { // at 70 and 75 minutes
			<-time.After(after)
			step := a.PrepareRoot
			if after < 60*time.Minute {
				step = a.ActivateRoot
			}
			if err := step(); err != nil {
				t.Error(err)
			}
		}
		if err := <-done; status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("FetchX509SVID = %v", err)
		}
		var want []time.Duration
		for _, m := range []time.Duration{0, 10, 30, 60, 70, 75, 105} {
			want = append(want, m*time.Minute)
		}
		if diff := cmp.Diff(want, stream.times); diff != "" {
			t.Fatalf("sent at (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]int{0, 1, 1, 1, 1, 1, 1}, stream.other); diff != "" {
			t.Errorf("federated bundles (-want +got):\n%s", diff)
		}
		for i, fresh := range []bool{false, true, true, false, true, true} {
			if got := stream.certs[i] != stream.certs[i+1]; got != fresh {
				t.Errorf("a new SVID at %v: %t, want %t: one is due at half life and under a new root, and only then", stream.times[i+1], got, fresh)
			}
		}
	})
}

func TestKeysAreKept(t *testing.T) {
	c := config(t)
	c.Entries = nil
	first, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(c); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("a second authority in one directory = %v", err)
	}
	if err := first.close(); err != nil {
		t.Fatal(err)
	}
	if second := idle(t, c); !first.Bundle().Equal(second.Bundle()) {
		t.Error("a restart made another root")
	}
}

func TestSockets(t *testing.T) {
	c := config(t)
	if err := os.MkdirAll(filepath.Dir(c.Entries[0].Socket), 0o755); err != nil {
		t.Fatal(err)
	}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: c.Entries[0].Socket})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, c, nil)
	for i, want := range []os.FileMode{0o600, 0o666} {
		if info, err := os.Lstat(c.Entries[i].Socket); err != nil || info.Mode().Perm() != want {
			t.Errorf("mode of socket %d: %v, %v, want %v", i, info.Mode(), err, want)
		}
	}
	second := c
	second.Dir += "2"
	if _, err := New(second); err == nil || !strings.Contains(err.Error(), "another process is listening") {
		t.Errorf("New on a live socket = %v", err)
	}
	if _, err := dial(t, c.Entries[0]).FetchX509SVID(t.Context()); err != nil {
		t.Errorf("the live socket no longer works: %v", err)
	}

	file := config(t)
	file.Entries[0].Socket = filepath.Join(c.Dir, "bundle.json")
	if _, err := New(file); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("New on a file = %v", err)
	}
	if _, err := os.Stat(file.Entries[0].Socket); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
}

func TestConfigFaults(t *testing.T) {
	long := "/" + strings.Repeat("x", unixsock.MaxPath)
	_, err := New(Config{
		TrustDomain: td,
		Entries: []Entry{
			{ID: spiffeid.RequireFromString("spiffe://azure.example/a"), Socket: long},
			{ID: td.ID(), Socket: "relative.sock"},
			{ID: spiffeid.RequireFromPath(td, "/a"), Socket: "/run/one.sock", Selectors: []string{"unix:user:root", "unix:uid:-1"}},
			{ID: spiffeid.RequireFromPath(td, "/b"), Socket: "/run/one.sock", Selectors: []string{"unix:path:/usr/bin/agent"}},
		},
		Name:             "../x",
		X509TTL:          time.Millisecond,
		JWTTTL:           2 * time.Hour,
		IntermediateLife: time.Microsecond,
		RootLife:         time.Microsecond,
		RefreshHint:      time.Microsecond,
		Admin:            true,
	})
	if err == nil {
		t.Fatal("New took it")
	}
	for _, want := range []string{
		"directory is missing", "X509-SVIDs of 1ms", "JWT-SVIDs of 2h0m0s",
		`entries[0]: "spiffe://azure.example/a"`, "entries[0]: socket", "104 bytes long", "shorter name",
		`entries[1]: "spiffe://aws.example"`, "relative.sock", `entries[2]: selector "unix:user:root"`, "unix:uid:-1",
		"entries[3]: selectors say which program and not whose", `name "../x"`, "intermediates of 1", "roots of 1", "refresh hint of 1",
		`socket "admin.sock" is not an absolute path`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not among the faults:\n%v", want, err)
		}
	}
}
