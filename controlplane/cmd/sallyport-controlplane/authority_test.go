package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/authority/admin"
	"github.com/sallyport-mesh/sallyport/certs/authority/issued"
)

// tool runs a command of the operator to its end.
func tool(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// TestAuthorityOperated runs an authority whose keys a signer keeps, and its root's
// rotation by the operator's commands.
func TestAuthorityOperated(t *testing.T) {
	dir := shortDir(t)
	config := filepath.Join(dir, "authority.yaml")
	if err := os.WriteFile(config, []byte(`
trustDomain: mesh.demo
dir: authority
signer: signer.sock
name: mesh-1
refreshHint: 1h
intermediateLife: 48h
rootLife: 9000h
entries:
  - id: spiffe://mesh.demo/operators/alice
    socket: alice.sock
    selectors: ["unix:uid:`+uid()+`"]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	signer := &process{done: make(chan int, 1), said: make(chan struct{}), waitFor: "key made"}
	go func() {
		signer.done <- run(ctx, []string{"authority", "signer", "--dir", filepath.Join(dir, "keys"), "--socket", filepath.Join(dir, "signer.sock")}, &bytes.Buffer{}, signer)
	}()
	awaitSocket(t, filepath.Join(dir, "signer.sock"))
	issuer := start(ctx, "authority", config, "workload api up")
	select {
	case <-issuer.said:
	case code := <-issuer.done:
		t.Fatalf("the authority ended with %d: %s", code, issuer.text())
	}
	waiting, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	source, err := certs.NewSource(waiting, certs.Options{WorkloadAPI: "unix://" + filepath.Join(dir, "alice.sock")})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()

	operate(t, config)

	code, out, errs := tool(t, "authority", "issued", "--config", config, "--id", "spiffe://mesh.demo/operators/alice")
	if code != exitOK || !strings.Contains(out, "ATTESTED") || !strings.Contains(out, issued.X509) || !strings.Contains(out, "unix:uid:"+uid()) {
		t.Errorf("issued = %d, %q, %q", code, out, errs)
	}
	code, out, _ = tool(t, "authority", "issued", "--config", config, "-o", "json")
	var e issued.Entry
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&e); code != exitOK || err != nil || e.ID != source.ID().String() {
		t.Errorf("issued -o json = %d, %q, %v", code, out, err)
	}
	if code, out, _ = tool(t, "authority", "issued", "--config", config, "--id", "spiffe://mesh.demo/bob"); code != exitOK || strings.Contains(out, "alice") {
		t.Errorf("issued for another ID = %d, %q", code, out)
	}
	cancel()
	for name, p := range map[string]*process{"authority": issuer, "signer": signer} {
		if code := <-p.done; code != exitOK {
			t.Errorf("the %s ended with %d: %s", name, code, p.text())
		}
	}
	if code, _, errs := tool(t, "authority", "root", "show", "--config", config); code != exitFailed || !strings.Contains(errs, "does the authority run") {
		t.Errorf("show of an authority that does not run = %d, %q", code, errs)
	}
}

// operate rotates the root by the operator's commands.
func operate(t *testing.T, config string) {
	t.Helper()
	for _, step := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"show"}, exitOK, []string{"ROOT", "active", "sha256:"}},
		{[]string{"activate"}, exitFailed, []string{"none is prepared"}},
		{[]string{"prepare"}, exitOK, []string{"prepared", "active"}},
		{[]string{"prepare"}, exitFailed, []string{"one is prepared already"}},
		{[]string{"activate"}, exitRefused, []string{"not yet", "every 1h0m0s", "--force"}},
		{[]string{"activate", "--force"}, exitOK, []string{"active", "old"}},
		{[]string{"retire"}, exitRefused, []string{"not yet", "may be valid for another", "--force"}},
		{[]string{"retire", "--force"}, exitOK, []string{"active"}},
		{[]string{"prepare", "--force"}, exitFailed, []string{"unknown flag"}},
		{[]string{"show", "-o", "yaml"}, exitFailed, []string{"table or json"}},
	} {
		code, out, errs := tool(t, append([]string{"authority", "root", "--config", config}, step.args...)...)
		if code != step.code {
			t.Errorf("root %v = %d, want %d: %s%s", step.args, code, step.code, out, errs)
		}
		for _, want := range step.says {
			if !strings.Contains(out+errs, want) {
				t.Errorf("root %v says %q, want %q in it", step.args, out+errs, want)
			}
		}
	}
	code, out, _ := tool(t, "authority", "root", "show", "--config", config, "-o", "json")
	var roots []admin.Root
	if err := json.Unmarshal([]byte(out), &roots); code != exitOK || err != nil || len(roots) != 1 || roots[0].State != "active" {
		t.Errorf("root show -o json = %d, %q, %v", code, out, err)
	}
}
