package oci

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/artifact"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	ofManifest = "application/vnd.oci.image.manifest.v1+json"
	model      = `{"artifactType":"application/vnd.cncf.model.manifest.v1+json","config":{}}`
	image      = `{"config":{"mediaType":"application/vnd.oci.image.config.v1+json"}}`
)

func head(method, path string) *l7.RequestHead {
	return &l7.RequestHead{Method: method, Path: path, Fields: l7.Fields{{Name: "content-type", Value: ofManifest}}}
}

// TestRequest: a manifest that is pushed is read, and nothing else.
func TestRequest(t *testing.T) {
	for name, c := range map[string]struct {
		head *l7.RequestHead
		want bool
	}{
		"push of a manifest": {head("PUT", "/v2/org/llm/manifests/v1"), true},
		"with a query":       {head("PUT", "/v2/llm/manifests/v1?x=/manifests/"), true},
		"pull of a manifest": {head("GET", "/v2/llm/manifests/v1"), false},
		"end of an upload":   {head("PUT", "/v2/llm/blobs/uploads/u?digest=/manifests/"), false},
	} {
		if r, _ := (Protocol{}).Request(c.head); (r != nil) != c.want {
			t.Errorf("%s: %T", name, r)
		}
	}
}

// TestNothingElseCosts: what is no manifest that is pushed is not read at all.
func TestNothingElseCosts(t *testing.T) {
	h := head("GET", "/v2/llm/manifests/v1")
	if n := testing.AllocsPerRun(100, func() { (Protocol{}).Request(h) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestPush: the kind is known once the manifest says it, and then nothing more is to come.
func TestPush(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		want    string
		settled bool // before the end
		fault   error
	}{
		"a model":        {model, artifact.Model, true, nil},
		"an image":       {image, artifact.Image, false, nil},
		"something else": {`{"config":{}}`, "", false, nil},
		"no manifest":    {"PK", "", false, inspect.ErrUnreadable},
		"both":           {`{"layers":[],"manifests":[]}`, "", false, inspect.ErrAmbiguous},
	} {
		r, _ := Protocol{}.Request(head("PUT", "/v2/llm/manifests/v1"))
		if asks := r.Asks(); len(asks) != 1 || asks[0].Kind != "" || r.Settled() {
			t.Errorf("%s: of no content %+v, %t", name, asks, r.Settled())
		}
		_, err := r.Write([]byte(c.content))
		if r.Settled() != c.settled {
			t.Errorf("%s: settled %t", name, r.Settled())
		}
		err = errors.Join(err, r.End())
		if asks := r.Asks(); len(asks) != 1 || asks[0].Kind != c.want || asks[0].Operation != "" || !r.Settled() || !errors.Is(err, c.fault) || c.fault == nil && err != nil {
			t.Errorf("%s: %+v, %t, %v", name, asks, r.Settled(), err)
		}
	}
}

// TestRefuse: a client of a registry is told in its own words.
func TestRefuse(t *testing.T) {
	const id = "019a1b2c-0000-7000-8000-000000000001"
	for name, c := range map[string]struct {
		reason crossingv1.Reason
		want   string
	}{
		"denied":         {crossingv1.Reason_NO_INTENT, "DENIED"},
		"no identity":    {crossingv1.Reason_NO_IDENTITY, "UNAUTHORIZED"},
		"over a limit":   {crossingv1.Reason_OVER_LIMIT, "TOOMANYREQUESTS"},
		"unreachable":    {crossingv1.Reason_UNREACHABLE, "UNAVAILABLE"},
		"not understood": {crossingv1.Reason_UNREADABLE, "MANIFEST_INVALID"},
	} {
		answer, body := Protocol{}.Refuse(&inspect.Refusal{Crossing: id, Reason: c.reason, Owner: "ml"}, nil, head("PUT", "/v2/llm/manifests/v1"))
		var got refusal
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		if got.Errors[0].Code != c.want || got.Errors[0].Detail != (detail{id, c.reason.String(), "ml"}) || got.Errors[0].Message == "" || answer.Fields.Get("content-type") != "application/json" || answer.Fields.Get(l7.CrossingName) != id {
			t.Errorf("%s: %+v, %s", name, answer, body)
		}
	}
}

// FuzzPush: what is known only grows, and is the same however the content is cut.
func FuzzPush(f *testing.F) {
	f.Add([]byte(model), 5)
	f.Add([]byte(image), 70)
	f.Fuzz(func(t *testing.T, content []byte, at int) {
		at = min(max(at, 0), len(content))
		r, _ := Protocol{}.Request(head("PUT", "/v2/llm/manifests/v1"))
		r.Write(content[:at])
		before := r.Asks()[0].Kind
		r.Write(content[at:])
		err := r.End()
		whole, _ := Protocol{}.Request(head("PUT", "/v2/llm/manifests/v1"))
		whole.Write(content)
		if wholeErr := whole.End(); (wholeErr == nil) != (err == nil) {
			t.Fatalf("%v cut at %d, %v as a whole", err, at, wholeErr)
		}
		if d := cmp.Diff(whole.Asks(), r.Asks()); d != "" {
			t.Errorf("cut at %d (-whole +cut):\n%s", at, d)
		}
		if before != "" && err == nil && r.Asks()[0].Kind != before {
			t.Errorf("%q became %q", before, r.Asks()[0].Kind)
		}
	})
}
