package source

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
)

// private is the example with credentials, a reviewer, and contents that are kept.
func private(t *testing.T) string {
	t.Helper()
	text := exampleText(t)
	for there, instead := range map[string]string{
		`serves: {chat: "openai://:8000"}`: `serves: {chat: "openai://:8000"}
    credentials: {chat: openai-key}`,
		"\ntransitions:\n":                 "\nreviewers:\n  dpo: {key: age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z, owner: security-team}\n\ntransitions:\n",
		"    limits: {tokens: 2000000/day": "    content: {kept: sealed, reviewer: dpo, retention: 30d}\n    limits: {tokens: 2000000/day",
	} {
		if strings.Count(text, there) != 1 {
			t.Fatalf("the example has %q %d times", there, strings.Count(text, there))
		}
		text = strings.Replace(text, there, instead, 1)
	}
	return text
}

// TestPrivacy: as people write it, and with the line where it is wrong.
func TestPrivacy(t *testing.T) {
	text := private(t)
	p, err := Load("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c, err := policy.Compile(p, policy.Ref{})
	if err != nil {
		t.Fatal(err)
	}
	k, ok := c.Kept("plan-with-the-llm")
	if !ok || k.How != "sealed" || k.Reviewer != "dpo" || !strings.HasPrefix(k.Key, "age1") || k.Days != 30 {
		t.Errorf("kept %+v, %v", k, ok)
	}
	if s := c.Workload("llm").Service("chat"); s.Credential != "openai-key" {
		t.Errorf("chat is shown %q", s.Credential)
	}
	if _, err := Check(one(text), time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)); err != nil {
		t.Error(err)
	}
	for there, instead := range map[string]string{
		"reviewer: dpo": "reviewer: dpx", "kept: sealed": "kept: clear", "retention: 30d": "retention: 30", "key: age1l": "key: age1m",
		"owner: security-team}": "owner: securty-team}", "{chat: openai-key}": "{chta: openai-key}",
	} {
		_, err := Load("policy.yaml", []byte(strings.Replace(text, there, instead, 1)))
		if err == nil || !strings.HasPrefix(err.Error(), "policy.yaml:") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", instead, err)
		}
	}
}
