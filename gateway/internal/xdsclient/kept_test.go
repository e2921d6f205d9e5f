package xdsclient

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

var node = spiffeid.RequireFromString("spiffe://aws.test/sallyport/gateway/aws-1")

// fakeConn is a connection that leads nowhere.
type fakeConn struct{ grpc.ClientConnInterface }

// start makes a client that has no control plane.
func start(t *testing.T, dir string) *Client {
	t.Helper()
	c, err := New(Config{Conn: fakeConn{}, Node: node, StateDir: dir, Keys: keySet("operator")})
	if err != nil {
		t.Fatalf("New error: %v", err)
	}
	return c
}

// enforced fills a state directory as a run does that put policies in force.
func enforced(t *testing.T, dir string, all ...*policyv1.SignedPolicy) {
	t.Helper()
	c := start(t, dir)
	for _, sp := range all {
		if err := c.book.accept(policies(sp)); err != nil {
			t.Fatalf("accept: %v", err)
		}
		if err := c.book.want(state(revision(sp))); err != nil {
			t.Fatalf("want: %v", err)
		}
		if err := c.book.settle(testTime); err != nil {
			t.Fatalf("settle: %v", err)
		}
	}
}

func TestStartsWithoutAControlPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cp := newControlPlane(t)
		_, stop := cp.client(dir)
		s := <-cp.streams
		sp := signedPolicy(t, "a", 3)
		s.accepted(policies(sp))
		s.accepted(state(revision(sp)))
		s.accepted(endpoints(assignment("chat.llm.aws.mesh", "10.1.0.9")))
		stop()

		c := start(t, dir)
		wantCurrent(t, c, sp)
		if got := c.Endpoints("llm", "chat"); !slices.Equal(got, []string{"10.1.0.9:8000"}) {
			t.Errorf("endpoints %v", got)
		}

		// The control plane is back with the same policy: nothing changes.
		again, _ := cp.client(dir)
		s = <-cp.streams
		before := again.Policies().Current
		s.accepted(policies(sp))
		s.accepted(state(revision(sp)))
		synctest.Wait()
		if again.Policies().Current != before || again.Policies().Previous != nil {
			t.Error("the same policy was put in force again")
		}
	})
}

