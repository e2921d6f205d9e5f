package controlplane

import (
	"crypto/ed25519"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// signer is the operator's key, and the key set of it alone.
func signer(t *testing.T, name string) (signed.Signer, *policyv1.KeySet) {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	return signed.NewSigner(name, key), &policyv1.KeySet{Threshold: 1, Keys: map[string][]byte{name: key.Public().(ed25519.PublicKey)}}
}

// naming is a policy that names the workloads of onprem.demo, as JSON.
func naming(t *testing.T, name string, serial uint64, by signed.Signer, workloads ...string) *policyv1.SignedPolicy {
	t.Helper()
	p := &policyv1.Policy{
		Version: 1, Policy: name, DataClasses: []string{"public"}, Teams: map[string]*policyv1.Team{"ops": {}},
		Environments: map[string]*policyv1.Environment{
			"onprem": {TrustDomain: "onprem.demo", Owner: "ops", Gateways: map[string]*policyv1.Gateway{"onprem-1": {DialOut: true}}},
		},
		Workloads: map[string]*policyv1.Workload{},
	}
	for _, w := range workloads {
		p.Workloads[strings.ReplaceAll(strings.ReplaceAll(w, "/", "-"), "*", "any")] = &policyv1.Workload{Id: "spiffe://onprem.demo/" + w, Owner: "ops"}
	}
	sp, err := signed.Sign(p, serial, "", false, by)
	if err != nil {
		t.Fatal(err)
	}
	return sp
}

func asJSON(t *testing.T, sp *policyv1.SignedPolicy) []byte {
	t.Helper()
	text, err := protojson.Marshal(sp)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func onprem(path string) spiffeid.ID {
	return spiffeid.RequireFromString("spiffe://onprem.demo" + path)
}

// TestRegistry goes through the life of a policy's file.
func TestRegistry(t *testing.T) {
	t.Parallel()
	alice, pinned := signer(t, "alice")
	mallory, _ := signer(t, "mallory")
	dir := t.TempDir()
	path := filepath.Join(dir, "policy.json")
	r, err := newRegistry(PolicyFile{Keys: pinned, File: path}, filepath.Join(dir, "floor"))
	if err != nil {
		t.Fatal(err)
	}
	binary, err := proto.Marshal(naming(t, "mesh", 7, alice, "ai/agent"))
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name string
		data []byte
		says string // of the error, empty if it is taken
		may  []string
		not  []string
	}{
		{"no file yet", nil, "no such file", []string{"/sallyport/gateway/onprem-1"}, []string{"/ai/agent"}},
		{
			"the first", asJSON(t, naming(t, "mesh", 5, alice, "ai/agent", "jobs/*")), "",
			[]string{"/ai/agent", "/jobs/nightly", "/sallyport/gateway/onprem-1"},
			[]string{"/ai/other", "/jobs/a/b", "/jobs"},
		},
		{"one that nobody pinned signed", asJSON(t, naming(t, "mesh", 6, mallory, "ai/other")), "not signed", []string{"/ai/agent"}, []string{"/ai/other"}},
		{"no policy", []byte("{"), "policy.json", []string{"/ai/agent"}, nil},
		{"nothing", []byte{}, "not signed", []string{"/ai/agent"}, nil},
		{"one workload is deleted", asJSON(t, naming(t, "mesh", 6, alice, "ai/other")), "", []string{"/ai/other"}, []string{"/ai/agent", "/jobs/nightly"}},
		{"an old one, well signed", asJSON(t, naming(t, "mesh", 5, alice, "ai/agent", "jobs/*")), "lower than 6", []string{"/ai/other"}, []string{"/ai/agent"}},
		{"another of that serial", asJSON(t, naming(t, "mesh", 6, alice, "ai/agent")), "serial 6", []string{"/ai/other"}, []string{"/ai/agent"}},
		{"of another policy", asJSON(t, naming(t, "other", 9, alice, "ai/agent")), `policy "other"`, []string{"/ai/other"}, []string{"/ai/agent"}},
		{"as a gateway keeps it", binary, "", []string{"/ai/agent"}, []string{"/ai/other"}},
	}
	for _, s := range steps {
		if s.data != nil {
			if err := os.WriteFile(path, s.data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		changed := r.Changed()
		err := r.refresh()
		if (err == nil) != (s.says == "") || err != nil && !strings.Contains(err.Error(), s.says) {
			t.Errorf("%s: refresh = %v, want %q", s.name, err, s.says)
		}
		select {
		case <-changed:
			if s.says != "" {
				t.Errorf("%s: it changed what is registered", s.name)
			}
		default:
			if s.says == "" {
				t.Errorf("%s: the change is not told", s.name)
			}
		}
		for _, id := range s.may {
			if err := r.Check(onprem(id)); err != nil {
				t.Errorf("%s: Check(%s) = %v", s.name, id, err)
			}
		}
		for _, id := range s.not {
			if err := r.Check(onprem(id)); err == nil {
				t.Errorf("%s: %s is registered", s.name, id)
			}
		}
	}
	again, err := newRegistry(r.PolicyFile, r.floorFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, asJSON(t, naming(t, "mesh", 6, alice, "ai/other")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := again.refresh(); err == nil || again.Check(onprem("/ai/other")) == nil {
		t.Errorf("after a restart an older policy was taken: %v", err)
	}
	if err := os.WriteFile(r.floorFile, []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, binary, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := again.refresh(); err == nil || !strings.Contains(err.Error(), "newest serial") {
		t.Errorf("with a floor that cannot be read: %v", err)
	}
}

func TestRegistryNeedsKeys(t *testing.T) {
	t.Parallel()
	if _, err := newRegistry(PolicyFile{Keys: &policyv1.KeySet{}}, ""); err == nil {
		t.Error("a policy that anybody may sign was taken")
	}
}

func FuzzParseSigned(f *testing.F) {
	f.Add([]byte(`{"manifest":"e30="}`))
	f.Add([]byte("\n\x02{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		sp, err := parseSigned(data)
		if err != nil {
			return
		}
		if _, err := proto.Marshal(sp); err != nil {
			t.Error(err)
		}
	})
}
