package gateway

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/gateway/internal/exchange"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func good() *configv1.Bootstrap {
	return &configv1.Bootstrap{
		Gateway: "onprem-1", Environment: "onprem", TrustDomain: "onprem.test", StateDir: "state",
		ControlPlane: &configv1.ControlPlane{
			Address: "127.0.0.1:8444", Id: "spiffe://mesh.test/sallyport/controlplane/cp-1", Bundle: `{"keys":[]}`,
		},
		PolicyKeys: &policyv1.KeySet{Threshold: 1, Keys: map[string][]byte{"operator": make([]byte, 32)}},
	}
}

func ports(listen, to string) []*configv1.Port { return []*configv1.Port{{Listen: listen, To: to}} }

func TestCheckBootstrap(t *testing.T) {
	b, err := checkBootstrap(good())
	if err != nil {
		t.Fatal(err)
	}
	if b.self.String() != "spiffe://onprem.test/sallyport/gateway/onprem-1" || b.GetAttach() != DefaultAttach {
		t.Errorf("self %s, attach %q", b.self, b.GetAttach())
	}
	two := good()
	two.Ports = append(ports("127.0.0.1:0", "db.azure.mesh:5432"), ports("127.0.0.1:0", "DB.azure.mesh:5432")...)
	if b, err := checkBootstrap(two); err != nil || len(b.ports()) != 2 {
		t.Errorf("two ports at free addresses: %v, %v", b, err)
	}
	if l := b.limits(); l != (exchange.Limits{}) || !b.quota().Enter("one") {
		t.Errorf("a file without limits has %+v", l)
	}
	bound := good()
	bound.Limits = &configv1.Limits{ExchangesPerCaller: 1, RequestBytes: 2, Silence: durationpb.New(time.Minute), Total: durationpb.New(time.Hour)}
	b, err = checkBootstrap(bound)
	if err != nil || b.limits() != (exchange.Limits{RequestBytes: 2, Silence: time.Minute, Total: time.Hour}) {
		t.Errorf("limits %+v, %v", b.limits(), err)
	}
	if q := b.quota(); !q.Enter("one") || q.Enter("one") {
		t.Error("a quota of 1 is not")
	}
	follows := good()
	follows.Federation = []*configv1.BundleEndpoint{{TrustDomain: "aws.test", Url: "https://aws.test:8447/", Profile: "https_web"}}
	if b, err := checkBootstrap(follows); err != nil || len(b.endpoints) != 1 || b.endpoints[0].TrustDomain().Name() != "aws.test" {
		t.Errorf("a bundle endpoint: %v, %v", b, err)
	}
	keys := good()
	keys.Secrets = map[string]*configv1.Secret{"openai-key": {File: filepath.Join(t.TempDir(), "missing")}}
	if b, err = checkBootstrap(keys); err != nil {
		t.Errorf("a secret whose file is missing keeps the gateway from starting: %v", err)
	}
	if err := b.secrets().Inject(&policy.Service{Credential: "openai-key"}, &l7.RequestHead{}); err == nil || !strings.Contains(err.Error(), "its file is not there") {
		t.Errorf("a secret whose file is missing: %v", err)
	}
	if good := good(); good.Attach != "" {
		t.Error("the caller's file was changed")
	}
}

