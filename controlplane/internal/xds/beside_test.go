package xds

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"
)

// sessions counts those that are open.
func (m *mesh) sessions() int {
	m.server.mu.Lock()
	defer m.server.mu.Unlock()
	return len(slices.Collect(m.server.open()))
}

// TestProcessesOfAGatewayAreServedSideBySide: a publish waits for all of them, and
// the gateway enforces what all of them do.
func TestProcessesOfAGatewayAreServedSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		old, next := m.process("aws", "1"), m.process("aws", "2")
		old.acceptAll()
		next.acceptAll()
		synctest.Wait()
		if result := m.publish(testPolicy("b", environments...), 2); !slices.Contains(result.InForce, "aws-1") {
			t.Errorf("in force at %v, want aws-1 among them", result.InForce)
		}
		if n := m.sessions(); n != 2 {
			t.Errorf("%d sessions, want 2", n)
		}
		next.end()
		m.await(func() bool { return m.sessions() == 1 })
		if s := m.session(old.id); s == nil || s.run != "1" {
			t.Error("the process that is left does not speak for the gateway")
		}
	})
}

// TestAProcessThatIsBehindCounts: the gateway does not enforce what one of its
// processes does not.
func TestAProcessThatIsBehindCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.process("aws", "1") // says nothing
		m.process("aws", "2").acceptAll()
		if result := m.publish(testPolicy("a", environments...), 1); len(result.InForce) != 0 {
			t.Errorf("in force at %v", result.InForce)
		}
	})
}

// TestStreamsOfAGatewayAreLimited: those of one process to one, and all of them.
func TestStreamsOfAGatewayAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		m.publish(testPolicy("a", environments...), 1)
		first := m.process("aws", "0")
		synctest.Wait() // or the other one may come before it
		again := m.process("aws", "0")
		again.acceptAll()
		if got := first.refused(); got != codes.Aborted {
			t.Errorf("the stream that the process gave up ended with %v, want %v", got, codes.Aborted)
		}
		for n := range maxElders + 1 {
			m.process("aws", fmt.Sprint("beside ", n)).acceptAll()
		}
		m.await(func() bool { return m.sessions() == maxElders+1 })
	})
}
