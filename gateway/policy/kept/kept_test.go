package kept

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func newKey(t *testing.T) string {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return identity.Recipient().String()
}

func good(t *testing.T) *policyv1.Policy {
	return &policyv1.Policy{
		Teams:     map[string]*policyv1.Team{"privacy": {}},
		Reviewers: map[string]*policyv1.Reviewer{"dpo": {Key: newKey(t), Owner: "privacy"}},
		Intents: []*policyv1.Intent{
			{Name: "plan", Allow: &policyv1.Match{}, Content: &policyv1.Content{Kept: "sealed", Reviewer: "dpo", Retention: "30d"}},
			{Name: "chat", Allow: &policyv1.Match{}, Content: &policyv1.Content{Kept: "hash", Retention: "3650d"}},
			{Name: "rest", Allow: &policyv1.Match{}},
		},
	}
}

func TestOf(t *testing.T) {
	p := good(t)
	for path, message := range Faults(p) {
		t.Errorf("%s: %s", path, message)
	}
	all := Of(p)
	want := Content{Intent: "plan", How: Sealed, Reviewer: "dpo", Key: p.GetReviewers()["dpo"].GetKey(), Days: 30}
	if len(all) != 2 || all["plan"] != want || all["chat"] != (Content{Intent: "chat", How: Hash, Days: MaxDays}) {
		t.Errorf("Of() = %+v", all)
	}
	if all := Of(&policyv1.Policy{Intents: []*policyv1.Intent{{Name: "rest"}}}); all != nil {
		t.Errorf("of a policy that keeps nothing: %v", all)
	}
}

func TestFaults(t *testing.T) {
	type p = *policyv1.Policy
	key := newKey(t)
	for _, c := range []struct {
		path, message string
		spoil         func(p)
	}{
		{"reviewers.dpo.key", "not an age recipient", func(p p) { p.Reviewers["dpo"].Key = "" }},
		{"reviewers.dpo.key", "not an age recipient", func(p p) { p.Reviewers["dpo"].Key = key[:len(key)-1] }},
		{"reviewers.dpo.key", "not an age recipient", func(p p) { p.Reviewers["dpo"].Key = flip(key) }},
		{"reviewers.dpo.key", "not an age recipient", func(p p) { p.Reviewers["dpo"].Key = strings.ToUpper(key) }},
		{"reviewers.dpo.key", "not an age recipient", func(p p) { p.Reviewers["dpo"].Key = "ssh-ed25519 AAAA" }},
		// The point 0, which is of low order.
		{"reviewers.dpo.key", "not an age recipient", func(p p) {
			p.Reviewers["dpo"].Key = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z"
		}},
		{"reviewers.dpo.owner", "no owner", func(p p) { p.Reviewers["dpo"].Owner = "" }},
		{"reviewers.dpo.owner", `did you mean "privacy"`, func(p p) { p.Reviewers["dpo"].Owner = "privcy" }},
		{"reviewers.D P O", "DNS label", func(p p) { p.Reviewers["D P O"] = p.Reviewers["dpo"] }},
		{"intents[0].content.kept", "hash or sealed", func(p p) { p.Intents[0].Content.Kept = "clear" }},
		{"intents[0].content.kept", "hash or sealed", func(p p) { p.Intents[0].Content.Kept = "" }},
		{"intents[0].content.reviewer", "no reviewer", func(p p) { p.Intents[0].Content.Reviewer = "" }},
		{"intents[0].content.reviewer", `did you mean "dpo"`, func(p p) { p.Intents[0].Content.Reviewer = "dop" }},
		{"intents[1].content.reviewer", "sealed to nobody", func(p p) { p.Intents[1].Content.Reviewer = "dpo" }},
		{"intents[0].content", "only with an allow", func(p p) { p.Intents[0].Allow, p.Intents[0].Deny = nil, &policyv1.Match{} }},
		{"intents[0].content.retention", "not 1d to 3650d", func(p p) { p.Intents[0].Content.Retention = "" }},
		{"intents[0].content.retention", "not 1d to 3650d", func(p p) { p.Intents[0].Content.Retention = "0d" }},
		{"intents[0].content.retention", "not 1d to 3650d", func(p p) { p.Intents[0].Content.Retention = "3651d" }},
		{"intents[0].content.retention", "not 1d to 3650d", func(p p) { p.Intents[0].Content.Retention = "+7d" }},
		{"intents[0].content.retention", "not 1d to 3650d", func(p p) { p.Intents[0].Content.Retention = "07d" }},
		{"intents[1].content.retention", "not 1d to 3650d", func(p p) { p.Intents[1].Content.Retention = "24h" }},
	} {
		p := good(t)
		c.spoil(p)
		var all []string
		for path, message := range Faults(p) {
			all = append(all, path+": "+message)
		}
		if !slices.ContainsFunc(all, func(s string) bool { return strings.HasPrefix(s, c.path+": ") && strings.Contains(s, c.message) }) {
			t.Errorf("Faults() = %q, want %s: %s", all, c.path, c.message)
		}
	}
}

// flip is a key with another last character, whose checksum is wrong.
func flip(key string) string {
	last := byte('q')
	if key[len(key)-1] == last {
		last = 'p'
	}
	return key[:len(key)-1] + string(last)
}

// TestLowOrder: the key of the test above is refused for its point, not for its form.
func TestLowOrder(t *testing.T) {
	if _, err := age.ParseX25519Recipient("age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z"); err != nil {
		t.Error(err)
	}
}

func TestFaultsStop(t *testing.T) {
	p := &policyv1.Policy{}
	for i := range 5 {
		p.Intents = append(p.Intents, &policyv1.Intent{Name: fmt.Sprint(i), Content: &policyv1.Content{}})
	}
	n := 0
	for range Faults(p) {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("%d faults", n)
	}
}