// TestBootstrapFaults: every fault is found, and names its field.
func TestBootstrapFaults(t *testing.T) {
	for _, c := range []struct {
		field string
		spoil func(b *configv1.Bootstrap)
	}{
		{"trustDomain", func(b *configv1.Bootstrap) { b.TrustDomain = "Not A Domain" }},
		{"gateway", func(b *configv1.Bootstrap) { b.Gateway = "../x" }},
		{"environment", func(b *configv1.Bootstrap) { b.Environment = "" }},
		{"stateDir", func(b *configv1.Bootstrap) { b.StateDir = "" }},
		{"controlPlane.id", func(b *configv1.Bootstrap) { b.ControlPlane.Id = "cp" }},
		{"controlPlane.bundle", func(b *configv1.Bootstrap) { b.ControlPlane.Bundle = "{" }},
		{"controlPlane.address", func(b *configv1.Bootstrap) { b.ControlPlane.Address = "" }},
		{"policyKeys.keys", func(b *configv1.Bootstrap) { b.PolicyKeys = nil }},
		{"policyKeys.threshold", func(b *configv1.Bootstrap) { b.PolicyKeys.Threshold = 2 }},
		{"attach", func(b *configv1.Bootstrap) { b.Attach = "8443" }},
		{"tunnel", func(b *configv1.Bootstrap) { b.Tunnel = "x" }},
		{"admin", func(b *configv1.Bootstrap) { b.Admin = "9090" }},
		{"drain", func(b *configv1.Bootstrap) { b.Drain = durationpb.New(time.Millisecond) }},
		{"drain", func(b *configv1.Bootstrap) { b.Drain = &durationpb.Duration{Seconds: 1, Nanos: -1} }},
		{"ports[0].listen", func(b *configv1.Bootstrap) { b.Ports = ports("5432", "db.azure.mesh:5432") }},
		{"ports[0].listen", func(b *configv1.Bootstrap) { b.Ports = ports("", "db.azure.mesh:5432") }},
		{"ports[0].listen", func(b *configv1.Bootstrap) { b.Ports = ports(DefaultAttach, "db.azure.mesh:5432") }},
		{"ports[1].listen", func(b *configv1.Bootstrap) {
			b.Ports = append(ports("127.0.0.1:5432", "db.azure.mesh:5432"), ports("127.0.0.1:5432", "db.aws.mesh:5432")...)
		}},
		{"ports[0].to", func(b *configv1.Bootstrap) { b.Ports = ports("127.0.0.1:5432", "") }},
		{"ports[0].to", func(b *configv1.Bootstrap) { b.Ports = ports("127.0.0.1:5432", "db.azure.mesh") }},
		{"ports[0].to", func(b *configv1.Bootstrap) { b.Ports = ports("127.0.0.1:5432", "db.example.com:5432") }},
		{"ports[0].to", func(b *configv1.Bootstrap) { b.Ports = ports("127.0.0.1:5432", "db.azure.mesh:99999") }},
		{"limits.head", func(b *configv1.Bootstrap) { b.Limits = &configv1.Limits{Head: durationpb.New(0)} }},
		{"limits.idle", func(b *configv1.Bootstrap) { b.Limits = &configv1.Limits{Idle: durationpb.New(-time.Second)} }},
		{"limits.silence", func(b *configv1.Bootstrap) {
			b.Limits = &configv1.Limits{Silence: &durationpb.Duration{Nanos: -1, Seconds: 1}}
		}},
		{"limits.total", func(b *configv1.Bootstrap) { b.Limits = &configv1.Limits{Total: durationpb.New(400 * 24 * time.Hour)} }},
		{"federation[0]", func(b *configv1.Bootstrap) {
			b.Federation = []*configv1.BundleEndpoint{{TrustDomain: "aws.test", Url: "http://aws.test/", Profile: "https_web"}}
		}},
		{"federation[0]", func(b *configv1.Bootstrap) {
			b.Federation = []*configv1.BundleEndpoint{{TrustDomain: "onprem.test", Url: "https://aws.test/", Profile: "https_web"}}
		}},
		{"sealed.partBytes", func(b *configv1.Bootstrap) { b.Sealed = &configv1.Sealed{PartBytes: 65 << 20} }},
		{"sealed.totalBytes", func(b *configv1.Bootstrap) { b.Sealed = &configv1.Sealed{TotalBytes: 4 << 20} }},
		{"sealed.totalBytes", func(b *configv1.Bootstrap) { b.Sealed = &configv1.Sealed{TotalBytes: 1 << 61} }},
		{"secrets.OpenAI", func(b *configv1.Bootstrap) {
			b.Secrets = map[string]*configv1.Secret{"OpenAI": {File: "/run/secrets/openai"}}
		}},
		{"secrets.openai-key.file", func(b *configv1.Bootstrap) { b.Secrets = map[string]*configv1.Secret{"openai-key": {}} }},
		{"secrets.openai-key.file", func(b *configv1.Bootstrap) {
			b.Secrets = map[string]*configv1.Secret{"openai-key": {File: "sk-proj-ABC"}}
		}},
		{"guards.D_L_P", func(b *configv1.Bootstrap) {
			b.Guards = map[string]*configv1.Guard{"D_L_P": {Url: "unix:///run/dlp.sock"}}
		}},
		{"guards.dlp", func(b *configv1.Bootstrap) { b.Guards = map[string]*configv1.Guard{"dlp": {Url: "http://10.0.0.1/"}} }},
		{"carriers[1]", func(b *configv1.Bootstrap) { b.Carriers = []string{"TCP", "SCTP"} }},
	} {
		t.Run(c.field, func(t *testing.T) {
			b := good()
			c.spoil(b)
			if _, err := New(context.Background(), Config{Bootstrap: b}); err == nil || !strings.Contains(err.Error(), "bootstrap: "+c.field+": ") {
				t.Errorf("New = %v, want a fault of %s", err, c.field)
			}
		})
	}
	pasted := good()
	pasted.Secrets = map[string]*configv1.Secret{"openai-key": {File: "sk-proj-ABC"}}
	if _, err := checkBootstrap(pasted); err == nil || strings.Contains(err.Error(), "sk-proj") {
		t.Errorf("a secret that stands in the file itself is said: %v", err)
	}
	both := good()
	both.StateDir, both.Environment = "", ""
	if _, err := checkBootstrap(both); err == nil || strings.Count(err.Error(), "bootstrap: ") != 2 {
		t.Errorf("two faults: %v", err)
	}
	if _, err := New(context.Background(), Config{}); err == nil {
		t.Error("no bootstrap file at all was taken")
	}
}
