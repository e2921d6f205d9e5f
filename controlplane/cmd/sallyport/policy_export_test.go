package main

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/policykey"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// TestExport: what is exported verifies by itself, under the operator's key set.
func TestExport(t *testing.T) {
	f := newFakeMesh(t)
	connect := f.serve(t)
	enter(t, "testdata/sessions/policy")
	if said := replay(t, "$ sallyport policy export\n", connect); !strings.Contains(said, "no policy is in force yet") || !strings.Contains(said, "[exit 1]") {
		t.Errorf("before there is a policy: %s", said)
	}
	said := replay(t, "$ sallyport policy apply policy.yaml\n\n$ sallyport policy export\n", connect)
	at := strings.LastIndex(said, "\n{")
	if at < 0 {
		t.Fatalf("nothing was exported: %s", said)
	}
	sp := &policyv1.SignedPolicy{}
	if err := protojson.Unmarshal([]byte(said[at:]), sp); err != nil {
		t.Fatal(err)
	}
	keys, err := policykey.ReadSet("mesh/operator/keyset.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := signed.Verify(sp, keys); err != nil || !proto.Equal(sp, f.signed) {
		t.Errorf("Verify = %v", err)
	}
}
