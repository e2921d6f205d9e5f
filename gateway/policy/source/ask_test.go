package source

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const small = `version: 1
policy: small
dataClasses: [public, internal, restricted]
teams: {ops: {}, sec: {}}
sinks: {here: {store: view}}
environments:
  a: {trustDomain: a.test, owner: ops, gateways: {a-1: {dialOut: true}}}
  b: {trustDomain: b.test, owner: ops, gateways: {b-1: {tunnel: "b.test:1"}}}
  c: {trustDomain: c.test, owner: ops}
workloads:
  one:   {id: "spiffe://a.test/ai/one", owner: ops, data: {class: internal}}
  many:  {id: "spiffe://a.test/agent/*", owner: ops, data: {class: public}}
  llm:   {id: "spiffe://b.test/ai/llm", owner: ops, data: {class: internal}, serves: {chat: "openai://:8000/v1", health: "grpc://:9000"}}
  vault: {id: "spiffe://b.test/vault", owner: ops, serves: {get: "http://:80"}}
  lone:  {id: "spiffe://c.test/lone", owner: ops, serves: {get: "http://:8080"}}
transitions:
  - {from: a, to: b, owner: sec, sink: here, reviewBy: 2027-01-01}
intents:
  - {name: chat, allow: {from: one, to: llm, service: chat, methods: [POST]}}
  - {name: agents, allow: {from: many, to: vault}}
  - {name: few, allow: {from: many, to: llm, service: chat}, limits: {requests: 1/day}}
  - {name: closed, deny: {from: one, to: vault}}
`

func TestRunTests(t *testing.T) {
	p, err := Load("small.yaml", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := policy.Compile(p, policy.Ref{})
	if err != nil {
		t.Fatal(err)
	}
	post := map[string]string{"http.method": "POST"}
	for _, c := range []struct {
		name string
		test *policyv1.Test
		want string // "" if it passes
	}{
		{"allowed", &policyv1.Test{From: "one", To: "llm", Service: "chat", With: post, Expect: "allow", By: "chat"}, ""},
		{"denied", &policyv1.Test{From: "one", To: "llm", Service: "health", Expect: "deny"}, ""},
		{"a pattern calls", &policyv1.Test{From: "many", To: "vault", Expect: "allow"}, ""},
		{"no transition", &policyv1.Test{From: "one", To: "lone", Expect: "deny"}, ""},
		{"nothing served", &policyv1.Test{From: "vault", To: "one", Expect: "deny"}, ""},
		{"not known", &policyv1.Test{From: "one", To: "llm", Service: "chat", Expect: "allow"}, "expected allow, but denied: no intent allows it"},
		{"all services must be allowed", &policyv1.Test{From: "one", To: "llm", With: post, Expect: "allow"}, "expected allow, but service health denied: no intent allows it"},
		{"all services must be denied", &policyv1.Test{From: "one", To: "llm", With: post, Expect: "deny"}, "expected deny, but service chat allowed by chat"},
		{"by another", &policyv1.Test{From: "one", To: "vault", Service: "get", Expect: "deny", By: "chat"}, "expected deny by chat, but denied by closed"},
		{"nobody owns it", &policyv1.Test{From: "one", To: "lone", Service: "get", Expect: "allow"}, "there is no such transition, so nobody owns it"},
		{"under limits", &policyv1.Test{From: "many", To: "llm", Service: "chat", Expect: "allow", By: "few"}, ""},
	} {
		p.Tests = []*policyv1.Test{c.test}
		faults := runTests(p, compiled, time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
		switch {
		case c.want == "" && len(faults) > 0, c.want != "" && len(faults) != 1:
			t.Errorf("%s: %v", c.name, faults)
		case c.want != "" && (faults[0].Path != "tests[0]" || !strings.Contains(faults[0].Message, c.want)):
			t.Errorf("%s: %v, want %q", c.name, faults, c.want)
		}
	}
}
