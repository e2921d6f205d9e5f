package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/e2e/meshtest"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestFullDisk fills the disk of one gateway of a pair while the control plane is away,
// and kills that gateway: what it cannot record it refuses, and says so, also when it
// starts again; once the control plane is back, calls are let through again, and what
// was answered before has its record.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"onprem-1", "azure-1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := smallDisk(t)
			m, plane, k := startProcesses(t, func(b *configv1.Bootstrap) {
				if b.GetGateway() == name {
					b.StateDir = disk
				}
			})
			c := startCallers(t, m, []callKind{{"HTTP/2", "orchestrator", 16, everyKind[1].call}}, time.Millisecond)
			awaitSeen(t, c, "calls that succeed", (*attempt).ok)
			plane.kill()
			awaitSeen(t, c, "calls that cannot be recorded", (*attempt).unrecorded)
			at := time.Now()
			k.gateways[name].kill()
			if err := k.gateways[name].launch(); err != nil {
				t.Fatal(err)
			}
			kills := []kill{{name, at, time.Now()}}
			awaitSeen(t, c, "calls that cannot be recorded after a restart", (*attempt).unrecorded)
			if err := plane.launchReady(m.Dir()); err != nil {
				t.Fatal(err)
			}
			awaitSeen(t, c, "calls that succeed again", (*attempt).ok)
			all := c.stop()
			records := awaitLedger(t, m, &ledger{attempts: all, kills: kills})
			t.Logf("%d calls, %d records; %d succeeded, %d could not be recorded", len(all), len(records), c.seen((*attempt).ok), c.seen((*attempt).unrecorded))
			rejectedNothing(t, m)
		})
	}
}

func (a *attempt) ok() bool { return a.whole && a.status == http.StatusOK }

func (a *attempt) unrecorded() bool {
	return a.status == http.StatusServiceUnavailable && a.reason == crossingv1.Reason_NOT_RECORDED.String()
}

// awaitSeen waits for twenty more calls that end so.
func awaitSeen(t *testing.T, c *callers, what string, how func(*attempt) bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	want := c.seen(how) + 20
	for deadline := time.Now().Add(meshtest.Patience); c.seen(how) < want; <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("there are no %s: the last was %v, %s", what, c.all[len(c.all)-1], c.all[len(c.all)-1].reason)
		}
	}
}

// smallDisk is a file system that is soon full.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		skipUnlessRequired(t, "needs root, for a file system of its own")
	}
	dir := meshtest.Dir(t)
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4m", "sallyport-test", dir).CombinedOutput(); err != nil {
		skipUnlessRequired(t, "needs the right to mount: "+string(out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %s", out)
		}
	})
	return dir
}
