package xdsclient

import (
	"testing"
	"testing/synctest"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

func TestResumesAfterTheStreamIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := newControlPlane(t)
		c, _ := cp.client(t.TempDir())
		s := <-cp.streams
		sp := signedPolicy(t, "a", 1)
		chat := assignment("chat.llm.aws.mesh", "10.1.0.9")
		s.accepted(policies(sp))
		named := state(revision(sp))
		s.accepted(named)
		s.accepted(endpoints(chat))
		begin := time.Now()
		close(s.end)
		s = <-cp.streams
		if got := time.Since(begin); got > minBackoff {
			t.Errorf("came back after %v, want at most %v", got, minBackoff)
		}
		for typ, want := range map[string]*discovery.Resource{
			typePolicy: policies(sp).Resources[0], typeState: named.Resources[0], typeEndpoints: chat,
		} {
			got := s.first[typ].GetInitialResourceVersions()
			if len(got) != 1 || got[want.GetName()] != want.GetVersion() {
				t.Errorf("says that it holds %v of %s, want version %s of %s", got, typ, want.GetVersion(), want.GetName())
			}
		}
		wantCurrent(t, c, sp)
		next := signedPolicy(t, "b", 2)
		s.accepted(policies(next))
		s.accepted(state(revision(next)))
		wantCurrent(t, c, next)
	})
}

func TestAStateThatWasRefusedIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := newControlPlane(t)
		cp.client(t.TempDir())
		s := <-cp.streams
		sp := signedPolicy(t, "a", 1)
		s.accepted(policies(sp))
		s.accepted(state(revision(sp)))
		if err := s.answer(s.send(state("sha256:beef"))); err == nil {
			t.Error("a state that names an unknown revision was accepted")
		}
		close(s.end)
		s = <-cp.streams
		if got := s.first[typeState].GetInitialResourceVersions(); len(got) != 0 {
			t.Errorf("says that it holds %v", got)
		}
	})
}

func TestWaitsLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := newControlPlane(t)
		cp.client(t.TempDir())
		s := <-cp.streams
		for n := range 12 {
			begin := time.Now()
			close(s.end)
			s = <-cp.streams
			bound := min(minBackoff<<n, maxBackoff)
			if got := time.Since(begin); got < bound/2 || got > bound {
				t.Errorf("wait %d took %v, want %v to %v", n, got, bound/2, bound)
			}
		}
	})
}
