package verifier

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/verifytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestDifferenceWords: each kind of difference that there is says who has what.
func TestDifferenceWords(t *testing.T) {
	for kind := range crossingv1.Difference_Kind_name {
		if kind == 0 {
			continue
		}
		got := difference(statement.Difference{Kind: uint64(kind), Fields: []string{"status", "close"}}, "near-1", "far-1")
		if words, is := strings.CutSuffix(got, " in status, close"); !is || len(words) < 5 {
			t.Errorf("%s: %q", message.DifferenceName(uint64(kind)), got)
		}
	}
}

// shown is what is printed of the proof of number 1, in the form for people.
func shown(t *testing.T, m *verifytest.Mesh, sides ...crossingv1.Side) string {
	t.Helper()
	files := given(t, m.Keys(), string(m.Proof(m.Near, 1, sides...)))
	out, code := told(t, "--keys", files[0], files[1])
	if code != proven {
		t.Errorf("exit code %d", code)
	}
	return out
}

// TestSigned: what both gateways have signed of a crossing, or one has, is said as that.
func TestSigned(t *testing.T) {
	both := []crossingv1.Side{verifytest.Egress, verifytest.Ingress}
	for _, c := range []struct {
		name   string
		happen func(m *verifytest.Mesh)
		sides  []crossingv1.Side
		want   []string
	}{
		{"it never came", func(m *verifytest.Mesh) { m.Out(); m.Epoch(false) }, both[:1], []string{"both have signed that it never came to far-1 (epoch 1"}},
		{"it goes on", func(m *verifytest.Mesh) { m.Out(); m.In(m.Open(verifytest.Ingress, 1)); m.Epoch(false) }, both, []string{"opening alike by both"}},
		{"it goes on at one end", func(m *verifytest.Mesh) {
			h := m.Out()
			m.In(m.Open(verifytest.Ingress, 1))
			m.Ended(m.End(h))
			m.Epoch(false)
		}, both[:1], []string{"opening", "by both; it goes on at far-1"}},
		{"nobody answered", func(m *verifytest.Mesh) { m.Out(); m.Alone() }, both[:1], []string{"opening by near-1; far-1 has not answered"}},
		{"it was denied there", func(m *verifytest.Mesh) {
			m.Out()
			in := m.Open(verifytest.Ingress, 1)
			in.End.Decision, in.End.Reason, in.End.Intent = crossingv1.Decision_DENY, crossingv1.Reason_POLICY_MISMATCH, ""
			m.In(in)
			m.Epoch(false)
		}, both, []string{"both have signed that far-1 denied it", "DENY under policy 41, POLICY_MISMATCH"}},
		{"it ended otherwise", func(m *verifytest.Mesh) {
			h := m.Out()
			in := m.Open(verifytest.Ingress, 1)
			m.In(in)
			m.Ended(m.End(h))
			end := m.End(in)
			end.Status, end.Cause = 502, crossingv1.Cause_DESTINATION_FAILED
			m.Ended(end)
			m.Epoch(false)
		}, both, []string{"both have signed that it ended otherwise at either in close", "the two accounts differ in close", "DESTINATION_FAILED, status 502"}},
	} {
		m := verifytest.New(t)
		c.happen(m)
		out := shown(t, m, c.sides...)
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: it does not say %q:\n%s", c.name, want, out)
			}
		}
	}
}

// TestTransferred: what moved of an object is said with its digest.
func TestTransferred(t *testing.T) {
	m := verifytest.New(t)
	h := m.Out()
	in := m.Open(verifytest.Ingress, 1)
	m.In(in)
	for _, half := range []*crossingv1.Half{h, in} {
		end := m.End(half)
		end.Transfer = &crossingv1.Transfer{
			Id: strings.Repeat("ab", 16), Direction: crossingv1.Transfer_DOWNLOAD, Object: "/models/llama", ContentSha256: strings.Repeat("cd", 32),
			Extent: crossingv1.Transfer_WHOLE, Digested: 9433,
		}
		m.Ended(end)
	}
	m.Epoch(false)
	if out := shown(t, m, verifytest.Egress, verifytest.Ingress); !strings.Contains(out, "DOWNLOAD of /models/llama, sha256 cdcd") || !strings.Contains(out, "alike by both") {
		t.Errorf("it says:\n%s", out)
	}
}

// TestThousands: numbers are read in threes.
func TestThousands(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", 1<<64 - 1: "18,446,744,073,709,551,615"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	if count(1, "frame") != "1 frame" || count(2000, "frame") != "2,000 frames" || lateness(time.Minute) != "" {
		t.Error("a count is another")
	}
}
