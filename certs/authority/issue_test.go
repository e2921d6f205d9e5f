package authority

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/authority/issued"
)

// shared are entries of one socket, of which this process satisfies three.
func shared(t *testing.T) Config {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := config(t)
	socket := c.Entries[0].Socket
	id := func(path string) spiffeid.ID { return spiffeid.RequireFromPath(td, path) }
	uids := []uint32{ownUID()}
	c.Entries = []Entry{
		{ID: id("/z-first"), Socket: socket, UIDs: uids, Selectors: []string{"unix:path:" + own}},
		{ID: id("/other-program"), Socket: socket, UIDs: uids, Selectors: []string{"unix:path:/usr/bin/agent"}},
		{ID: id("/other-user"), Socket: socket, UIDs: []uint32{ownUID() + 1}},
		{ID: id("/a-second"), Socket: socket},
		{ID: id("/z-first"), Socket: socket}, // a second way to the same ID
		{ID: id("/alone"), Socket: c.Entries[1].Socket},
	}
	return c
}

func TestSharedSocket(t *testing.T) {
	c := shared(t)
	start(t, c, nil)
	client := dial(t, c.Entries[0])
	svids, err := client.FetchX509SVIDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, svid := range svids {
		got = append(got, svid.ID.Path())
	}
	if diff := cmp.Diff([]string{"/z-first", "/a-second"}, got); diff != "" {
		t.Errorf("SVIDs, in the order of the entries (-want +got):\n%s", diff)
	}
	jwts, err := client.FetchJWTSVIDs(t.Context(), jwtsvid.Params{Audience: "one"})
	if err != nil || len(jwts) != 2 || jwts[0].ID.Path() != "/z-first" {
		t.Errorf("FetchJWTSVIDs = %v, %v", jwts, err)
	}
	one, err := client.FetchJWTSVIDs(t.Context(), jwtsvid.Params{Audience: "one", Subject: c.Entries[3].ID})
	if err != nil || len(one) != 1 || one[0].ID != c.Entries[3].ID {
		t.Errorf("FetchJWTSVIDs of one ID = %v, %v", one, err)
	}
	if _, err := client.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: "one", Subject: c.Entries[1].ID}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("FetchJWTSVID of an entry that is not satisfied = %v", err)
	}
}

// TestIssuingLog: each SVID has a line, with what was found out about the process.
func TestIssuingLog(t *testing.T) {
	c := shared(t)
	a := start(t, c, nil)
	client := dial(t, c.Entries[0])
	svids, err := client.FetchX509SVIDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: "one", Subject: c.Entries[3].ID}); err != nil {
		t.Fatal(err)
	}
	var got []*issued.Entry
	if err := issued.Read(c.Dir, func(e *issued.Entry) error { got = append(got, e); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 {
		t.Fatalf("%d entries, want 3", len(got))
	}
	by := a.ca.View().Active()
	for i, svid := range svids {
		e, leaf := got[i], svid.Certificates[0]
		if e.Kind != issued.X509 || e.ID != svid.ID.String() || e.Digest != certs.Fingerprint(leaf) || !e.NotAfter.Equal(leaf.NotAfter) {
			t.Errorf("entry %d: %+v", i, e)
		}
		if e.Root != by.Number || e.By != certs.Fingerprint(by.Issuer.Intermediate) {
			t.Errorf("entry %d: by %d, %s", i, e.Root, e.By)
		}
		if int(e.PID) != os.Getpid() || e.Socket != c.Entries[0].Socket || !slices.ContainsFunc(e.Attested, func(f string) bool { return strings.HasPrefix(f, "unix:path:") }) {
			t.Errorf("entry %d: to %d, %s, %q", i, e.PID, e.Socket, e.Attested)
		}
	}
	if jwt := got[2]; jwt.Kind != issued.JWT || !slices.Equal(jwt.Audience, []string{"one"}) || jwt.By != by.Issuer.JWTKeyID() || len(jwt.Serial) != 32 {
		t.Errorf("of the JWT-SVID: %+v", jwt)
	}
}

// TestNothingIsIssuedUnlogged: where the log cannot be written nobody gets anything.
func TestNothingIsIssuedUnlogged(t *testing.T) {
	c := config(t)
	a := start(t, c, nil)
	if err := a.issued.Close(); err != nil {
		t.Fatal(err)
	}
	client := dial(t, c.Entries[0])
	if _, err := client.FetchX509SVID(t.Context()); status.Code(err) != codes.Internal {
		t.Errorf("FetchX509SVID = %v", err)
	}
	if _, err := client.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: "one"}); status.Code(err) != codes.Internal {
		t.Errorf("FetchJWTSVID = %v", err)
	}
	if svids, err := a.OwnSVIDs(); err == nil {
		t.Errorf("OwnSVIDs = %d", len(svids))
	}
	if _, err := client.FetchX509Bundles(t.Context()); err != nil {
		t.Errorf("bundles are no SVIDs: %v", err)
	}
}

