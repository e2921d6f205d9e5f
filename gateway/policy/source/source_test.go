package source

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func exampleText(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// edit replaces what must stand in the example.
func edit(t testing.TB, old, replacement string) string {
	t.Helper()
	text := exampleText(t)
	if !strings.Contains(text, old) {
		t.Fatalf("the example has no %q", old)
	}
	return strings.Replace(text, old, replacement, 1)
}

func revision(t testing.TB, p *policyv1.Policy) string {
	t.Helper()
	b, err := signed.Canonical(p)
	if err != nil {
		t.Fatal(err)
	}
	return signed.Revision(b)
}

func TestLoadExample(t *testing.T) {
	p, err := Load("policy.yaml", []byte(exampleText(t)))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../testdata/example.revision")
	if err != nil {
		t.Fatal(err)
	}
	if got := revision(t, p); got != strings.TrimSpace(string(want)) {
		t.Errorf("revision %s, want %s", got, want)
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	if _, err := Check(one(exampleText(t)), now); err != nil {
		t.Error(err)
	}
}

func one(text string) []File { return []File{{"policy.yaml", []byte(text)}} }

func TestCheckDates(t *testing.T) {
	_, err := Check(one(exampleText(t)), time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC))
	want := "policy.yaml:111:14: exception SCOPE of networkpolicy in aws: expired on 2027-01-31. Repair the layer and delete it, or have it approved again."
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
	var errs Errors
	if _, err := Check(one("version: [1]"), time.Now()); !errors.As(err, &errs) {
		t.Errorf("a text that cannot be read: %v", err)
	}
}

func TestErrors(t *testing.T) {
	const transition = "{from: azure,  to: aws,   owner: ml-platform, sink: siem, reviewBy: 2027-06-30}"
	cases := []struct {
		name, old, replacement string
		want                   []string
	}{
		{
			"no owner", transition, "{from: azure, to: aws, sink: siem, reviewBy: 2027-06-30}",
			[]string{"policy.yaml:77:5: transition azure ─► aws: no owner. Name the team that answers for it, or delete the transition."},
		},
		{
			"unknown owner", transition, "{from: azure, to: aws, owner: ml-platfor, sink: siem, reviewBy: 2027-06-30}",
			[]string{`policy.yaml:77:35: transition azure ─► aws: unknown team "ml-platfor"; did you mean "ml-platform"?`},
		},
		{
			"no such outage", transition, "{from: azure, to: aws, owner: ml-platform, sink: siem, reviewBy: 2027-06-30, outage: allow}",
			[]string{`policy.yaml:77:90: transition azure ─► aws: outage is refuse or alarm, not "allow". Say whether calls may go on while a gateway cannot write their records.`},
		},
		{
			"misspelt attribute", `&& ai.model in`, `&& ai.modle in`,
			[]string{`policy.yaml:85:37: intent plan-with-the-llm: unknown attribute "ai.modle"; did you mean "ai.model"?`},
		},
		{
			"misspelt key says it once", "owner: ml-platform, sink: siem, reviewBy: 2027-06-30}\n  - {from: onprem, to: aws", "ower: ml-platform, sink: siem, reviewBy: 2027-06-30}\n  - {from: onprem, to: aws",
			[]string{`policy.yaml:75:31: unknown key "ower"; did you mean "owner"?`},
		},
		{
			"several at once", transition, "{from: azure, to: gcp, sink: x, sink: y}",
			[]string{
				"policy.yaml:77:23: transition azure ─► gcp: unknown environment \"gcp\"",
				"policy.yaml:77:34: transition azure ─► gcp: unknown sink \"x\"",
				"policy.yaml:77:37: duplicate key \"sink\"; the first is in line 77",
			},
		},
		{"duplicate name", "  retriever:\n", "  orchestrator:\n", []string{
			`policy.yaml:54:3: duplicate key "orchestrator"; the first is in line 49`,
			`policy.yaml:88:37: intent search-the-corpus: unknown workload "retriever"`,
		}},
		{"a list for text", "policy: acme-ai", "policy: [acme-ai]", []string{"policy.yaml:4:9: policy takes text, not a list"}},
		{"nothing for text", "policy: acme-ai", "policy:", []string{"policy.yaml:4:8: policy takes text, not nothing"}},
		{"text for a list", "networks: [10.0.0.0/16]", "networks: 10.0.0.0/16", []string{`policy.yaml:22:15: networks takes a list, not "10.0.0.0/16"`}},
		{"text for a mapping", "    data: {class: internal}\n    addresses: [10.1.7.20]", "    data: internal\n    addresses: [10.1.7.20]", []string{`policy.yaml:57:11: data takes keys and values, not "internal"`}},
		{"yes for true", "dialOut: true", "dialOut: yes", []string{`policy.yaml:23:59: dialOut takes true or false, not "yes"`, "policy.yaml:23:16: gateway onprem-1: no tunnel"}},
		{"version", "version: 1", "version: one", []string{`policy.yaml:3:10: version takes a whole number, not "one"`}},
		{"alias", "version: 1\npolicy: acme-ai", "version: &a 1\npolicy: *a", []string{"policy.yaml:3:10: an anchor", "policy.yaml:4:9: an alias: write it out"}},
		{"anchor", "policy: acme-ai", "policy: &x acme-ai", []string{"policy.yaml:4:9: an anchor"}},
		{"tag", "policy: acme-ai", "policy: !!str acme-ai", []string{"policy.yaml:4:9: a tag"}},
		{"condition by hand", "    limits: {bytes: 200GiB/day}", "    condition: {}", []string{"policy.yaml:94:5: condition is what `when` is compiled to; write `when`"}},
		{"not twice", "    limits: {bytes: 200GiB/day}", "    idempotent: 1", []string{"policy.yaml:94:17: idempotent takes true or false, not \"1\""}},
		{"tool calls are not repeated", "    limits: {bytes: 200GiB/day}\n", "    limits: {bytes: 200GiB/day}\n  - name: again\n    idempotent: true\n    allow: {from: orchestrator, to: retriever, service: mcp}\n", []string{
			"policy.yaml:96:17: intent again: calls of tools are never repeated, and mcp of retriever carries them. Name another service, or leave idempotent out.",
		}},
		{"second document", "lists:\n", "---\nlists:\n", []string{"policy.yaml:99:1: a second document: a file has one"}},
		{"not YAML", "  siem: {", "  siem: {{", []string{"policy.yaml:16:1: not YAML: did not find expected ',' or '}' in what begins here"}},
		{"a name where it stands", "  llm:\n", "  LLM:\n", []string{`policy.yaml:60:3: workload "LLM": a name is a DNS label`}},
		{"a service where it stands", `"openai://:8000"`, `"openia://:8000"`, []string{`policy.yaml:65:20: workload llm, service chat: unknown protocol "openia"; did you mean "openai"?`}},
		{
			"a test fails", "ai.model: gpt-oss-20b}, expect: allow}", "ai.model: x}, expect: allow}",
			[]string{"policy.yaml:115:5: test orchestrator ─► llm chat: expected allow, but denied: no intent allows it"},
		},
		{
			"an intent twice", "  - name: search-the-corpus", "  - name: plan-with-the-llm",
			[]string{"policy.yaml:87:11: intent plan-with-the-llm: the name is taken by another intent; the first is at policy.yaml:83:11"},
		},
		{
			"a transition twice", transition, transition + "\n  - " + transition,
			[]string{"policy.yaml:78:5: transition azure ─► aws: stands twice; the first is at policy.yaml:77:5"},
		},
		{
			"a byte stream has no method", "service: chat}", "service: chat, methods: [CONNECT]}",
			[]string{"policy.yaml:84:67: intent plan-with-the-llm: CONNECT opens a byte stream, which has no method and no path, so this never matches. Allow a service tcp://:PORT without methods and paths."},
		},
		{
			"an address of another environment", "addresses: [10.1.7.20]", "addresses: [10.0.7.20]",
			[]string{"policy.yaml:58:17: workload retriever: 10.0.7.20 is in network 10.0.0.0/16 of environment onprem, not in aws"},
		},
		{
			"an address of nobody's", "addresses: [10.1.7.20]", "addresses: [10.9.7.20]",
			[]string{"policy.yaml:58:17: workload retriever: 10.9.7.20 is in none of the networks of environment aws"},
		},
		{
			"a service's address", `"openai://:8000"`, `"openai://10.9.7.20:8000"`,
			[]string{"policy.yaml:65:20: workload llm, service chat: 10.9.7.20 is in none of the networks of environment azure"},
		},
		{
			"a test is decided by another", "by: restricted-data-stays-home", "by: search-the-corpus",
			[]string{"policy.yaml:116:5: test orchestrator ─► llm chat: expected deny by search-the-corpus, but denied by restricted-data-stays-home"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, err := Load("policy.yaml", []byte(edit(t, c.old, c.replacement)))
			if err == nil || p != nil {
				t.Fatalf("Load = %v, %v", p, err)
			}
			for _, want := range c.want {
				if !strings.Contains("\n"+err.Error(), "\n"+want) {
					t.Errorf("got\n%v\nwant a line that begins\n%s", err, want)
				}
			}
			if c.name == "misspelt key says it once" && strings.Contains(err.Error(), "\n") {
				t.Errorf("said twice:\n%v", err)
			}
		})
	}
}

// files are the example, split: each item of a top-level list or mapping goes to
// one of n files.
func files(t *testing.T, n int, random *rand.Rand) []File {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(exampleText(t)), &doc); err != nil {
		t.Fatal(err)
	}
	parts := make([]yaml.Node, n)
	for i := range parts {
		parts[i] = yaml.Node{Kind: yaml.MappingNode}
	}
	for pair := range slices.Chunk(doc.Content[0].Content, 2) {
		key, all := pair[0], pair[1]
		size := map[yaml.Kind]int{yaml.MappingNode: 2, yaml.SequenceNode: 1}[all.Kind]
		shares := make([]*yaml.Node, n)
		for i := range shares {
			share := *all
			shares[i] = &share
			if size > 0 && key.Value != "dataClasses" {
				share.Content = nil
			}
		}
		if size > 0 && key.Value != "dataClasses" {
			for item := range slices.Chunk(all.Content, size) {
				i := random.IntN(n)
				shares[i].Content = append(shares[i].Content, item...)
			}
		}
		for i, share := range shares {
			if len(share.Content) > 0 || share.Kind == yaml.ScalarNode {
				parts[i].Content = append(parts[i].Content, key, share)
			}
		}
	}
	out := make([]File, n)
	for i := range parts {
		text, err := yaml.Marshal(&parts[i])
		if err != nil {
			t.Fatal(err)
		}
		out[i] = File{string(rune('a'+i)) + ".yaml", text}
	}
	return out
}

