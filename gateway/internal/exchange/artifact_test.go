package exchange

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/upstream"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/policytest"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// storing is a world whose destination speaks that protocol, where it may be pulled, and
// copied and mounted from what is public.
func storing(t *testing.T, protocol string) *world {
	t.Helper()
	public := &policyv1.Condition{Compare: &policyv1.Comparison{
		Attribute: "artifact.source", Operator: policyv1.Comparison_PREFIX, Literals: []string{"public/"},
	}}
	moved := &policyv1.Condition{All: &policyv1.Conditions{Conditions: []*policyv1.Condition{is("artifact.operation", "copy", "mount"), public}}}
	model := &policyv1.Condition{All: &policyv1.Conditions{Conditions: []*policyv1.Condition{is("artifact.operation", "push"), is("artifact.kind", "model")}}}
	w := reading(t, policytest.Estate(t, 1, func(p *policyv1.Policy) {
		p.Workloads["llm"].Serves["chat"] = protocol + "://:8000"
		p.Intents = p.Intents[:1]
		p.Intents[0].Allow.Methods, p.Intents[0].Allow.Paths = nil, nil
		p.Intents[0].When = "written as a condition"
		p.Intents[0].Condition = &policyv1.Condition{Any: &policyv1.Conditions{Conditions: []*policyv1.Condition{is("artifact.operation", "pull"), moved, model}}}
	}))
	w.destination = func(*upstream.Request) (*upstream.Response, error) { return answer(200, ""), nil }
	return w
}

// TestArtifactDecides: what a head asks of a registry, an object store or a hub decides,
// and both gateways record it alike. What two servers could read differently is not allowed.
func TestArtifactDecides(t *testing.T) {
	blob := "sha256:" + hexOf(weights)
	from := func(source string) l7.Field { return l7.Field{Name: "x-amz-copy-source", Value: source} }
	media := func(of string) l7.Field { return l7.Field{Name: "content-type", Value: of} }
	for name, c := range map[string]struct {
		protocol, method, target string
		field                    l7.Field
		operation                string
		artifact                 *crossingv1.Artifact
		denied                   bool
	}{
		"pull of an object":           {"s3", "GET", "/b/k?versionId=v1", l7.Field{}, "pull", &crossingv1.Artifact{Name: "b/k", Reference: "v1"}, false},
		"push of an object":           {"s3", "PUT", "/b/k", l7.Field{}, "push", &crossingv1.Artifact{Name: "b/k"}, true},
		"copy of what is public":      {"s3", "PUT", "/b/k", from("/public/k"), "copy", &crossingv1.Artifact{Name: "b/k", Source: "public/k"}, false},
		"copy of something else":      {"s3", "PUT", "/b/k", from("/secret/k"), "copy", &crossingv1.Artifact{Name: "b/k", Source: "secret/k"}, true},
		"copy of what is not told":    {"s3", "PUT", "/b/k", from("public/%252e%252e/k"), "copy", &crossingv1.Artifact{Name: "b/k"}, true},
		"a version in two ways":       {"s3", "GET", "/b/k?versionId=1&versionId=2", l7.Field{}, "GET /b/k", nil, true},
		"pull of a blob":              {"oci", "GET", "/v2/org/llm/blobs/" + blob, l7.Field{}, "pull", &crossingv1.Artifact{Name: "org/llm", Reference: blob}, false},
		"mount of what is public":     {"oci", "POST", "/v2/llm/blobs/uploads/?mount=" + blob + "&from=public/llm", l7.Field{}, "mount", &crossingv1.Artifact{Name: "llm", Reference: blob, Source: "public/llm"}, false},
		"mount of something else":     {"oci", "POST", "/v2/llm/blobs/uploads/?mount=" + blob + "&from=secret/llm", l7.Field{}, "mount", &crossingv1.Artifact{Name: "llm", Reference: blob, Source: "secret/llm"}, true},
		"push of no manifest":         {"oci", "PUT", "/v2/llm/manifests/v1", media("application/vnd.oci.image.manifest.v1+json"), "push", &crossingv1.Artifact{Name: "llm", Reference: "v1"}, true},
		"pull of a dataset's file":    {"hub", "GET", "/datasets/org/d/resolve/main/train.parquet", l7.Field{}, "pull", &crossingv1.Artifact{Name: "org/d", Reference: "main", Kind: "dataset"}, false},
		"the same at another service": {"http", "GET", "/datasets/org/d/resolve/main/train.parquet", l7.Field{}, "GET /datasets/org/d/resolve/main/train.parquet", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := storing(t, c.protocol)
			req := request(c.method, c.target, "")
			if c.field.Name != "" {
				req.Head.Fields = append(req.Head.Fields, c.field)
			}
			r := w.ask(t, req)
			var rec *crossingv1.Record
			if c.denied {
				w.journal.never(t, "far open")
				rec = crossing.Join(w.near.account(t), nil)
			} else {
				rec = w.joined(t)
			}
			if (r.head.Status == 200) == c.denied || !c.denied && !rec.GetAgree() {
				t.Errorf("answer %+v, record %v", r.head, rec)
			}
			if got := rec.GetOperation().GetName(); got != c.operation {
				t.Errorf("operation %q, want %q", got, c.operation)
			}
			if d := cmp.Diff(c.artifact, rec.GetOperation().GetArtifact(), protocmp.Transform()); d != "" {
				t.Errorf("artifact (-want +got):\n%s", d)
			}
		})
	}
}

