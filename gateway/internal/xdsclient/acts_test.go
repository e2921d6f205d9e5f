package xdsclient

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/act"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

var planner = spiffeid.RequireFromString("spiffe://aws.test/ai/planner")

// quarantine is an act about the planner, whose reason tells it from others.
func quarantine(reason string) *policyv1.Act {
	return &policyv1.Act{
		Policy: "test", Kind: policyv1.Act_QUARANTINE, Subject: planner.String(), Reason: reason,
		Author: "spiffe://mesh.test/sallyport/operator/ann", Made: timestamppb.New(time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)),
		ReviewBy: "2026-12-04",
	}
}

func liftOf(sa *policyv1.SignedAct) *policyv1.Act {
	said := quarantine("all is well")
	said.Kind, said.ReviewBy, said.Lifts = policyv1.Act_LIFT, "", act.ID(sa)
	return said
}

func actBy(t testing.TB, said *policyv1.Act, signers ...string) *policyv1.SignedAct {
	t.Helper()
	var by []signed.Signer
	for _, name := range signers {
		by = append(by, signed.NewSigner(name, key(name)))
	}
	sa, err := act.Sign(said, by...)
	if err != nil {
		t.Fatal(err)
	}
	return sa
}

func acts(all ...*policyv1.SignedAct) *discovery.DeltaDiscoveryResponse {
	return &discovery.DeltaDiscoveryResponse{
		TypeUrl: typeActs, Resources: []*discovery.Resource{resource(actsName, &policyv1.ActSet{Acts: all})},
	}
}

func TestAnActIsInForceRecordedAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp, dir := newControlPlane(t), t.TempDir()
		var recorded []*crossingv1.Applied
		var c *Client
		cp.applied = func(a *crossingv1.Applied) error {
			if c.Acts().Quarantined(planner) == nil {
				t.Error("the act was recorded before it was in force")
			}
			if _, err := os.Stat(filepath.Join(dir, actsFile)); err == nil {
				t.Error("the act was kept before it was recorded: a crash would lose its record")
			}
			recorded = append(recorded, a)
			return nil
		}
		c, stop := cp.client(dir)
		s := <-cp.streams
		changed := c.Changed()
		sa := actBy(t, quarantine("leaked"), "operator")
		s.accepted(acts(sa))
		<-changed
		if len(recorded) != 1 || recorded[0].GetAct() != act.ID(sa) || recorded[0].GetSubject() != planner.String() ||
			recorded[0].GetKind() != policyv1.Act_QUARANTINE || !recorded[0].GetAt().AsTime().Equal(time.Now()) {
			t.Errorf("recorded %v", recorded)
		}
		s.accepted(acts()) // the control plane takes it away
		s.accepted(&discovery.DeltaDiscoveryResponse{TypeUrl: typeActs, RemovedResources: []string{actsName}})
		if c.Acts().Quarantined(planner) == nil {
			t.Fatal("an act was taken away without a LIFT")
		}
		stop()
		cp.applied = func(*crossingv1.Applied) error { t.Error("an act that was kept is recorded again"); return nil }
		again, _ := cp.client(dir)
		if again.Acts().Quarantined(planner) == nil {
			t.Error("an act is not in force any more after a restart")
		}
		s = <-cp.streams
		s.accepted(acts(sa))
	})
}

func TestOnlyALiftBringsBack(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
		first, second := actBy(t, quarantine("one"), "operator"), actBy(t, quarantine("two"), "operator")
		lift := actBy(t, liftOf(first), "operator")
		s.accepted(acts(first))
		s.accepted(acts(first, lift))
		if c.Acts().Quarantined(planner) != nil {
			t.Fatal("a LIFT has no effect")
		}
		s.accepted(acts(second, first, lift)) // with the LIFT of before
		if c.Acts().Quarantined(planner) == nil {
			t.Error("a LIFT of another act was taken for one of this")
		}
		bent := proto.CloneOf(lift)
		bent.Act = []byte(strings.ReplaceAll(string(bent.Act), act.ID(first), act.ID(second)))
		if err := s.answer(s.send(acts(second, first, lift, bent))); err == nil || !strings.Contains(err.Error(), "not signed by enough known keys") {
			t.Errorf("a LIFT that was bent: %v", err)
		}
		if c.Acts().Quarantined(planner) == nil {
			t.Error("a LIFT that was bent brought it back")
		}
	})
}

