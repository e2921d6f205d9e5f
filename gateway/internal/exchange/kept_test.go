package exchange

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/credentials"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/seal"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// keeping is a policy that has contents kept.
func keeping(t testing.TB, how string) *policy.Policy {
	reviewer, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Reviewers = map[string]*policyv1.Reviewer{"sec": {Key: reviewer.Recipient().String(), Owner: "team"}}
		p.Intents[0].Content = &policyv1.Content{Kept: how, Retention: "7d"}
		if how == "sealed" {
			p.Intents[0].Content.Reviewer = "sec"
		}
	})
}

func sealer(t testing.TB, dir string) *seal.Sealer {
	t.Helper()
	s, err := seal.Open(seal.Config{Dir: dir, Gateway: near.String(), Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestKept: what the policy has kept is kept of request and answer, by the egress gateway
// alone, and its record says so and not what it was.
func TestKept(t *testing.T) {
	for _, c := range []struct{ how, begins string }{{"hash", "hmac-sha256:"}, {"sealed", "sha256:"}} {
		t.Run(c.how, func(t *testing.T) {
			dir := t.TempDir()
			w := reading(t, keeping(t, c.how))
			w.egress.cfg.Sealer = sealer(t, dir)
			if r := w.ask(t, chat(`{"model":"small","secret":"s3cr3t-prompt"}`)); r.head.Status != 200 {
				t.Fatalf("%+v %s", r.head, r.body.String())
			}
			rec := w.joined(t)
			k := rec.GetEgress().GetKept()
			if !strings.HasPrefix(k.GetRequest(), c.begins) || !strings.HasPrefix(k.GetAnswer(), c.begins) || k.GetRequest() == k.GetAnswer() || k.GetBroken() {
				t.Errorf("it says %v", k)
			}
			if rec.GetIngress().GetKept() != nil || strings.Contains(rec.String(), "s3cr3t") {
				t.Errorf("record %v", rec)
			}
			filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
				if err == nil && e.Type().IsRegular() {
					if text, _ := os.ReadFile(path); strings.Contains(string(text), "s3cr3t") {
						t.Errorf("%s has it in the clear", path)
					}
				}
				return err
			})
		})
	}
}

// TestNotKept: what cannot be kept, and is to be, does not cross.
func TestNotKept(t *testing.T) {
	w := reading(t, keeping(t, "sealed"))
	r := w.ask(t, chat(`{"model":"small"}`))
	if rec := crossing.Join(w.near.account(t), nil); r.head.Status != 503 || rec.GetEgress().GetReason() != crossingv1.Reason_NOT_RECORDED {
		t.Errorf("status %d, record %v", r.head.Status, rec)
	}
	w.journal.never(t, "far open")
	w = reading(t, nil)
	w.ask(t, chat(`{"model":"small"}`))
	if k := w.joined(t).GetEgress().GetKept(); k != nil {
		t.Errorf("nothing is to be kept, and the record says %v", k)
	}
}

// TestCredential: the workload is shown the secret of its gateway, and nothing that the
// caller sent as one. Without the secret nothing is forwarded.
func TestCredential(t *testing.T) {
	p := policytest.Estate(t, 1, func(p *policyv1.Policy) { p.Workloads["llm"].Credentials = map[string]string{"chat": "key"} })
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("sk-held\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var seen l7.Fields
	destination := func(r *upstream.Request) (*upstream.Response, error) {
		seen = r.Head.Fields
		_, err := readAll(r)
		return answer(200, "ok"), err
	}
	w := reading(t, p)
	w.destination, w.ingress.cfg.Secrets = destination, credentials.New(map[string]string{"key": file})
	w.ask(t, chat(`{"model":"small"}`, l7.Field{Name: "authorization", Value: "Bearer own"}, l7.Field{Name: "x-api-key", Value: "own"}))
	if seen.Get("authorization") != "Bearer sk-held" || seen.Has("x-api-key") {
		t.Errorf("it sees %v", seen)
	}
	if rec := w.joined(t); strings.Contains(rec.String(), "sk-held") {
		t.Errorf("the record has it: %v", rec)
	}
	w = reading(t, p)
	w.destination = destination
	r := w.ask(t, chat(`{"model":"small"}`))
	w.journal.never(t, "destination asked")
	if rec := w.joined(t); r.head.Status != 403 || rec.GetIngress().GetReason() != crossingv1.Reason_NOT_ENFORCEABLE || !strings.Contains(rec.GetIngress().GetDetail(), "key") {
		t.Errorf("status %d, record %v", r.head.Status, rec)
	}
}