// registry is a policy that tests change.
type registry struct {
	mu      sync.Mutex // guards what follows
	ids     map[spiffeid.ID]bool
	changed chan struct{}
}

func (r *registry) Check(id spiffeid.ID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ids[id] {
		return errors.New("the policy does not name it")
	}
	return nil
}

func (r *registry) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *registry) set(ids ...spiffeid.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids = map[spiffeid.ID]bool{}
	for _, id := range ids {
		r.ids[id] = true
	}
	if r.changed != nil {
		close(r.changed)
	}
	r.changed = make(chan struct{})
}

// TestRegistry: what the policy does not register gets nothing, and streams of what
// it registers no more end at once.
func TestRegistry(t *testing.T) {
	c := shared(t)
	first, second := c.Entries[0].ID, c.Entries[3].ID
	r := &registry{}
	r.set()
	c.Registry = r
	start(t, c, nil)
	client := dial(t, c.Entries[0])
	if _, err := client.FetchX509SVID(t.Context()); status.Code(err) != codes.PermissionDenied {
		t.Errorf("FetchX509SVID of nobody registered = %v", err)
	}
	r.set(first, second)
	conn, err := grpc.NewClient("unix://"+c.Entries[0].Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "workload.spiffe.io", "true"), 20*time.Second)
	defer cancel()
	api := workload.NewSpiffeWorkloadAPIClient(conn)
	svids, err := api.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
	if err != nil {
		t.Fatal(err)
	}
	bundles, err := api.FetchX509Bundles(ctx, &workload.X509BundlesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundles.Recv(); err != nil {
		t.Fatal(err)
	}
	receive := func(want ...spiffeid.ID) {
		t.Helper()
		for {
			resp, err := svids.Recv()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, svid := range resp.GetSvids() {
				got = append(got, svid.GetSpiffeId())
			}
			if slices.EqualFunc(got, want, func(g string, w spiffeid.ID) bool { return g == w.String() }) {
				return
			}
		}
	}
	receive(first, second)
	r.set(second)
	receive(second)
	if _, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: "one", Subject: first}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("FetchJWTSVID of what is not registered any more = %v", err)
	}
	r.set(second, first)
	receive(first, second)
	r.set()
	for err = nil; err == nil; {
		_, err = svids.Recv()
	}
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("the stream of SVIDs ended with %v", err)
	}
	for err = nil; err == nil; {
		_, err = bundles.Recv()
	}
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("the stream of bundles ended with %v", err)
	}
}

// BenchmarkFetchJWTSVID is one JWT-SVID from question to answer, with the issuing
// log on disk.
func BenchmarkFetchJWTSVID(b *testing.B) {
	dir, err := os.MkdirTemp("", "sp")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	c := Config{TrustDomain: td, Dir: dir + "/authority", Entries: []Entry{{ID: spiffeid.RequireFromPath(td, "/agent"), Socket: dir + "/s"}}}
	a, err := New(c)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	defer func() { cancel(); <-done }()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := grpc.NewClient("unix://"+dir+"/s", grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		ctx := metadata.AppendToOutgoingContext(context.Background(), "workload.spiffe.io", "true")
		for pb.Next() {
			if _, err := workload.NewSpiffeWorkloadAPIClient(conn).FetchJWTSVID(ctx, &workload.JWTSVIDRequest{Audience: []string{"one"}}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
