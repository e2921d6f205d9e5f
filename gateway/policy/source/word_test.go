package source

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

// requiring is the example with that in place of an intent's requirement.
func requiring(t *testing.T, require string) string {
	t.Helper()
	const there = "require: {digest: {in: released-models}}"
	text := exampleText(t)
	if !strings.Contains(text, there) {
		t.Fatal("the example requires nothing")
	}
	return strings.Replace(text, there, require, 1)
}

// TestRequireAsAWord: a word and what it stands for are one policy.
func TestRequireAsAWord(t *testing.T) {
	long, err := Load("policy.yaml", []byte(requiring(t, "require: {workloadProof: true}")))
	if err != nil || !long.GetIntents()[2].GetRequire().GetWorkloadProof() {
		t.Fatalf("%v, %v", long.GetIntents(), err)
	}
	for _, word := range []string{"require: workload-proof", `require: "workload-proof"`, "require:\n      workload-proof"} {
		short, err := Load("policy.yaml", []byte(requiring(t, word)))
		if err != nil || !proto.Equal(short, long) {
			t.Errorf("%s: %v", word, err)
		}
	}
	for text, want := range map[string]string{
		"require: workload-prof":                          `policy.yaml:93:14: require takes the word workload-proof, or keys and values, not "workload-prof"; did you mean "workload-proof"?`,
		"require: true":                                   `policy.yaml:93:14: require takes the word workload-proof, or keys and values, not "true"`,
		"require: &a workload-proof":                      "policy.yaml:93:14: an anchor",
		"require: !word workload-proof":                   "policy.yaml:93:14: a tag",
		"require: [workload-proof]":                       "policy.yaml:93:14: require takes keys and values, not a list",
		"require:":                                        "require takes keys and values, not nothing",
		"require: {workloadProof: yes}":                   "workloadProof takes true or false",
		"require: {workload-proof: true}":                 `unknown key "workload-proof"; did you mean "workloadProof"?`,
		"require: {workloadProof: false}":                 "policy.yaml:93:30: intent pull-released-models: require says nothing",
		"require: {workloadProof: true, digest: {in: x}}": `unknown list "x"`,
	} {
		_, err := Load("policy.yaml", []byte(requiring(t, text)))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got\n%v\nwant one line with\n%s", text, err, want)
		}
	}
}
