package labelled

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/internal/authz"
	"github.com/sallyport-mesh/sallyport/gateway/label"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// speaking is an answer with a label of that content.
func speaking(content []byte) *authz.Answer {
	return &authz.Answer{Class: "restricted", Label: &label.Label{
		Class: "restricted", Labeler: spiffeid.RequireFromString("spiffe://far.test/classifier"), ContentSHA256: sha256.Sum256(content),
	}}
}

// through is what passes of a content in pieces, and whether all of it does.
func through(t testing.TB, a *Answer, content []byte, piece int) (passed []byte, err error) {
	t.Helper()
	for p := range slices.Chunk(content, piece) {
		out, err := a.Pass(p)
		if err != nil {
			return passed, err
		}
		if passed = append(passed, out...); a != nil && len(passed) >= len(content) {
			t.Fatal("the last byte passed before the end")
		}
	}
	rest, err := a.End(nil)
	return append(passed, rest...), err
}

// TestAnswer: what the label speaks of passes, of anything else the last byte does not.
func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name, labelled, content string
		passes                  bool
	}{
		{"what it speaks of", "content", "content", true},
		{"one byte", "c", "c", true},
		{"nothing", "", "", true},
		{"another", "content", "CONTENT", false},
		{"more", "content", "content.", false},
		{"less", "content", "conten", false},
		{"nothing of something", "content", "", false},
		{"something of nothing", "", "c", false},
	} {
		for _, piece := range []int{1, 2, 100} {
			a := New(speaking([]byte(c.labelled)), false)
			got, err := through(t, a, []byte(c.content), piece)
			if (err == nil) != c.passes || c.passes && string(got) != c.content {
				t.Errorf("%s, in pieces of %d: %q, %v", c.name, piece, got, err)
			}
			if reason, why := a.Refused(); (reason == crossingv1.Reason_BAD_LABEL) == c.passes || (why == nil) != c.passes {
				t.Errorf("%s: refused for %v, %v", c.name, reason, why)
			}
		}
	}
}

// TestRefusedByItsHead: of an answer that may not pass nothing does.
func TestRefusedByItsHead(t *testing.T) {
	denied := speaking([]byte("content"))
	denied.Reason, denied.Detail = crossingv1.Reason_FORBIDDEN_ANSWER, "an intent denies that"
	for name, c := range map[string]struct {
		made           *authz.Answer
		ended          bool
		want           crossingv1.Reason
		class, labeler string
	}{
		"none":                {nil, false, 0, "", ""},
		"denied":              {denied, false, crossingv1.Reason_FORBIDDEN_ANSWER, "restricted", "spiffe://far.test/classifier"},
		"bad":                 {&authz.Answer{Reason: crossingv1.Reason_BAD_LABEL, Detail: "x"}, false, crossingv1.Reason_BAD_LABEL, "", ""},
		"ended, of a content": {speaking([]byte("content")), true, crossingv1.Reason_BAD_LABEL, "restricted", "spiffe://far.test/classifier"},
		"ended, of nothing":   {speaking(nil), true, 0, "restricted", "spiffe://far.test/classifier"},
	} {
		a := New(c.made, c.ended)
		if reason, _ := a.Refused(); reason != c.want {
			t.Errorf("%s: %v", name, reason)
		}
		if class, labeler := a.Record(); class != c.class || labeler != c.labeler {
			t.Errorf("%s: recorded %q, %q", name, class, labeler)
		}
		if out, err := a.Pass([]byte("content")); c.want != 0 && (err == nil || len(out) > 0) {
			t.Errorf("%s: %q passes", name, out)
		}
	}
}

// FuzzAnswer: wherever a content is cut, it passes whole if it is what the label speaks
// of, and otherwise never.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("content"), []byte("content"), 3)
	f.Add([]byte("content"), []byte("conten"), 1)
	f.Add([]byte(nil), []byte(nil), 1)
	f.Fuzz(func(t *testing.T, labelled, content []byte, piece int) {
		got, err := through(t, New(speaking(labelled), false), content, 1+max(piece, 0)%64)
		if same := bytes.Equal(labelled, content); (err == nil) != same {
			t.Fatalf("same %v, and %v", same, err)
		}
		if !bytes.HasPrefix(content, got) || err == nil && len(got) != len(content) {
			t.Fatalf("%q passed of %q", got, content)
		}
	})
}
