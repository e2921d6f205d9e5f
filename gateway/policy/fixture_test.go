package policy

import (
	"os"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sallyport-mesh/sallyport/gateway/policy/jcs"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func noon() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

// example is the policy of testdata, compiled conditions included.
func example(t testing.TB) *policyv1.Policy {
	t.Helper()
	b, err := os.ReadFile("testdata/example.json")
	if err != nil {
		t.Fatal(err)
	}
	p := &policyv1.Policy{}
	if err := jcs.Unmarshal(b, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// small is a policy to decide with: three environments, a caller that stands
// for a pattern, two callees.
func small(t testing.TB, intents string) *policyv1.Policy {
	t.Helper()
	p := &policyv1.Policy{}
	text := `{"version":1,"policy":"small","dataClasses":["public","internal","restricted"],
	"teams":{"ops":{},"sec":{}},"sinks":{"here":{"store":"view"}},
	"lists":{"released":{"digests":["sha256:00000000000000000000000000000000000000000000000000000000000000ff"]}},
	"environments":{
	  "a":{"trustDomain":"a.test","owner":"ops","gateways":{"a-1":{"dialOut":true}}},
	  "b":{"trustDomain":"b.test","owner":"ops","gateways":{"b-1":{"tunnel":"b.test:1"}}},
	  "c":{"trustDomain":"c.test","owner":"ops"}},
	"workloads":{
	  "one":{"id":"spiffe://a.test/ai/one","owner":"ops","data":{"class":"internal"},"labels":{"tier":"front"}},
	  "many":{"id":"spiffe://a.test/agent/*","owner":"ops","data":{"class":"public"},"labels":{"tier":"front"}},
	  "llm":{"id":"spiffe://b.test/ai/llm","owner":"ops","data":{"class":"internal"},"serves":{"chat":"openai://:8000/v1","health":"grpc://:9000"}},
	  "vault":{"id":"spiffe://b.test/vault","owner":"ops","serves":{"get":"http://:80"},"labels":{"tier":"back"}},
	  "lone":{"id":"spiffe://c.test/lone","owner":"ops","serves":{"get":"http://:8080"}}},
	"transitions":[{"from":"a","to":"b","owner":"sec","sink":"here","reviewBy":"2027-01-01"},
	  {"from":"b","to":"a","owner":"ops","sink":"here","reviewBy":"2027-01-01","record":"async","outage":"alarm","onCall":"+1"}],
	"intents":` + intents + `}`
	if err := (protojson.UnmarshalOptions{}).Unmarshal([]byte(text), p); err != nil {
		t.Fatal(err)
	}
	return p
}

func compiled(t testing.TB, p *policyv1.Policy) *Policy {
	t.Helper()
	c, err := Compile(p, Ref{Serial: 7, Revision: "sha256:00"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func id(t testing.TB, text string) spiffeid.ID {
	t.Helper()
	i, err := spiffeid.FromString(text)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func attributes(t testing.TB, with map[string]string) Attributes {
	t.Helper()
	var a Attributes
	for name, text := range with {
		if err := a.Set(name, text); err != nil {
			t.Fatal(err)
		}
	}
	return a
}
