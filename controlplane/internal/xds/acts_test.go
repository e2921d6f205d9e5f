package xds

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// set is a set of so many acts; what they say is the gateways' matter.
func set(n int) *policyv1.ActSet {
	s := &policyv1.ActSet{}
	for i := range n {
		s.Acts = append(s.Acts, &policyv1.SignedAct{Act: []byte{byte(i)}})
	}
	return s
}

func (m *mesh) applyAside(s *policyv1.ActSet) <-chan Result {
	done := make(chan Result, 1)
	go func() {
		r, err := m.server.Apply(m.t.Context(), s)
		if err != nil {
			m.t.Error(err)
		}
		done <- r
	}()
	return done
}

func waiting(done <-chan Result) bool {
	synctest.Wait()
	return len(done) == 0
}

func TestApplyWaitsForEachAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		aws, azure := m.gateway("aws"), m.gateway("azure")
		done := m.applyAside(set(1))
		aws.ack(aws.next(TypeActs))
		if !waiting(done) {
			t.Fatal("it did not wait for the second gateway")
		}
		azure.nack(azure.next(TypeActs), "what is this")
		r := <-done
		if !slices.Equal(r.InForce, []string{"aws-1"}) || !slices.Equal(r.Behind, []string{"azure-1", "onprem-1"}) {
			t.Errorf("in force at %v, behind %v", r.InForce, r.Behind)
		}
		if m.statusOf("azure-1").Acks == nil {
			t.Error("a gateway's NACK is not known")
		}
	})
}

// TestApplyDoesNotWaitForThePolicy: an act comes at once, while a policy waits for
// gateways that do not answer.
func TestApplyDoesNotWaitForThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		aws := m.gateway("aws")
		published := m.publishAside(testPolicy("b", environments...), 2, false)
		synctest.Wait()
		began, done := time.Now(), m.applyAside(set(1))
		aws.ack(aws.next(TypeActs))
		if r := <-done; len(r.InForce) != 1 || time.Since(began) != 0 {
			t.Errorf("in force at %v after %v", r.InForce, time.Since(began))
		}
		<-published
	})
}

func TestApplyGivesUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		m.gateway("aws")
		began := time.Now()
		r := <-m.applyAside(set(1))
		if took := time.Since(began); took != actsWait || len(r.InForce) != 0 || len(r.Behind) != 3 {
			t.Errorf("after %v: in force at %v, behind %v", took, r.InForce, r.Behind)
		}
	})
}

// TestApplyInTurn: each set waits for the answer to it, and the answer to a later one
// counts for those before it.
func TestApplyInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		aws := m.gateway("aws")
		first := m.applyAside(set(1))
		one := aws.next(TypeActs)
		second := m.applyAside(set(2))
		synctest.Wait()
		aws.ack(one)
		if r := <-first; !slices.Equal(r.InForce, []string{"aws-1"}) || !waiting(second) {
			t.Fatalf("the first is in force at %v, and the second did not wait", r.InForce)
		}
		aws.ack(aws.next(TypeActs))
		if r := <-second; !slices.Equal(r.InForce, []string{"aws-1"}) {
			t.Errorf("the second is in force at %v", r.InForce)
		}
		if r, settled, _ := m.server.applied(1); !settled || len(r.InForce) != 1 {
			t.Errorf("with the second, the first is in force at %v", r.InForce)
		}
		if r := <-m.applyAside(set(2)); !slices.Equal(r.InForce, []string{"aws-1"}) {
			t.Errorf("the same set again: in force at %v, behind %v", r.InForce, r.Behind)
		}
	})
}

// TestActsAwaitWhoComesLater, also after a restart of the control plane.
func TestActsAwaitWhoComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		if err := m.server.SetActs(set(1)); err != nil {
			t.Fatal(err)
		}
		m.publish(testPolicy("a", environments...), 1)
		aws := m.gateway("aws")
		aws.ack(aws.next(TypeActs))
		synctest.Wait()
		if r, settled, _ := m.server.applied(m.server.actsServed); !settled || !slices.Equal(r.InForce, []string{"aws-1"}) {
			t.Errorf("in force at %v", r.InForce)
		}
	})
}
