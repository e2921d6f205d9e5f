package xds

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// published is the outcome of a Publish that runs beside the test.
type published struct {
	result Result
	err    error
}

func (m *mesh) publishAside(p *policyv1.Policy, serial uint64, urgent bool) <-chan published {
	m.t.Helper()
	sp, manifest := signedPolicy(m.t, p, serial, urgent)
	done := make(chan published, 1)
	go func() {
		result, err := m.server.Publish(context.Background(), sp, manifest)
		done <- published{result, err}
	}()
	return done
}

// statusOf is a gateway's status, without times.
func (m *mesh) statusOf(name string) Status {
	for _, s := range m.server.Gateways() {
		if s.Name == name {
			for n := range s.Acks {
				s.Acks[n].At = time.Time{}
			}
			return s
		}
	}
	return Status{}
}

func TestNoGatewayIsToldBeforeAllArePrepared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		aws, azure := m.gateway("aws"), m.gateway("azure")
		for _, g := range []*fakeGateway{aws, azure} {
			g.ack(g.next(TypePolicy))
			g.ack(g.next(TypeState))
		}
		synctest.Wait()
		done := m.publishAside(testPolicy("b", environments...), 2, false)
		one, other := aws.next(TypePolicy), azure.next(TypePolicy)
		revision := names(one)[0]
		aws.ack(one)
		if state := stateOf(t, aws.next(TypeState)); state.GetCurrent() == revision || state.GetPrepared() != revision {
			t.Errorf("state before azure is prepared: %v", state)
		}
		aws.send(&discovery.DeltaDiscoveryRequest{TypeUrl: TypeState, ResponseNonce: "0"}) // says nothing
		synctest.Wait()
		if m.server.current.revision == revision {
			t.Fatal("in force before azure is prepared")
		}
		azure.ack(other)
		for _, g := range []*fakeGateway{aws, azure} {
			resp := g.next(TypeState)
			for stateOf(t, resp).GetCurrent() != revision {
				g.ack(resp)
				resp = g.next(TypeState)
			}
			g.ack(resp)
		}
		got := <-done
		if got.err != nil || got.result.Took >= time.Second {
			t.Errorf("Publish took %v, error %v", got.result.Took, got.err)
		}
		got.result.Took = 0
		want := Result{InForce: []string{"aws-1", "azure-1"}, Behind: []string{"onprem-1"}}
		if diff := cmp.Diff(want, got.result); diff != "" {
			t.Errorf("result (-want +got):\n%s", diff)
		}
	})
}

func TestPublishDoesNotWaitForEverForASilentGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		m.gateway("aws").acceptAll()
		m.gateway("azure") // never answers
		synctest.Wait()
		got := <-m.publishAside(testPolicy("b", environments...), 2, false)
		if got.result.Took != 2*DefaultWait {
			t.Errorf("Publish took %v, want %v", got.result.Took, 2*DefaultWait)
		}
		if !slices.Equal(got.result.InForce, []string{"aws-1"}) || !slices.Equal(got.result.Behind, []string{"azure-1", "onprem-1"}) {
			t.Errorf("result %+v", got.result)
		}
	})
}

func TestUrgentPolicyDoesNotWaitToBePrepared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		m.gateway("azure") // never answers
		aws := m.gateway("aws")
		aws.acceptAll()
		synctest.Wait()
		done := m.publishAside(testPolicy("b", environments...), 2, true)
		synctest.Wait() // no time has passed
		if got := m.statusOf("aws-1").Serial; got != 2 {
			t.Errorf("aws-1 enforces serial %d, want 2", got)
		}
		<-done
	})
}

func TestUrgentPolicyOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		m.gateway("azure") // never answers
		m.gateway("aws").acceptAll()
		synctest.Wait()
		slow := m.publishAside(testPolicy("b", environments...), 2, false)
		synctest.Wait()
		urgent := m.publishAside(testPolicy("c", environments...), 3, true)
		if got := <-slow; !errors.Is(got.err, ErrSuperseded) {
			t.Errorf("overtaken Publish error: %v, want %v", got.err, ErrSuperseded)
		}
		if got := <-urgent; got.err != nil || !slices.Equal(got.result.InForce, []string{"aws-1"}) {
			t.Errorf("urgent Publish: %+v", got)
		}
		if got := m.statusOf("aws-1").Serial; got != 3 {
			t.Errorf("aws-1 enforces serial %d, want 3", got)
		}
	})
}

func TestRefusalsAreShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		aws, azure := m.gateway("aws"), m.gateway("azure")
		azure.acceptAll()
		aws.nack(aws.next(TypePolicy), "not signed by enough known keys")
		aws.nack(aws.next(TypeState), "revision unknown")
		done := m.publishAside(testPolicy("b", environments...), 2, false)
		resp := aws.next(TypePolicy)
		aws.nack(resp, strings.Repeat("é", maxNack))
		got := drain(aws, done)
		if !slices.Equal(got.result.InForce, []string{"azure-1"}) {
			t.Errorf("in force at %v, want [azure-1]", got.result.InForce)
		}
		if got.result.Took > time.Second {
			t.Errorf("Publish waited %v for a gateway that had refused", got.result.Took)
		}
		s := m.statusOf("aws-1")
		if s.Serial != 0 || !s.Connected {
			t.Errorf("aws-1: %+v", s)
		}
		var nacks []string
		for _, a := range s.Acks {
			if a.Version == "" {
				t.Errorf("answer without a version: %+v", a)
			}
			nacks = append(nacks, a.TypeURL+": "+a.Nack)
		}
		want := []string{TypeEndpoints + ": ", TypeState + ": revision unknown", TypePolicy + ": " + strings.Repeat("é", maxNack/2)}
		slices.Sort(want)
		if diff := cmp.Diff(want, nacks); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
	})
}

// drain refuses every state and policy until a Publish is done.
func drain(g *fakeGateway, done <-chan published) published {
	for _, resp := range g.waiting {
		g.nack(resp, "revision unknown")
	}
	go func() {
		for {
			resp, err := g.stream.Recv()
			if err != nil {
				return
			}
			if resp.GetTypeUrl() == TypeState {
				g.nack(resp, "revision unknown")
			}
		}
	}()
	return <-done
}

func TestLateAckAfterNackCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		aws := m.gateway("aws")
		aws.ack(aws.next(TypePolicy))
		state := aws.next(TypeState)
		aws.nack(state, "not yet")
		m.await(func() bool { return m.nackOf("aws-1", TypeState) == "not yet" })
		if got := m.statusOf("aws-1").Serial; got != 0 {
			t.Errorf("in force after a NACK: serial %d", got)
		}
		stale := proto.CloneOf(state)
		stale.Nonce = "999"
		aws.ack(stale)
		aws.nack(state, "still not")
		m.await(func() bool { return m.nackOf("aws-1", TypeState) == "still not" })
		if got := m.statusOf("aws-1").Serial; got != 0 {
			t.Errorf("in force by an answer to another response: serial %d", got)
		}
		aws.ack(state)
		m.await(func() bool { return m.statusOf("aws-1").Serial == 1 })
		if got := m.nackOf("aws-1", TypeState); got != "" {
			t.Errorf("NACK %q is still shown", got)
		}
	})
}

func (m *mesh) nackOf(name, typ string) string {
	for _, a := range m.statusOf(name).Acks {
		if a.TypeURL == typ {
			return a.Nack
		}
	}
	return ""
}

// await waits until a condition on gateways' answers holds; the test's own
// deadline bounds it.
func (m *mesh) await(holds func() bool) {
	for {
		m.server.mu.Lock()
		changed := m.server.changed
		m.server.mu.Unlock()
		if holds() {
			return
		}
		<-changed
	}
}

func TestLastAnswersOutlastTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		aws := m.gateway("aws")
		aws.acceptAll()
		m.await(func() bool { return m.statusOf("aws-1").Serial == 1 && len(m.statusOf("aws-1").Acks) == 3 })
		before := m.statusOf("aws-1")
		aws.end()
		m.await(func() bool { return !m.statusOf("aws-1").Connected })
		before.Connected = false
		if diff := cmp.Diff(before, m.statusOf("aws-1"), cmpopts.EquateComparable(spiffeid.ID{})); diff != "" {
			t.Errorf("after the stream (-want +got):\n%s", diff)
		}
		result := m.publish(testPolicy("b", environments...), 2)
		if len(result.InForce) != 0 {
			t.Errorf("in force at %v, and nobody is connected", result.InForce)
		}
	})
}

func TestGatewayResumesAtARestartedServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 7)
		before := m.gateway("aws")
		before.ack(before.next(TypePolicy))
		before.ack(before.next(TypeState))
		m.stop()
		m.start()
		m.publish(testPolicy("a", environments...), 7)
		after := m.connect("aws.test", "/sallyport/gateway/aws-1")
		after.held = before.held
		after.subscribe()
		m.await(func() bool { return m.statusOf("aws-1").Serial == 7 })
		after.send(&discovery.DeltaDiscoveryRequest{TypeUrl: "end"})
		for {
			resp, err := after.stream.Recv()
			if err != nil {
				break
			}
			if n := len(resp.GetResources()) + len(resp.GetRemovedResources()); n > 0 {
				t.Errorf("%d resources of %s came again", n, resp.GetTypeUrl())
			}
		}
	})
}

