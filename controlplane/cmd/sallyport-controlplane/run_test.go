package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// write puts files into a new directory and gives its path.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const keySet = `{"threshold": 1, "keys": {"alice": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}}`

func TestReadControlPlane(t *testing.T) {
	dir := write(t, map[string]string{
		"keyset.json": keySet,
		"cp.yaml": `
listen: 127.0.0.1:9444
dir: state
logDir: logs
recordsDir: joined
sealedDir: contents
retention: 720h
hot: 24h
policyKeys: keyset.json
operators: ["spiffe://mesh.demo/operators/alice"]
workloadApi: unix:///run/cp.sock
`,
		"cp.json": `{"dir": "/abs/state", "policyKeys": "keyset.json", "operators": ["spiffe://mesh.demo/operators/alice"]}`,
	})
	cfg, err := readControlPlane(filepath.Join(dir, "cp.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for got, name := range map[string]string{cfg.Dir: "state", cfg.LogDir: "logs", cfg.RecordsDir: "joined", cfg.SealedDir: "contents"} {
		if want := filepath.Join(dir, name); got != want {
			t.Errorf("a directory %q, want %q, relative to the file", got, want)
		}
	}
	if cfg.Retention != 30*24*time.Hour || cfg.Hot != 24*time.Hour {
		t.Errorf("records are kept for %v, and in the database for %v", cfg.Retention, cfg.Hot)
	}
	if cfg.Listen != "127.0.0.1:9444" || cfg.WorkloadAPI != "unix:///run/cp.sock" ||
		len(cfg.PolicyKeys.GetKeys()) != 1 || cfg.Operators[0].String() != "spiffe://mesh.demo/operators/alice" {
		t.Errorf("readControlPlane() = %+v", cfg)
	}
	cfg, err = readControlPlane(filepath.Join(dir, "cp.json"))
	if err != nil || cfg.Dir != "/abs/state" {
		t.Errorf("readControlPlane(JSON) = %q, %v", cfg.Dir, err)
	}
}

// TestUsers: an entry's users may be named and numbered.
func TestUsers(t *testing.T) {
	dir := write(t, map[string]string{"authority.yaml": `
trustDomain: onprem.demo
dir: keys
entries:
  - {id: "spiffe://onprem.demo/a", socket: a.sock, uids: [7], users: [root]}
  - {id: "spiffe://onprem.demo/b", socket: b.sock}
`})
	cfg, err := readAuthority(filepath.Join(dir, "authority.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Authority.Entries[0].UIDs; !slices.Equal(got, []uint32{7, 0}) {
		t.Errorf("UIDs = %v, want 7 and root's", got)
	}
	if got := cfg.Authority.Entries[1].UIDs; len(got) != 0 {
		t.Errorf("UIDs of an entry without users = %v", got)
	}
}

func TestRefusedConfigurations(t *testing.T) {
	dir := write(t, map[string]string{
		"keyset.json": keySet,
		"bad.json":    `{"threshold": 1, "keyz": {}}`,
		"unknown.yaml": `
dir: state
polcyKeys: keyset.json
operator: [a]
`,
		"duplicate.yaml": "dir: a\ndir: b\n",
		"many.yaml": `
listen: nowhere
policyKeys: missing.json
operators: ["alice", "spiffe://mesh.demo/ok", "spiffe://UPPER/x"]
bundles: {"no domain": x.json, aws.demo: missing.json}
`,
		"short.yaml":    "dir: a\npolicyKeys: keyset.json\noperators: [\"spiffe://mesh.demo/alice\"]\nretention: 1h\nhot: 2h\n",
		"nowhere.yaml":  "nats: nats://a\npolicyKeys: keyset.json\noperators: [\"spiffe://mesh.demo/alice\"]\nretention: 1000h\n",
		"days.yaml":     "dir: a\nretention: 30 days\n",
		"neither.yaml":  "policyKeys: keyset.json\noperators: [\"spiffe://mesh.demo/alice\"]\nlisten: nowhere\n",
		"keys.yaml":     "dir: a\npolicyKeys: bad.json\noperators: [\"spiffe://mesh.demo/alice\"]\n",
		"nokeys.yaml":   "dir: a\noperators: [\"spiffe://mesh.demo/alice\"]\n",
		"empty.yaml":    "",
		"two.yaml":      "dir: a\n---\ndir: b\n",
		"wrong.yaml":    "dir: [a]\nlisten: {}\n",
		"authority.yml": "trustDomain: \"no domain\"\nentries: [{id: x}, {id: \"spiffe://a.demo/x\", socket: s, users: [root, no-such-user]}]\nfederated: {\"b b\": f}\nx509Ttl: 1s\njwtTtl: 2h\npolicy: {}\n",
		"federation.yml": `
trustDomain: a.demo
dir: d
controlPlane: {address: cp, id: cp}
federates:
  - {trustDomain: "b b", endpoint: {url: "http://x", profile: https, id: ""}}
  - {trustDomain: b.demo, endpoint: {url: "https://x/", profile: https_web}}
  - {trustDomain: b.demo, endpoint: {url: "https://x/", profile: https_web}}
bundleEndpoints:
  - {listen: nowhere, path: x, key: k}
`,
		"bundles.yml": "issuer: {trustDomain: a.demo, endpoint: {url: \"http://x\", profile: https_web}}\n",
		"ttl.yml":     "trustDomain: a.demo\ndir: d\njwtTtl: soon\n",
	})
	tests := []struct {
		name string
		args []string
		says []string // all of them
	}{
		{"no file", []string{"run"}, []string{"--config"}},
		{"a missing file", []string{"run", "--config", "missing.yaml"}, []string{"missing.yaml"}},
		{"a retention shorter than hot", []string{"run", "--config", "short.yaml"}, []string{"short.yaml", "retention, hot", "1h0m0s", "2h0m0s"}},
		{"a retention of no records", []string{"run", "--config", "nowhere.yaml"}, []string{"nowhere.yaml", "retention", "recordsDir"}},
		{"a retention that is none", []string{"run", "--config", "days.yaml"}, []string{"days.yaml", "line 2", "30 days"}},
		{"unknown keys, all", []string{"run", "--config", "unknown.yaml"}, []string{"unknown.yaml", "line 3", "polcyKeys", "line 4", "operator"}},
		{"a key twice", []string{"run", "--config", "duplicate.yaml"}, []string{"duplicate.yaml", "line 2", "dir"}},
		{"many faults, all", []string{"run", "--config", "many.yaml"}, []string{
			"many.yaml: policyKeys", "operators[0]", `"alice"`, "operators[2]", "bundles: no domain", "bundles: aws.demo",
		}},
		{"no place for the store", []string{"run", "--config", "neither.yaml"}, []string{"neither.yaml", "exactly one of dir and nats", "nowhere"}},
		{"bad key set", []string{"run", "--config", "keys.yaml"}, []string{"keys.yaml: policyKeys", "keyz"}},
		{"no key set", []string{"run", "--config", "nokeys.yaml"}, []string{"nokeys.yaml: policyKeys"}},
		{"empty", []string{"run", "--config", "empty.yaml"}, []string{"empty.yaml", "empty"}},
		{"two documents", []string{"run", "--config", "two.yaml"}, []string{"two.yaml", "more than one"}},
		{"wrong types, all", []string{"run", "--config", "wrong.yaml"}, []string{"line 1", "line 2"}},
		{"log level", []string{"run", "--config", "two.yaml", "--log-level", "loud"}, []string{"--log-level", "loud"}},
		{"authority, many faults, all", []string{"authority", "--config", "authority.yml"}, []string{
			"authority.yml: trustDomain", "dir: must be set", "entries[0].id", "entries[0].socket", "entries[1].users", "no-such-user", "federated: b b",
			"policy.keys: there is no file", "policy.file: must be set",
			"x509Ttl: X509-SVIDs of 1s: at least 4s", "jwtTtl: JWT-SVIDs of 2h0m0s: from a second to 1h0m0s",
		}},
		{"federation, many faults, all", []string{"authority", "--config", "federation.yml"}, []string{
			`controlPlane.address: "cp"`, "controlPlane.id", "federates[0]", "want https://HOST/PATH", `profile "https"`, "federates[2]: b.demo is there twice",
			`bundleEndpoints[0].listen: "nowhere"`, "bundleEndpoints[0]: certificate and key go together", `bundleEndpoints[0].path: "x"`,
		}},
		{"bundles, many faults, all", []string{"bundles", "--config", "bundles.yml"}, []string{"issuer", "want https://HOST/PATH", "controlPlane: must be set"}},
		{"a lifetime that is none", []string{"authority", "--config", "ttl.yml"}, []string{"ttl.yml", "line 3", "soon"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(dir)
			var out, errs bytes.Buffer
			if code := run(t.Context(), tt.args, &out, &errs); code != exitRefused {
				t.Errorf("run(%q) = %d, want %d", tt.args, code, exitRefused)
			}
			for _, want := range tt.says {
				if !strings.Contains(errs.String(), want) {
					t.Errorf("run(%q) says %q, want %q in it", tt.args, errs.String(), want)
				}
			}
			if out.Len() > 0 {
				t.Errorf("run(%q) wrote %q to standard output", tt.args, out.String())
			}
		})
	}
}

func TestFederationConfiguration(t *testing.T) {
	dir := write(t, map[string]string{"authority.yaml": `
trustDomain: onprem.demo
dir: keys
controlPlane: {address: "cp.demo:8444", id: "spiffe://mesh.demo/sallyport/controlplane/cp-1"}
federates:
  - {trustDomain: aws.demo, endpoint: {url: "https://aws.demo:8447/", profile: https_spiffe, id: "spiffe://aws.demo/sallyport/authority/main"}}
bundleEndpoints:
  - {listen: "127.0.0.1:8447"}
  - {listen: "127.0.0.1:8448", path: /bundle.json, certificate: web.pem, key: web.key}
`})
	cfg, err := readAuthority(filepath.Join(dir, "authority.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.ControlPlane.Address != "cp.demo:8444" || cfg.ControlPlane.ID.Path() != "/sallyport/controlplane/cp-1" ||
		len(cfg.Federation) != 1 || cfg.Federation[0].TrustDomain().Name() != "aws.demo" {
		t.Errorf("readAuthority() = %+v", cfg)
	}
	if len(cfg.Endpoints) != 2 || cfg.Endpoints[0].Certificate != "" || cfg.Endpoints[1].Key != filepath.Join(dir, "web.key") || cfg.Endpoints[1].Path != "/bundle.json" {
		t.Errorf("endpoints: %+v", cfg.Endpoints)
	}
}

func TestBadUsage(t *testing.T) {
	for _, args := range [][]string{{"fly"}, {"run", "now"}, {"run", "--loud"}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != exitFailed || errs.Len() == 0 {
			t.Errorf("run(%q) = %d, %q, want %d and why", args, code, errs.String(), exitFailed)
		}
	}
}

// shortDir is a directory whose path leaves room for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestBothRolesRun(t *testing.T) {
	dir := shortDir(t)
	for name, text := range map[string]string{
		"keyset.json": keySet,
		"authority.yaml": `
trustDomain: mesh.demo
dir: authority
x509Ttl: 30m
jwtTtl: 10m
entries:
  - id: spiffe://mesh.demo/sallyport/controlplane/cp-1
    socket: cp.sock
`,
		"cp.yaml": `
listen: 127.0.0.1:0
dir: state
policyKeys: keyset.json
operators: ["spiffe://mesh.demo/operators/alice"]
workloadApi: unix://` + dir + `/cp.sock
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	issuer := start(ctx, "authority", filepath.Join(dir, "authority.yaml"), "")
	plane := start(ctx, "run", filepath.Join(dir, "cp.yaml"), "control plane ready")
	select {
	case <-plane.said:
	case code := <-plane.done:
		t.Fatalf("the control plane ended with %d: %s", code, plane.text())
	}
	cancel()
	for name, p := range map[string]*process{"authority": issuer, "control plane": plane} {
		if code := <-p.done; code != exitOK {
			t.Errorf("the %s ended with %d: %s", name, code, p.text())
		}
	}
}