// TestSplitTextIsOnePolicy: into which files a policy is split is not seen.
func TestSplitTextIsOnePolicy(t *testing.T) {
	p, err := Load("policy.yaml", []byte(exampleText(t)))
	if err != nil {
		t.Fatal(err)
	}
	want, random := revision(t, p), rand.New(rand.NewPCG(1, 2))
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for n := range 5 {
		split := files(t, n+1, random)
		random.Shuffle(len(split), func(i, j int) { split[i], split[j] = split[j], split[i] })
		c, err := Check(split, now)
		if err != nil {
			t.Fatalf("%d files: %v", n+1, err)
		}
		if got := revision(t, c.Policy); got != want {
			t.Errorf("%d files: revision %s, want %s", n+1, got, want)
		}
	}
}

// TestErrorsOfSeveralFiles: each names its own file, and what stands twice both.
func TestErrorsOfSeveralFiles(t *testing.T) {
	more := "teams:\n  fourth: {contact: x}\n  search-team: {contact: x}\n"
	for _, c := range []struct{ name, text, want string }{
		{"a name twice", more, `team.yaml:3:3: duplicate key "search-team"; the first is at policy.yaml:12:3`},
		{"an intent twice", "intents:\n  - name: search-the-corpus\n    allow: {from: llm, to: registry}\n", "team.yaml:2:11: intent search-the-corpus: the name is taken by another intent; the first is at policy.yaml:87:11"},
		{"a transition twice", "transitions: [{from: onprem, to: azure, owner: ml-platform, sink: siem, reviewBy: 2027-06-30}]", "team.yaml:1:15: transition onprem ─► azure: stands twice; the first is at policy.yaml:75:5"},
		{"another version", "version: 2", "team.yaml:1:10: version is not what it is at policy.yaml:3:10"},
		{"another policy", "policy: other", "team.yaml:1:9: policy is not what it is at policy.yaml:4:9"},
		{"other classes", "dataClasses: [public]", "team.yaml:1:14: dataClasses is not what it is at policy.yaml:5:14"},
		{"no owner", "transitions:\n  - {from: aws, to: onprem, sink: siem, reviewBy: 2027-06-30}\n", "team.yaml:2:5: transition aws ─► onprem: no owner. Name the team that answers for it, or delete the transition."},
		{"in a condition", "intents:\n  - name: x\n    allow: {from: llm, to: registry}\n    when: |\n      ai.modle == 'x'\n", `team.yaml:5:7: intent x: unknown attribute "ai.modle"; did you mean "ai.model"?`},
		{"not YAML", "a: [", "team.yaml:2:1: not YAML: "},
		{"empty", "", "team.yaml:1:1: the policy is empty"},
		{"a test fails", "tests:\n  - {from: llm, to: orchestrator, expect: allow}\n", "team.yaml:2:5: test llm ─► orchestrator: expected allow, but denied"},
		{"too long together", "# " + strings.Repeat("x", MaxBytes-100), "team.yaml:1:1: the policy has more than 8 MiB, the limit"},
	} {
		now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
		_, err := Check([]File{{"team.yaml", []byte(c.text)}, {"policy.yaml", []byte(exampleText(t))}}, now)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got\n%v\nwant one line that begins\n%s", c.name, err, c.want)
		}
	}
}

