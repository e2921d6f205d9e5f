package policy

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func TestValidateAccepts(t *testing.T) {
	priced := small(t, `[{"name":"i","allow":{},"limits":{"cost":"5/hour","tokens":"9/minute"}}]`)
	priced.Costs = map[string]*policyv1.Cost{"*": {Output: 1_000_000_000_000}, "org/model:7b@v1": {}, "claude-*": {Input: 3, Output: 15}}
	for name, p := range map[string]*policyv1.Policy{"example": example(t), "small": small(t, `[]`), "priced": priced} {
		if f := Validate(p); len(f) > 0 {
			t.Errorf("%s: %v", name, f)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	type p = *policyv1.Policy
	digest := "sha256:" + strings.Repeat("0", 64)
	deep := &policyv1.Condition{Compare: &policyv1.Comparison{Attribute: "ai.model", Operator: policyv1.Comparison_EQ, Literals: []string{"x"}}}
	for range maxDepth {
		deep = &policyv1.Condition{Not: deep}
	}
	compare := func(attribute string, op policyv1.Comparison_Operator, literals ...string) *policyv1.Condition {
		return &policyv1.Condition{Compare: &policyv1.Comparison{Attribute: attribute, Operator: op, Literals: literals}}
	}
	cases := []struct {
		name, path, message string
		spoil               func(p)
	}{
		{"version", "version", "version 2", func(p p) { p.Version = 2 }},
		{"name", "policy", "DNS label", func(p p) { p.Policy = "Acme AI" }},
		{"class twice", "dataClasses[1]", "listed twice", func(p p) { p.DataClasses[1] = "public" }},
		{"too many classes", "dataClasses", "at most 64", func(p p) {
			for i := range 70 {
				p.DataClasses = append(p.DataClasses, fmt.Sprint("c", i))
			}
		}},
		{"team's name", "teams.A Team", "DNS label", func(p p) { p.Teams["A Team"] = &policyv1.Team{} }},
		{"two sinks in one", "sinks.siem", "exactly one", func(p p) { p.Sinks["siem"].Store = "view" }},
		{"no sink", "sinks.siem", "exactly one", func(p p) { p.Sinks["siem"].Reset() }},
		{"sink's URL", "sinks.siem.ocsf", "not an http", func(p p) { p.Sinks["siem"].Ocsf = "siem.acme.example" }},
		{"store", "sinks.siem.store", `only one is "view"`, func(p p) { p.Sinks["siem"] = &policyv1.Sink{Store: "veiw"} }},
		{"syslog", "sinks.siem.syslog", "HOST:PORT", func(p p) { p.Sinks["siem"] = &policyv1.Sink{Syslog: "host"} }},

		{"one trust domain", "environments.azure.trustDomain", "is that of aws", func(p p) { p.Environments["azure"].TrustDomain = "aws.acme.example" }},
		{"no trust domain", "environments.aws.trustDomain", "not a SPIFFE trust domain", func(p p) { p.Environments["aws"].TrustDomain = "AWS" }},
		{"environment without owner", "environments.aws.owner", "no owner", func(p p) { p.Environments["aws"].Owner = "" }},
		{"networks overlap", "environments.aws.networks[0]", "the L3 proof could not tell", func(p p) { p.Environments["aws"].Networks[0] = "10.0.5.0/24" }},
		{"networks overlap in the width", "environments.onprem.networks[0]", "overlaps 10.0.0.0/8 of aws", func(p p) { p.Environments["aws"].Networks[0] = "10.0.0.0/8" }},
		{"host bits", "environments.aws.networks[0]", "write 10.1.0.0/16", func(p p) { p.Environments["aws"].Networks[0] = "10.1.2.0/16" }},
		{"network", "environments.aws.networks[0]", "not a network", func(p p) { p.Environments["aws"].Networks[0] = "10.1.0.0" }},
		{"gateway's name taken", "environments.azure.gateways.aws-1", "taken in environment aws", func(p p) { p.Environments["azure"].Gateways["aws-1"] = &policyv1.Gateway{DialOut: true} }},
		{"gateway nobody can dial", "environments.azure.gateways.azure-1", "no tunnel", func(p p) { p.Environments["azure"].Gateways["azure-1"].Tunnel = "" }},
		{"dials out and is dialled", "environments.azure.gateways.azure-1.tunnel", "dials out", func(p p) { p.Environments["azure"].Gateways["azure-1"].DialOut = true }},
		{"tunnel", "environments.azure.gateways.azure-1.tunnel", "not HOST:PORT", func(p p) { p.Environments["azure"].Gateways["azure-1"].Tunnel = "gw" }},
		{"tunnel's port", "environments.azure.gateways.azure-1.tunnel", "65535", func(p p) { p.Environments["azure"].Gateways["azure-1"].Tunnel = "gw:0" }},
		{"gateway's address", "environments.azure.gateways.azure-1.addresses[0]", "not an IP address", func(p p) { p.Environments["azure"].Gateways["azure-1"].Addresses[0] = "gw" }},
		{"layer", "environments.azure.layers[1].layer", `did you mean "cilium"`, func(p p) { p.Environments["azure"].Layers[1].Layer = "cillium" }},
		{"layer without owner", "environments.azure.layers[1].owner", "no owner", func(p p) { p.Environments["azure"].Layers[1].Owner = "" }},

		{"id", "workloads.llm.id", "begins with spiffe://", func(p p) { p.Workloads["llm"].Id = "llm" }},
		{"foreign id", "workloads.llm.id", "is of no environment", func(p p) { p.Workloads["llm"].Id = "spiffe://x.example/llm" }},
		{"reserved id", "workloads.llm.id", "reserved", func(p p) { p.Workloads["llm"].Id = "spiffe://azure.acme.example/sallyport/gateway/azure-1" }},
		{"part of a segment", "workloads.orchestrator.id", "whole path segment", func(p p) { p.Workloads["orchestrator"].Id = "spiffe://onprem.acme.example/ai/orch*" }},
		{"no path", "workloads.llm.id", "no path", func(p p) { p.Workloads["llm"].Id = "spiffe://azure.acme.example" }},
		{"dot segment", "workloads.llm.id", "path segment", func(p p) { p.Workloads["llm"].Id = "spiffe://azure.acme.example/../llm" }},
		{"id taken", "workloads.retriever.id", "is the id of registry", func(p p) { p.Workloads["retriever"].Id = p.Workloads["registry"].Id }},
		{"a pattern serves", "workloads.llm.serves", "its id is a pattern", func(p p) { p.Workloads["llm"].Id = "spiffe://azure.acme.example/ai/*" }},
		{"patterns overlap", "workloads.y.id", "also of that of x", func(p p) {
			p.Workloads["x"] = &policyv1.Workload{Id: "spiffe://azure.acme.example/a/*", Owner: "ml-platform"}
			p.Workloads["y"] = &policyv1.Workload{Id: "spiffe://azure.acme.example/*/b", Owner: "ml-platform"}
		}},
		{"credential of no service", "workloads.llm.credentials.chta", `did you mean "chat"`, func(p p) { p.Workloads["llm"].Credentials = map[string]string{"chta": "openai-key"} }},
		{"secret's name", "workloads.llm.credentials.chat", "under secrets", func(p p) { p.Workloads["llm"].Credentials = map[string]string{"chat": "sk_123"} }},
		{"credential of bytes", "workloads.llm.credentials.db", "no head of tcp", func(p p) {
			p.Workloads["llm"].Serves["db"], p.Workloads["llm"].Credentials = "tcp://:5432", map[string]string{"db": "db-key"}
		}},
		{"credential of what is signed", "workloads.llm.credentials.s3", "no head of s3", func(p p) {
			p.Workloads["llm"].Serves["s3"], p.Workloads["llm"].Credentials = "s3://:9000", map[string]string{"s3": "s3-key"}
		}},
		{"reviewer", "reviewers.dpo.key", "not an age recipient", func(p p) { p.Reviewers = map[string]*policyv1.Reviewer{"dpo": {Owner: "ml-platform"}} }},
		{"content", "intents[0].content.kept", "hash or sealed", func(p p) { p.Intents[0].Content = &policyv1.Content{Kept: "clear", Retention: "1d"} }},
		{"workload without owner", "workloads.llm.owner", "no owner", func(p p) { p.Workloads["llm"].Owner = "" }},
		{"workload's owner", "workloads.llm.owner", `did you mean "ml-platform"`, func(p p) { p.Workloads["llm"].Owner = "ml-platfor" }},
		{"class", "workloads.llm.data.class", "unknown data class", func(p p) { p.Workloads["llm"].Data.Class = "secret" }},
		{"address", "workloads.llm.addresses[0]", "not an IP address", func(p p) { p.Workloads["llm"].Addresses[0] = "10.2.3" }},
		{"protocol", "workloads.llm.serves.chat", `did you mean "openai"`, func(p p) { p.Workloads["llm"].Serves["chat"] = "openia://:8000" }},
		{"port", "workloads.llm.serves.chat", "65535", func(p p) { p.Workloads["llm"].Serves["chat"] = "openai://:80000" }},
		{"no port", "workloads.llm.serves.chat", "names no port", func(p p) { p.Workloads["llm"].Serves["chat"] = "openai://host" }},
		{"a path of tls", "workloads.llm.serves.chat", "a tls service has no path", func(p p) { p.Workloads["llm"].Serves["chat"] = "tls://db.example.com:1/x" }},
		{"a path of tcp", "workloads.llm.serves.chat", "no path", func(p p) { p.Workloads["llm"].Serves["chat"] = "tcp://:1/x" }},
		{"port taken", "workloads.llm.serves.other", "both at port 8000", func(p p) { p.Workloads["llm"].Serves["other"] = "http://:8000" }},
		{"nobody accepted plaintext", "workloads.llm.plaintext.acceptedBy", "no acceptedBy", func(p p) { p.Workloads["llm"].Plaintext = &policyv1.Plaintext{} }},

		{"transition without owner", "transitions[0].owner", "transition azure ─► aws: no owner. Name the team that answers for it, or delete the transition.", func(p p) { p.Transitions[0].Owner = "" }},
		{"transition without sink", "transitions[0].sink", "no sink", func(p p) { p.Transitions[0].Sink = "" }},
		{"unknown sink", "transitions[0].sink", `did you mean "siem"`, func(p p) { p.Transitions[0].Sink = "seim" }},
		{"no review", "transitions[0].reviewBy", "no reviewBy", func(p p) { p.Transitions[0].ReviewBy = "" }},
		{"no date", "transitions[0].reviewBy", "not a date", func(p p) { p.Transitions[0].ReviewBy = "2027-02-30" }},
		{"to itself", "transitions[0].to", "one environment to another", func(p p) { p.Transitions[0].To = "azure" }},
		{"to nowhere", "transitions[0].to", "unknown environment", func(p p) { p.Transitions[0].To = "gcp" }},
		{"twice", "transitions[1]", "stands twice", func(p p) { p.Transitions[1] = proto.CloneOf(p.Transitions[0]) }},
		{"record", "transitions[0].record", "durable or async", func(p p) { p.Transitions[0].Record = "maybe" }},
		{"outage", "transitions[0].outage", `outage is refuse or alarm, not "allow". Say whether`, func(p p) { p.Transitions[0].Outage = "allow" }},
		{"outage in another case", "transitions[0].outage", "refuse or alarm", func(p p) { p.Transitions[0].Outage = "Alarm" }},

		{"intent's name", "intents[0].name", "DNS label", func(p p) { p.Intents[0].Name = "" }},
		{"intent's name taken", "intents[1].name", "taken", func(p p) { p.Intents[1].Name = p.Intents[0].Name }},
		{"both", "intents[0]", "exactly one", func(p p) { p.Intents[0].Deny = &policyv1.Match{} }},
		{"neither", "intents[0]", "exactly one", func(p p) { p.Intents[0].Allow = nil }},
		{"caller", "intents[0].allow.from", `did you mean "orchestrator"`, func(p p) { p.Intents[0].Allow.From = "orchestator" }},
		{"environment", "intents[0].allow.from", "unknown environment", func(p p) { p.Intents[0].Allow.From = "environment:gcp" }},
		{"label", "intents[0].allow.to", "no workload has the label", func(p p) { p.Intents[0].Allow.To = "label:a=b" }},
		{"label's form", "intents[0].allow.to", "label:KEY=VALUE", func(p p) { p.Intents[0].Allow.To = "label:a" }},
		{"pattern of nobody", "intents[0].allow.to", "is of no environment", func(p p) { p.Intents[0].Allow.To = "spiffe://x.example/*" }},
		{"service", "intents[0].allow.service", `unknown service "mcp"`, func(p p) { p.Intents[0].Allow.Service = "mcp" }},
		{"method", "intents[0].allow.methods[0]", "in capitals", func(p p) { p.Intents[0].Allow.Methods = []string{"get"} }},
		{"relative path", "intents[0].allow.paths[0]", "begin with /", func(p p) { p.Intents[0].Allow.Paths = []string{"v1"} }},
		{"star inside", "intents[0].allow.paths[0]", "only at the end", func(p p) { p.Intents[0].Allow.Paths = []string{"/v1/*/x"} }},
		{"star in a segment", "intents[0].allow.paths[0]", "only at the end", func(p p) { p.Intents[0].Allow.Paths = []string{"/v1*"} }},
		{"dot segment in a path", "intents[0].allow.paths[0]", "dot segment", func(p p) { p.Intents[0].Allow.Paths = []string{"/a/../b"} }},
		{"escape in a path", "intents[0].allow.paths[0]", `is written "/a"`, func(p p) { p.Intents[0].Allow.Paths = []string{"/%61"} }},
		{"query", "intents[0].allow.paths[0]", "no part of a path", func(p p) { p.Intents[0].Allow.Paths = []string{"/a?b"} }},
		{"data in an allow", "intents[0].allow.data", "only in a deny", func(p p) { p.Intents[0].Allow.Data = "public" }},
		{"leaving in an allow", "intents[0].allow.leaving", "only in a deny", func(p p) { p.Intents[0].Allow.Leaving = "environment:aws" }},
		{"leaving", "intents[2].deny.leaving", "environment:NAME", func(p p) { p.Intents[2].Deny.Leaving = "onprem" }},
		{"leaving nowhere", "intents[2].deny.leaving", "unknown environment", func(p p) { p.Intents[2].Deny.Leaving = "environment:gcp" }},
		{"denied class", "intents[2].deny.data", "unknown data class", func(p p) { p.Intents[2].Deny.Data = "secret" }},
		{"limits of a deny", "intents[2].limits", "only with an allow", func(p p) { p.Intents[2].Limits = map[string]string{"requests": "1/day"} }},
		{"idempotent deny", "intents[2].idempotent", "only with an allow", func(p p) { p.Intents[2].Idempotent = true }},
		{"require of a deny", "intents[2].require", "only with an allow", func(p p) { p.Intents[2].Require = proto.CloneOf(p.Intents[1].Require) }},
		{"not compiled", "intents[0].when", "not compiled", func(p p) { p.Intents[0].Condition = nil }},
		{"written by hand", "intents[0].condition", "never stands alone", func(p p) { p.Intents[0].When = "" }},
		{"unknown limit", "intents[0].limits.token", `did you mean "tokens"`, func(p p) { p.Intents[0].Limits["token"] = "1/day" }},
		{"tokens a second", "intents[0].limits.tokens", "is not N/day", func(p p) { p.Intents[0].Limits["tokens"] = "1/second" }},
		{"cost a second", "intents[0].limits.cost", "is not N/day", func(p p) {
			p.Intents[0].Limits["cost"], p.Costs = "1/second", map[string]*policyv1.Cost{"m": {Input: 1}}
		}},
		{"cost without costs", "intents[0].limits.cost", "the policy has no costs. Say under costs", func(p p) { p.Intents[0].Limits["cost"] = "1/day" }},
		{"bytes that nobody can count", "intents[1].limits.bytes", "more than can be counted", func(p p) { p.Intents[1].Limits["bytes"] = "9000000TiB/day" }},
		{"cost of no model", "costs.", "a model is a name", func(p p) { p.Costs = map[string]*policyv1.Cost{"": {Input: 1}} }},
		{"cost of a model with a space", "costs.gpt 4", "a model is a name", func(p p) { p.Costs = map[string]*policyv1.Cost{"gpt 4": {Input: 1}} }},
		{"cost of a model in another script", "costs.мodel", "a model is a name", func(p p) { p.Costs = map[string]*policyv1.Cost{"мodel": {Input: 1}} }},
		{"star inside a model", "costs.gpt*4*", "a model is a name", func(p p) { p.Costs = map[string]*policyv1.Cost{"gpt*4*": {Input: 1}} }},
		{"model too long", "costs." + strings.Repeat("m", 257), "at most 256", func(p p) {
			p.Costs = map[string]*policyv1.Cost{strings.Repeat("m", 257): {Input: 1}}
		}},
		{"cost too high", "costs.m.output", "at most 1000000000000", func(p p) {
			p.Costs = map[string]*policyv1.Cost{"m": {Input: 1_000_000_000_000, Output: 1_000_000_000_001}}
		}},
		{"no requests", "intents[0].limits.requests", "is not", func(p p) { p.Intents[0].Limits["requests"] = "0/second" }},
		{"bytes", "intents[1].limits.bytes", "is not", func(p p) { p.Intents[1].Limits["bytes"] = "200GB/day" }},
		{"unknown list of tools", "intents[1].require.tools.in", "unknown list", func(p p) { p.Intents[1].Require = &policyv1.Require{Tools: &policyv1.ToolRule{In: "x"}} }},
		{"list without tools", "intents[1].require.tools.in", "has no tools", func(p p) {
			p.Intents[1].Require = &policyv1.Require{Tools: &policyv1.ToolRule{In: "released-models"}}
		}},
		{"pin that is no digest", "lists.released-models.tools.search", "is not sha256:", func(p p) {
			p.Lists["released-models"].Tools = map[string]string{"search": "sha256:AB"}
		}},
		{"hold of an unknown service", "workloads.llm.hold.x", "unknown service", func(p p) { p.Workloads["llm"].Hold = map[string]string{"x": "1MiB"} }},
		{"hold of no size", "workloads.llm.hold.chat", "is not a size", func(p p) { p.Workloads["llm"].Hold = map[string]string{"chat": "1MB"} }},
		{"hold beyond the bound", "workloads.llm.hold.chat", "up to 64MiB", func(p p) { p.Workloads["llm"].Hold = map[string]string{"chat": "65MiB"} }},
		{"empty require", "intents[1].require.workloadProof", "says nothing", func(p p) { p.Intents[1].Require.Digest = nil }},
		{"require of nothing", "intents[1].require.workloadProof", "takes workloadProof, digest, tools and guard", func(p p) { p.Intents[1].Require = &policyv1.Require{} }},
		{"unknown guard", "intents[1].require.guard", "Say under guards who answers for it", func(p p) { p.Intents[1].Require = &policyv1.Require{Guard: "dlp"} }},
		{"another guard", "intents[1].require.guard", `did you mean "dlp"?`, func(p p) {
			p.Guards = map[string]*policyv1.Guard{"dlp": {Owner: "cloud-team"}}
			p.Intents[1].Require = &policyv1.Require{Guard: "dpl"}
		}},
		{"guard of a deny", "intents[2].require", "only with an allow", func(p p) { p.Intents[2].Require = &policyv1.Require{Guard: "dlp"} }},
		{"guard's name", "guards.D L P", "DNS label", func(p p) { p.Guards = map[string]*policyv1.Guard{"D L P": {Owner: "cloud-team"}} }},
		{"guard without an owner", "guards.dlp.owner", "answers for what it lets pass", func(p p) { p.Guards = map[string]*policyv1.Guard{"dlp": {}} }},
		{"guard's place", "guards.dlp.at", "egress or ingress", func(p p) { p.Guards = map[string]*policyv1.Guard{"dlp": {Owner: "cloud-team", At: "both"}} }},
		{"too many guards", "guards", "at most 16", func(p p) {
			p.Guards = map[string]*policyv1.Guard{}
			for i := range 17 {
				p.Guards["g"+strconv.Itoa(i)] = &policyv1.Guard{Owner: "cloud-team"}
			}
		}},
		{"proof of a deny", "intents[2].require", "only with an allow", func(p p) { p.Intents[2].Require = &policyv1.Require{WorkloadProof: true} }},
		{"list", "intents[1].require.digest.in", "unknown list", func(p p) { p.Intents[1].Require.Digest.In = "x" }},
		{"empty list", "intents[1].require.digest.in", "no digests", func(p p) { p.Lists["released-models"].Digests = nil }},
		{"time", "intents[0].valid.notAfter", "not a time", func(p p) { p.Intents[0].Valid = &policyv1.Validity{NotAfter: "tomorrow"} }},
		{"times", "intents[0].valid.notAfter", "not later", func(p p) {
			p.Intents[0].Valid = &policyv1.Validity{NotBefore: "2027-01-01T00:00:00Z", NotAfter: "2026-01-01T00:00:00Z"}
		}},
		{"no times", "intents[0].valid", "says nothing", func(p p) { p.Intents[0].Valid = &policyv1.Validity{} }},
		{"intent's owner", "intents[0].owner", "unknown team", func(p p) { p.Intents[0].Owner = "x" }},

		{"condition too deep", "intents[0].condition", "nests deeper", func(p p) { p.Intents[0].Condition = deep }},
		{"condition of two forms", "intents[0].condition", "exactly one", func(p p) { p.Intents[0].Condition.Any = p.Intents[0].Condition.All }},
		{"condition over nothing", "intents[0].condition", "over nothing", func(p p) { p.Intents[0].Condition.All.Conditions = nil }},
		{"attribute", "intents[0].condition", `did you mean "ai.model"`, func(p p) { p.Intents[0].Condition = compare("ai.modle", policyv1.Comparison_EQ, "x") }},
		{"order of text", "intents[0].condition", "not defined", func(p p) { p.Intents[0].Condition = compare("ai.model", policyv1.Comparison_LT, "x") }},
		{"prefix of a tool", "intents[0].condition", "not defined", func(p p) { p.Intents[0].Condition = compare("ai.tool", policyv1.Comparison_PREFIX, "x") }},
		{"no operator", "intents[0].condition", "not defined", func(p p) { p.Intents[0].Condition = compare("ai.tool", 0, "x") }},
		{"literals", "intents[0].condition", "2 literals", func(p p) { p.Intents[0].Condition = compare("ai.model", policyv1.Comparison_EQ, "x", "y") }},
		{"number", "intents[0].condition", "whole number", func(p p) { p.Intents[0].Condition = compare("ai.max_tokens", policyv1.Comparison_EQ, "07") }},
		{"truth", "intents[0].condition", "true or false", func(p p) { p.Intents[0].Condition = compare("ai.streamed", policyv1.Comparison_EQ, "yes") }},
		{"class literal", "intents[0].condition", "unknown data class", func(p p) { p.Intents[0].Condition = compare("data.class", policyv1.Comparison_GE, "secret") }},

		{"digest", "lists.released-models.digests[0]", "not a digest", func(p p) { p.Lists["released-models"].Digests[0] = "sha256:AB" }},
		{"digest's algorithm", "lists.released-models.digests[0]", "not a digest", func(p p) { p.Lists["released-models"].Digests[0] = "md5" + digest[6:] }},
		{"own approval", "exceptions[0].approver", "cannot approve its own", func(p p) { p.Exceptions[0].Approver = p.Exceptions[0].Owner }},
		{"no such layer", "exceptions[0].layer", "no such layer", func(p p) { p.Exceptions[0].Layer = "cilium" }},
		{"code", "exceptions[0].accept", "unknown code", func(p p) { p.Exceptions[0].Accept = "ALL" }},
		{"no reason", "exceptions[0].reason", "no reason", func(p p) { p.Exceptions[0].Reason = " " }},
		{"expires", "exceptions[0].expires", "not a date", func(p p) { p.Exceptions[0].Expires = "" }},
		{"exception nowhere", "exceptions[0].environment", "unknown environment", func(p p) { p.Exceptions[0].Environment = "gcp" }},
		{"test's caller", "tests[0].from", "unknown workload", func(p p) { p.Tests[0].From = "x" }},
		{"test's service", "tests[1].service", "unknown service", func(p p) { p.Tests[1].Service = "x" }},
		{"test's answer", "tests[0].expect", "allow or deny", func(p p) { p.Tests[0].Expect = "yes" }},
		{"test's intent", "tests[0].by", "unknown intent", func(p p) { p.Tests[0].By = "x" }},
		{"test's attribute", "tests[1].with.ai.mode", `did you mean "ai.model"`, func(p p) { p.Tests[1].With = map[string]string{"ai.mode": "x"} }},
		{"test's class", "tests[1].with.data.class", "unknown data class", func(p p) { p.Tests[1].With = map[string]string{"data.class": "x"} }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := example(t)
			c.spoil(p)
			faults := Validate(p)
			for _, f := range faults {
				if f.Path == c.path && strings.Contains(f.Message, c.message) {
					if _, err := Compile(p, Ref{}); err == nil {
						t.Error("it compiles all the same")
					}
					return
				}
			}
			t.Errorf("no fault at %s with %q in:\n%v", c.path, c.message, faults)
		})
	}
}

// TestValidateSaysAllAtOnce: what is wrong here and there is said together, in
// the same order each time.
func TestValidateSaysAllAtOnce(t *testing.T) {
	p := example(t)
	p.Transitions[0].Owner, p.Transitions[1].Sink, p.Workloads["llm"].Owner = "", "", ""
	want := Validate(p).Error()
	if n := strings.Count(want, "\n") + 1; n != 3 {
		t.Errorf("%d faults: %s", n, want)
	}
	for range 20 {
		if got := Validate(p).Error(); got != want {
			t.Fatalf("another order:\n%s\n%s", got, want)
		}
	}
}

// TestValidateSurvives: whatever is missing, nothing panics.
func TestValidateSaysNoMoreThanAnybodyReads(t *testing.T) {
	p := example(t)
	for range 10 * maxFaults {
		p.DataClasses = append(p.DataClasses, "listed-twice")
	}
	if n := len(Validate(p)); n != maxFaults {
		t.Errorf("%d faults, want %d", n, maxFaults)
	}
}

func TestValidateSurvives(t *testing.T) {
	for _, p := range []*policyv1.Policy{
		nil,
		{},
		{Intents: []*policyv1.Intent{nil, {}}, Transitions: []*policyv1.Transition{nil}, Tests: []*policyv1.Test{nil}, Exceptions: []*policyv1.Exception{nil}},
		{Workloads: map[string]*policyv1.Workload{"x": nil}, Environments: map[string]*policyv1.Environment{"y": nil}, Sinks: map[string]*policyv1.Sink{"z": nil}},
	} {
		if len(Validate(p)) == 0 {
			t.Errorf("Validate(%v) has no faults", p)
		}
		ValidateDates(p, noon())
	}
}

func TestValidateDates(t *testing.T) {
	day := func(text string) time.Time {
		at, err := time.Parse(time.DateTime, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, c := range []struct {
		name string
		now  time.Time
		want []string
	}{
		{"today", noon(), nil},
		{"the last day of the exception", day("2027-01-31 23:59:59"), nil},
		{"the day after", day("2027-02-01 00:00:00"), []string{"exceptions[0].expires"}},
		{"too far off", day("2026-11-01 00:00:00"), []string{"exceptions[0].expires"}},
		{"ninety days before", day("2026-11-02 00:00:00"), nil},
		{"the day of the review", day("2027-06-30 23:00:00"), []string{"exceptions[0].expires"}},
		{"after the review", day("2027-07-01 00:00:00"), []string{"exceptions[0].expires", "transitions[0].reviewBy", "transitions[1].reviewBy", "transitions[2].reviewBy"}},
	} {
		var got []string
		for _, f := range ValidateDates(example(t), c.now) {
			got = append(got, f.Path)
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	p := example(t)
	p.Intents[0].Valid = &policyv1.Validity{NotAfter: "2026-11-23T12:00:00Z"}
	if f := ValidateDates(p, noon()); len(f) != 1 || f[0].Path != "intents[0].valid.notAfter" {
		t.Errorf("an intent that has ended: %v", f)
	}
}

func TestAttributes(t *testing.T) {
	var a Attributes
	for _, c := range []struct {
		name, text, want string
		ok               bool
	}{
		{"ai.model", "m", "m", true},
		{"ai.model_version", "2", "2", true},
		{"ai.streamed", "true", "true", true},
		{"ai.streamed", "1", "", false},
		{"ai.max_tokens", "-5", "-5", true},
		{"ai.max_tokens", "5.0", "", false},
		{"http.path", "/%7Ea%2fb%zz%4", "/~a%2Fb%zz%4", true},
		{"data.class", "any", "any", true},
		{"ai.modle", "m", "", false},
	} {
		err := a.Set(c.name, c.text)
		if (err == nil) != c.ok {
			t.Errorf("Set(%q, %q): %v", c.name, c.text, err)
			continue
		}
		if at, _ := AttributeByName(c.name); c.ok {
			if got, known := a.Get(at); got != c.want || !known {
				t.Errorf("%s = %q, %v, want %q", c.name, got, known, c.want)
			}
		}
	}
	if _, known := a.Get(AITool); known {
		t.Error("an attribute that nobody set is known")
	}
	for _, at := range AllAttributes() {
		if at.String() == "" || at.Describe() == "" || at.Kind().String() == "unknown" {
			t.Errorf("attribute %d has no entry in the catalogue", at)
		}
	}
}