func TestActsAreRefused(t *testing.T) {
	good := func(t *testing.T) *policyv1.SignedAct { return actBy(t, quarantine("good"), "operator") }
	for _, c := range []struct {
		name string
		sa   func(t *testing.T) *policyv1.SignedAct
		want string
	}{
		{"the control plane's own key", func(t *testing.T) *policyv1.SignedAct { return actBy(t, quarantine("x"), "controlplane") }, "not signed by enough known keys: 0 of 1"},
		{"an unknown key that calls itself the operator's", func(t *testing.T) *policyv1.SignedAct {
			sa := actBy(t, quarantine("x"), "stranger")
			sa.Signatures[0].Key = "operator"
			return sa
		}, "not signed by enough known keys"},
		{"a policy's signature", func(t *testing.T) *policyv1.SignedAct {
			sa := actBy(t, quarantine("x"))
			sa.Signatures = signedPolicy(t, "a", 1).GetSignatures()
			return sa
		}, "not signed by enough known keys"},
		{"nobody", func(t *testing.T) *policyv1.SignedAct { return actBy(t, quarantine("x")) }, "not signed by enough known keys"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, client *Client, s *serverStream) {
				err := s.answer(s.send(acts(c.sa(t))))
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("NACK %v, want one with %q", err, c.want)
				}
				if len(client.Acts().All()) != 0 {
					t.Errorf("in force: %v", client.Acts().Message())
				}
				// What is good is in force beside it.
				if err := s.answer(s.send(acts(c.sa(t), good(t)))); err == nil || client.Acts().Quarantined(planner) == nil {
					t.Errorf("beside a good one: %v, in force %v", err, client.Acts().Message())
				}
			})
		})
	}
}

// TestAnotherMeshsAct: an act of another policy is none here, though the key is one.
func TestAnotherMeshsAct(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
		one := signedPolicy(t, "a", 1)
		s.accepted(policies(one))
		s.accepted(state(revision(one)))
		said := quarantine("x")
		said.Policy = "another"
		if err := s.answer(s.send(acts(actBy(t, said, "operator")))); err == nil || !strings.Contains(err.Error(), `of policy "another"`) {
			t.Errorf("NACK %v", err)
		}
	})
}

// TestActBeforeItsKeys: an act that comes before the policy whose keys have signed it
// is in force when those count.
func TestActBeforeItsKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
		nonce := s.send(acts(actBy(t, quarantine("x"), "next")))
		if err := s.answer(nonce); err == nil {
			t.Fatal("an act was accepted under keys that do not count yet")
		}
		rotated, err := signed.SignKeys(keySet("next"), signed.NewSigner("operator", key("operator")))
		if err != nil {
			t.Fatal(err)
		}
		sp := signedBy(t, "next", policyOf("test", "b"), 2)
		sp.Rotations = append(sp.Rotations, rotated)
		s.accepted(policies(sp))
		s.accepted(state(revision(sp)))
		if err := s.answer(nonce); err != nil || c.Acts().Quarantined(planner) == nil {
			t.Errorf("under the new keys: %v, in force %v", err, c.Acts().Message())
		}
	})
}

// TestActThatCannotBeRecorded is in force, and not said to be, until it is recorded.
func TestActThatCannotBeRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := newControlPlane(t)
		var room atomic.Bool
		cp.applied = func(*crossingv1.Applied) error {
			if !room.Load() {
				return errors.New("the spool is full")
			}
			return nil
		}
		c, _ := cp.client(t.TempDir())
		s := <-cp.streams
		nonce := s.send(acts(actBy(t, quarantine("x"), "operator")))
		if err := s.answer(nonce); err == nil || !strings.Contains(err.Error(), "in force and not recorded: the spool is full") {
			t.Errorf("NACK %v", err)
		}
		if c.Acts().Quarantined(planner) == nil {
			t.Error("it is not in force")
		}
		<-time.After(3 * stateWait)
		if !s.silent() {
			t.Error("the same NACK was sent again")
		}
		room.Store(true)
		if err := s.answer(nonce); err != nil {
			t.Errorf("once it could be recorded: %v", err)
		}
	})
}

func TestActsThatCannotBeReadStopTheStart(t *testing.T) {
	for name, content := range map[string][]byte{
		"no message": []byte("\x0a\xff\xff"),
		"a bad act": func() []byte {
			b, err := proto.Marshal(&policyv1.ActSet{Acts: []*policyv1.SignedAct{{Act: []byte("{}")}}})
			if err != nil {
				t.Fatal(err)
			}
			return b
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cp, dir := newControlPlane(t), t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, actsFile), content, 0o600); err != nil {
					t.Fatal(err)
				}
				_, err := New(Config{Conn: struct{ grpc.ClientConnInterface }{}, Node: planner, StateDir: dir, Keys: cp.keys})
				if err == nil || !strings.Contains(err.Error(), "acts.pb is not readable") || !strings.Contains(err.Error(), "does not start") {
					t.Errorf("New error: %v", err)
				}
			})
		})
	}
}

// TestTwoProcessesKeepOneFile: what either has seen is kept.
func TestTwoProcessesKeepOneFile(t *testing.T) {
	f, err := openFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		l := &ledger{files: f, record: func(*crossingv1.Applied) error { return nil }, show: func(*act.Set) {}}
		a, err := act.Read(actBy(t, quarantine(fmt.Sprint(i)), "operator"))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.apply([]*act.Act{a}), l.keep()); err != nil {
			t.Fatal(err)
		}
	}
	l := &ledger{files: f}
	if err := l.load(); err != nil || len(l.set.All()) != 3 {
		t.Errorf("kept %d acts, %v", len(l.set.All()), err)
	}
}