// TestWarnings: what gateways cannot keep is said where it stands.
func TestWarnings(t *testing.T) {
	const listed = `digests: ["sha256:`
	text := exampleText(t)
	for digests, want := range map[string]string{
		listed: "",
		`digests: ["sha512:` + strings.Repeat("0", 128) + `", "sha256:`: "policy.yaml:93:14: intent pull-released-models: " +
			"gateways hold content against SHA-256 alone, so nothing crosses by the sha512 digests of list released-models",
	} {
		c, err := Check(one(strings.Replace(text, listed, digests, 1)), time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
		if err != nil || c.Warnings.Error() != want {
			t.Errorf("Check = %v\n%v\nwant\n%s", err, c.Warnings, want)
		}
	}
}

func TestErrorsAreInOrder(t *testing.T) {
	text := strings.ReplaceAll(exampleText(t), "owner: ", "ownr: ")
	_, err := Load("policy.yaml", []byte(text))
	errs, ok := errors.AsType[Errors](err)
	if !ok || len(errs) < 10 {
		t.Fatalf("%v", err)
	}
	if !slices.IsSortedFunc(errs, func(a, b Error) int { return (a.Line-b.Line)*1000 + a.Column - b.Column }) {
		t.Errorf("not in the order of the text:\n%v", err)
	}
}

func TestLoadRefusesWhole(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "policy.yaml:1:1: the policy is empty"},
		{"a comment", "# nothing\n", "the policy is empty"},
		{"null", "~", "the policy takes keys and values, not nothing"},
		{"a list", "[]", "the policy takes keys and values, not a list"},
		{"not UTF-8", "policy: \xff", "not UTF-8"},
		{"10 MB", "policy: x # " + strings.Repeat("x", 10<<20), "more than 8 MiB, the limit"},
		{"deep", strings.Repeat("[", 100_000), "not YAML"},
		{"a bomb", "a: &a [1,1]\nb: &b [*a,*a]\nc: [*b,*b]", "unknown key"},
		{"merge", "<<: {version: 1}", `unknown key "<<"`},
		{"key that is a list", "[a]: 1", "a key that is no name"},
	} {
		if _, err := Load("policy.yaml", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestPlacesInWhen: however a `when` is written, an error points into it.
func TestPlacesInWhen(t *testing.T) {
	const old = `    when: http.method in ["GET", "HEAD"]`
	for _, c := range []struct{ name, when, want string }{
		{"plain", "    when: http.mehtod == 'GET'", "policy.yaml:92:11: "},
		{"later", "    when: http.method == 'GET' || http.mehtod == 'HEAD'", "policy.yaml:92:35: "},
		{"double quotes", `    when: "http.mehtod == 'GET'"`, "policy.yaml:92:12: "},
		{"single quotes", `    when: 'http.mehtod == "GET"'`, "policy.yaml:92:12: "},
		{"literal block", "    when: |\n      http.method == 'GET' ||\n      http.mehtod == 'HEAD'", "policy.yaml:94:7: "},
		{"folded block", "    when: >\n      http.method == 'GET' ||\n      http.mehtod == 'HEAD'", "policy.yaml:92:11: "},
		{"syntax", "    when: http.method ==", "policy.yaml:92:25: intent pull-released-models: not a condition: "},
	} {
		_, err := Load("policy.yaml", []byte(edit(t, old, c.when)))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestShuffledTextIsOnePolicy: no order of keys or of unordered lists is seen.
func TestShuffledTextIsOnePolicy(t *testing.T) {
	p, err := Load("policy.yaml", []byte(exampleText(t)))
	if err != nil {
		t.Fatal(err)
	}
	want, random := revision(t, p), rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(exampleText(t)), &doc); err != nil {
			t.Fatal(err)
		}
		shuffle(doc.Content[0], "", random)
		text, err := yaml.Marshal(&doc)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Load("shuffled.yaml", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if got := revision(t, p); got != want {
			t.Fatalf("revision %s, want %s\n%s", got, want, text)
		}
	}
}

func shuffle(n *yaml.Node, key string, random *rand.Rand) {
	switch n.Kind {
	case yaml.MappingNode:
		pairs := slices.Collect(slices.Chunk(n.Content, 2))
		random.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
		n.Content = slices.Concat(pairs...)
		for i := 0; i < len(n.Content); i += 2 {
			shuffle(n.Content[i+1], n.Content[i].Value, random)
		}
	case yaml.SequenceNode:
		if key != "dataClasses" && key != "layers" {
			random.Shuffle(len(n.Content), func(i, j int) { n.Content[i], n.Content[j] = n.Content[j], n.Content[i] })
		}
		for _, item := range n.Content {
			shuffle(item, "", random)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(exampleText(f)))
	for _, seed := range []string{
		"", "version: 1", "a: &x [*x]", "--- {}\n--- {}", "intents: [{when: 'a'}]", "{? [a] : b}", "tests: [~]", "workloads: {a: ~}",
		"intents:\n - {name: x, deny: {}, when: |\n", "version: 1\nintents:\n  - name: a\n    when: |-\n\n\n      x",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Load("f", text)
		if err != nil {
			errs, ok := errors.AsType[Errors](err)
			if !ok || len(errs) == 0 || p != nil {
				t.Fatalf("%T %v", err, err)
			}
			for _, e := range errs {
				if e.Line < 1 || e.Column < 1 || e.Message == "" {
					t.Fatalf("%+v", e)
				}
			}
			return
		}
		b, err := signed.Canonical(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signed.Decode(b); err != nil {
			t.Fatal(err)
		}
		if _, err := policy.Compile(p, policy.Ref{}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDiff(t *testing.T) {
	load := func(text string) *policyv1.Policy {
		p, err := Load("policy.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	was := load(exampleText(t))
	for _, c := range []struct {
		name string
		to   *policyv1.Policy
		want []string
	}{
		{"nothing", load(exampleText(t)), nil},
		{"a list's order", load(edit(t, `["GET", "HEAD"]`, `["GET", "HEAD"] # as before`)), nil},
		{"a deny", load(edit(t, "intents:\n", "intents:\n  - name: closed\n    deny: {to: registry}\n")), []string{
			"added intent closed: none before, deny * ─► registry now",
			"changed calls llm ─► registry models: some calls before, no call now",
			"changed calls orchestrator ─► registry models: no call before, no call now",
		}},
		{"an open door", load(edit(t, "intents:\n", "intents:\n  - name: open\n    allow: {from: orchestrator, to: registry}\n")), []string{
			"added intent open: none before, allow orchestrator ─► registry now",
			"changed calls orchestrator ─► registry models: no call before, every call now",
		}},
		{"what may be asked again", load(edit(t, "intents:\n", "intents:\n  - name: again\n    idempotent: true\n    allow: {from: llm, to: registry}\n")), []string{
			"added intent again: none before, allow llm ─► registry, idempotent now",
			"changed calls llm ─► registry models: some calls before, every call now",
		}},
		{"an owner", load(edit(t, "to: azure, owner: ml-platform", "to: azure, owner: agents-team")), []string{
			"changed transition onprem ─► azure: owner ml-platform, sink siem, review by 2027-06-30 before, owner agents-team, sink siem, review by 2027-06-30 now",
		}},
		{"an outage", load(edit(t, "to: azure, owner: ml-platform", "to: azure, outage: alarm, owner: ml-platform")), []string{
			"changed transition onprem ─► azure: owner ml-platform, sink siem, review by 2027-06-30 before, owner ml-platform, sink siem, review by 2027-06-30, outage alarm now",
		}},
		{"an exception and a test gone", func() *policyv1.Policy {
			p := load(exampleText(t))
			p.Exceptions, p.Tests = nil, p.Tests[1:]
			return p
		}(), []string{"removed exception SCOPE of networkpolicy in aws", "removed test orchestrator ─► llm chat"}},
		{"classes", func() *policyv1.Policy {
			p := load(exampleText(t))
			p.DataClasses = append(p.DataClasses, "secret")
			return p
		}(), []string{"changed data classes : public < internal < restricted before, public < internal < restricted < secret now"}},
	} {
		var got []string
		for _, change := range Diff(was, c.to) {
			got = append(got, change.String())
		}
		want := slices.DeleteFunc(slices.Clone(c.want), func(s string) bool { return strings.Contains(s, "no call before, no call now") })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
	if changes := Diff(nil, was); len(changes) < 20 || changes[0].Object != "policy" {
		t.Errorf("from nothing: %v", changes)
	}
	if changes := Diff(was, nil); !slices.ContainsFunc(changes, func(c Change) bool { return c.What == "removed" && c.Name == "plan-with-the-llm" && c.After == "" }) {
		t.Errorf("to nothing: %v", changes)
	}
}