func TestKeptPolicyThatIsNotGood(t *testing.T) {
	one, two := signedPolicy(t, "a", 1), signedPolicy(t, "b", 2)
	encode := func(sp *policyv1.SignedPolicy) []byte {
		b, err := proto.Marshal(sp)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	forged := proto.CloneOf(two)
	forged.Signatures[0].Ed25519[0] ^= 1
	tests := []struct {
		name   string
		policy []byte // nil: no file
		floor  string // "": as written; "-": no file
		want   *policyv1.SignedPolicy
	}{
		{"good", encode(two), "", two},
		{"missing", nil, "", nil},
		{"empty", []byte{}, "", nil},
		{"not readable", []byte("\xff\xff\xff"), "", nil},
		{"cut off", encode(two)[:100], "", nil},
		{"forged", encode(forged), "", nil},
		{"an older one put back", encode(one), "", nil},
		{"newer than the floor, as after a crash between the two", encode(two), `{"policy":"test","serial":1,"revision":"sha256:00"}`, two},
		{"without a floor", encode(two), "-", two},
		{"floor not readable", encode(two), `{"serial":`, two},
		{"floor with an unknown key", encode(two), `{"policy":"test","serial":9,"x":1}`, two},
		{"floor of another policy", encode(two), `{"policy":"other","serial":1,"revision":"sha256:00"}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			enforced(t, dir, one, two)
			write(t, dir, policyFile, tt.policy)
			switch tt.floor {
			case "":
			case "-":
				write(t, dir, floorFile, nil)
			default:
				write(t, dir, floorFile, []byte(tt.floor))
			}
			want := policy.Ref{}
			if tt.want != nil {
				want = refOf(tt.want)
			}
			if got := ref(start(t, dir).Policies().Current); got != want {
				t.Errorf("in force: %+v, want %+v", got, want)
			}
		})
	}
}

func write(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	var err error
	if content == nil {
		err = os.Remove(path)
	} else {
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheFloorOutlastsALostPolicy(t *testing.T) {
	dir := t.TempDir()
	enforced(t, dir, signedPolicy(t, "a", 1), signedPolicy(t, "b", 2))
	write(t, dir, policyFile, []byte("\xff"))
	c := start(t, dir)
	if err := c.book.accept(policies(signedPolicy(t, "a", 1))); err == nil {
		t.Error("an older policy was accepted after the last good one was lost")
	}
	if err := c.book.accept(policies(signedPolicy(t, "b", 2))); err != nil {
		t.Errorf("the last good policy itself: %v", err)
	}
}

func TestStateFilesAreTheOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	enforced(t, dir, signedPolicy(t, "a", 1))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), mode)
		}
	}
	if want := []string{floorFile, policyFile}; !slices.Equal(names, want) {
		t.Errorf("files %v, want %v", names, want)
	}
}

func TestKeptEndpointsThatAreNotGood(t *testing.T) {
	for name, content := range map[string][]byte{
		"not readable": []byte("\xff\xff"),
		"empty":        {},
	} {
		dir := t.TempDir()
		write(t, dir, endpointsFile, content)
		if got := start(t, dir).Endpoints("llm", "chat"); len(got) != 0 {
			t.Errorf("%s: endpoints %v", name, got)
		}
	}
}

func TestSoManyPoliciesAreNotHeld(t *testing.T) {
	c := start(t, t.TempDir())
	for n := range maxHeld {
		if err := c.book.accept(policies(signedPolicy(t, "n"+string(rune('a'+n)), uint64(n+1)))); err != nil {
			t.Fatalf("policy %d: %v", n, err)
		}
	}
	last := signedPolicy(t, "last", 99)
	if err := c.book.accept(policies(last)); err == nil {
		t.Errorf("%d policies are held", maxHeld+1)
	}
	gone := &discovery.DeltaDiscoveryResponse{RemovedResources: c.bookNames()[:1]}
	if err := c.book.accept(gone); err != nil {
		t.Fatal(err)
	}
	if err := c.book.accept(policies(last)); err != nil {
		t.Errorf("after one was removed: %v", err)
	}
}

func (c *Client) bookNames() []string {
	var all []string
	for name := range c.book.held {
		all = append(all, name)
	}
	return all
}

// TestEarlierPolicyIsKeptForItsGrace: a process that starts beside others judges
// crossings under the policy before as they do, and no longer.
func TestEarlierPolicyIsKeptForItsGrace(t *testing.T) {
	dir := t.TempDir()
	one, two := signedPolicy(t, "a", 1), signedPolicy(t, "b", 2)
	enforced(t, dir, one)
	if p := start(t, dir).Policies(); p.Previous != nil {
		t.Errorf("there is a policy before the first one: %+v", p.Previous.Ref())
	}
	enforced(t, dir, two)
	replacedAt := time.Now()
	p := start(t, dir).Policies()
	if ref(p.BySerial(1, replacedAt.Add(Grace/2))) != refOf(one) || p.BySerial(1, replacedAt.Add(2*Grace)) != nil {
		t.Errorf("previous %+v until %s", ref(p.Previous), p.Until)
	}
	for _, c := range []struct {
		name  string
		spoil func()
	}{
		{"its time is over", func() {
			if err := os.Chtimes(filepath.Join(dir, earlierFile), time.Time{}, replacedAt.Add(-Grace)); err != nil {
				t.Fatal(err)
			}
		}},
		{"it is not readable", func() { write(t, dir, earlierFile, []byte("x")) }},
		{"it is the one in force", func() {
			content, err := os.ReadFile(filepath.Join(dir, policyFile))
			if err != nil {
				t.Fatal(err)
			}
			write(t, dir, earlierFile, content)
		}},
		{"it is gone", func() { write(t, dir, earlierFile, nil) }},
	} {
		c.spoil()
		if p := start(t, dir).Policies(); p.Previous != nil || ref(p.Current) != refOf(two) {
			t.Errorf("%s: previous %+v, current %+v", c.name, ref(p.Previous), ref(p.Current))
		}
	}
}