// TestManifestDecides: of what kind a manifest is that is pushed, its content tells, and
// both gateways record it alike. One that contradicts what may be pushed goes nowhere, and
// neither does one that can be read in two ways, whatever its head says.
func TestManifestDecides(t *testing.T) {
	const oci, cncf = "application/vnd.oci.image.manifest.v1+json", "application/vnd.cncf.model.manifest.v1+json"
	const config, image = `"config":{"mediaType":"application/vnd.cncf.model.config.v1+json"}`, `"config":{"mediaType":"application/vnd.oci.image.config.v1+json"}`
	long := `,"annotations":{"x":"` + strings.Repeat("x", policy.DefaultHold) + `"}`
	for name, c := range map[string]struct {
		media, content string
		kind           string
		reason         crossingv1.Reason // why it is denied; REASON_UNSPECIFIED if it is not
	}{
		"a model":                       {oci, `{` + config + `}`, "model", crossingv1.Reason_REASON_UNSPECIFIED},
		"a model of more than is held":  {oci, `{` + config + long + `}`, "model", crossingv1.Reason_REASON_UNSPECIFIED},
		"a model by its head":           {cncf, `{"layers":[]}`, "model", crossingv1.Reason_REASON_UNSPECIFIED},
		"an image":                      {oci, `{` + image + `}`, "image", crossingv1.Reason_NO_INTENT},
		"an image of more than is held": {oci, `{` + image + long + `}`, "", crossingv1.Reason_UNREADABLE},
		"something else":                {oci, `{"config":{"mediaType":"x"}}`, "", crossingv1.Reason_NO_INTENT},
		"an image under a model's head": {cncf, `{` + image + `}`, "", crossingv1.Reason_UNREADABLE},
		"a model and an image":          {oci, `{"artifactType":"` + cncf + `",` + image + `}`, "", crossingv1.Reason_UNREADABLE},
		"a config twice":                {oci, `{` + config + `,` + image + `}`, "", crossingv1.Reason_UNREADABLE},
		"a config twice, late":          {oci, `{` + config + long + `,` + image + `}`, "model", crossingv1.Reason_UNREADABLE},
		"no JSON":                       {oci, "PK", "", crossingv1.Reason_UNREADABLE},
	} {
		t.Run(name, func(t *testing.T) {
			w := storing(t, "oci")
			w.destination = func(r *upstream.Request) (*upstream.Response, error) {
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					return nil, err
				}
				return answer(201, ""), nil
			}
			r := w.ask(t, request("PUT", "/v2/org/llm/manifests/v1", c.content, l7.Field{Name: "content-type", Value: c.media}))
			rec := crossing.Join(w.near.account(t), nil)
			if c.reason == crossingv1.Reason_REASON_UNSPECIFIED {
				if rec = w.joined(t); r.head.Status != 201 || !rec.GetAgree() {
					t.Errorf("answer %+v, record %v", r.head, rec)
				}
			} else if reason := rec.GetEgress().GetReason(); reason != c.reason || !strings.HasPrefix(r.body.String(), `{"errors":[{"code":"`) {
				t.Errorf("%v, answered with %s", reason, r.body.String())
			}
			want := &crossingv1.Artifact{Name: "org/llm", Reference: "v1", Kind: c.kind}
			if d := cmp.Diff(want, rec.GetOperation().GetArtifact(), protocmp.Transform()); d != "" || rec.GetOperation().GetName() != "push" {
				t.Errorf("%s, artifact (-want +got):\n%s", rec.GetOperation().GetName(), d)
			}
		})
	}
}

// TestManifestPulled: both gateways record of what kind a manifest is that is pulled, if it
// passes as a whole and without a coding. It decides nothing.
func TestManifestPulled(t *testing.T) {
	const oci, model = "application/vnd.oci.image.manifest.v1+json", `{"config":{"mediaType":"application/vnd.cncf.model.config.v1+json"}}`
	for name, c := range map[string]struct {
		content string
		fields  []string
		want    string
	}{
		"a manifest":     {model, []string{"content-type", oci}, "model"},
		"a blob":         {model, []string{"content-type", "application/octet-stream"}, ""},
		"in a coding":    {model, []string{"content-type", oci, "content-encoding", "gzip"}, ""},
		"one that is no": {"{", []string{"content-type", oci}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := storing(t, "oci")
			w.destination = func(*upstream.Request) (*upstream.Response, error) {
				a := saying(200, c.content, c.fields...)
				a.Head.Fields = a.Head.Fields[1:] // another content-type
				return a, nil
			}
			w.ask(t, request("GET", "/v2/org/llm/manifests/v1", ""))
			rec := w.joined(t)
			if e, i := rec.GetEgress().GetTransfer(), rec.GetIngress().GetTransfer(); e == nil || e.GetKind() != c.want || i.GetKind() != c.want {
				t.Errorf("egress %v, ingress %v", e, i)
			}
		})
	}
}