func TestGatewayThatConnectsBeforeThePolicyIsServedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 7)
		before := m.gateway("aws")
		before.ack(before.next(TypePolicy))
		before.ack(before.next(TypeState))
		m.stop()
		m.start()
		after := m.connect("aws.test", "/sallyport/gateway/aws-1")
		after.held = before.held
		after.subscribe()
		after.acceptAll()
		m.await(func() bool { return m.statusOf("aws-1").Connected })
		result := m.publish(testPolicy("a", environments...), 7)
		if !slices.Equal(result.InForce, []string{"aws-1"}) {
			t.Errorf("in force at %v, want [aws-1]", result.InForce)
		}
	})
}

func TestTheSameContentAgainIsAnotherPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.gateway("aws").acceptAll()
		for serial, note := range []string{"a", "b", "a", "a"} {
			result := m.publish(testPolicy(note, environments...), uint64(serial+1))
			if !slices.Equal(result.InForce, []string{"aws-1"}) {
				t.Errorf("serial %d in force at %v, want [aws-1]", serial+1, result.InForce)
			}
			if got := m.statusOf("aws-1").Serial; got != uint64(serial+1) {
				t.Errorf("aws-1 enforces serial %d, want %d", got, serial+1)
			}
		}
	})
}

func TestAStateOfAnEarlierPolicyWithTheSameContentDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		before := m.gateway("aws")
		before.ack(before.next(TypePolicy))
		before.ack(before.next(TypeState))
		m.await(func() bool { return m.statusOf("aws-1").Serial == 1 })
		before.end()
		m.await(func() bool { return !m.statusOf("aws-1").Connected })
		m.publish(testPolicy("b", environments...), 2)
		m.publish(testPolicy("a", environments...), 3)
		after := m.connect("aws.test", "/sallyport/gateway/aws-1")
		after.held = before.held // the state is that of serial 3, to the byte
		after.subscribe()
		resp := after.next(TypePolicy)
		if got := m.statusOf("aws-1").Serial; got != 1 {
			t.Errorf("aws-1 enforces serial %d before it has the policy, want 1", got)
		}
		after.ack(resp)
		m.await(func() bool { return m.statusOf("aws-1").Serial == 3 })
	})
}

func TestOldPoliciesAreNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		for serial, note := range []string{"a", "b", "c"} {
			m.publish(testPolicy(note, environments...), uint64(serial+1))
		}
		resp := m.gateway("aws").next(TypePolicy)
		if len(resp.GetResources()) != 1 || names(resp)[0] != m.server.current.revision {
			t.Errorf("served %v, want only %s", names(resp), m.server.current.revision)
		}
	})
}

func TestPrepareAndCommitRefuse(t *testing.T) {
	good, _ := signedPolicy(t, testPolicy("b", environments...), 2, false)
	old, _ := signedPolicy(t, testPolicy("a", environments...), 1, false)
	altered := func(change func(*policyv1.SignedPolicy)) *policyv1.SignedPolicy {
		sp := proto.CloneOf(good)
		change(sp)
		return sp
	}
	m := New(Config{Peer: peerID})
	if _, err := m.Publish(t.Context(), good, &policyv1.Manifest{Revision: "sha256:00"}); err == nil {
		t.Error("Publish took a manifest of another policy")
	}
	if err := m.Commit("sha256:00"); err == nil {
		t.Error("Commit took what was not prepared")
	}
	revision, err := m.Prepare(good)
	if err != nil {
		t.Fatalf("Prepare error: %v", err)
	}
	if err := m.Commit(revision); err != nil {
		t.Fatalf("Commit error: %v", err)
	}
	tests := []struct {
		name string
		sp   *policyv1.SignedPolicy
		want string
	}{
		{"older", old, "a later policy is in force"},
		{"no manifest", altered(func(sp *policyv1.SignedPolicy) { sp.Manifest = nil }), "read manifest"},
		{"other policy than the manifest's", altered(func(sp *policyv1.SignedPolicy) { sp.Policy = old.Policy }), "manifest names revision"},
		{"empty", &policyv1.SignedPolicy{Manifest: []byte("{}")}, "manifest names revision"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := m.Prepare(tt.sp); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Prepare error: %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestEveryPolicyReachesEveryGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("begin", environments...), 1)
		for _, env := range environments {
			m.gateway(env).acceptAll()
		}
		m.await(func() bool { return len(m.server.Gateways()) == 3 && m.statusOf("onprem-1").Serial == 1 })
		for serial := uint64(2); serial <= 21; serial++ {
			result := m.publish(testPolicy(strings.Repeat("n", int(serial)), environments...), serial)
			if want := []string{"aws-1", "azure-1", "onprem-1"}; !slices.Equal(result.InForce, want) {
				t.Fatalf("serial %d in force at %v, want %v", serial, result.InForce, want)
			}
			for _, s := range m.server.Gateways() {
				if s.Serial != serial || s.Revision != m.server.current.revision {
					t.Errorf("%s enforces serial %d, want %d", s.Name, s.Serial, serial)
				}
			}
		}
	})
}
