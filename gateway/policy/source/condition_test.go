package source

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func mustProfile(t testing.TB) *profile {
	t.Helper()
	p, err := newProfile()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func classes() []string { return []string{"public", "internal", "restricted"} }

func TestCompile(t *testing.T) {
	p := mustProfile(t)
	is := func(attribute, op, literal string) string {
		return `{"compare":{"attribute":"` + attribute + `","operator":"` + op + `","literals":["` + literal + `"]}}`
	}
	a, b, c := is("ai.model", "EQ", "a"), is("ai.model", "EQ", "b"), is("ai.model", "EQ", "c")
	for _, c := range []struct{ when, want string }{
		{`ai.model == "a"`, a},
		{`"a" == ai.model`, a},
		{`(ai.model == "a")`, a},
		{`ai.model != "a"`, is("ai.model", "NE", "a")},
		{`!(ai.model == "a")`, `{"not":` + a + `}`},
		{`ai.model == "a" && ai.model == "b" && ai.model == "c"`, `{"all":{"conditions":[` + a + `,` + b + `,` + c + `]}}`},
		{`ai.model == "a" || ai.model == "b" || ai.model == "c"`, `{"any":{"conditions":[` + a + `,` + b + `,` + c + `]}}`},
		{`ai.model == "a" && (ai.model == "b" || ai.model == "c")`, `{"all":{"conditions":[` + a + `,{"any":{"conditions":[` + b + `,` + c + `]}}]}}`},
		{`ai.model in ["a", "b"]`, `{"compare":{"attribute":"ai.model","operator":"IN","literals":["a","b"]}}`},
		{`ai.model.startsWith("a")`, is("ai.model", "PREFIX", "a")},
		{`ai.model_version == "2"`, is("ai.model_version", "EQ", "2")},
		{`http.path.startsWith("/v1/")`, is("http.path", "PREFIX", "/v1/")},
		{`ai.streamed`, is("ai.streamed", "EQ", "true")},
		{`!ai.streamed`, `{"not":` + is("ai.streamed", "EQ", "true") + `}`},
		{`ai.streamed == false`, is("ai.streamed", "EQ", "false")},
		{`ai.max_tokens <= 4096`, is("ai.max_tokens", "LE", "4096")},
		{`4096 > ai.max_tokens`, is("ai.max_tokens", "LT", "4096")},
		{`-1 <= ai.max_tokens`, is("ai.max_tokens", "GE", "-1")},
		{`data.class < "restricted"`, is("data.class", "LT", "restricted")},
		{`"internal" < data.class`, is("data.class", "GT", "internal")},
		{`protocol == "openai"`, is("protocol", "EQ", "openai")},
		{`ai.model == 'it\'s'`, is("ai.model", "EQ", "it's")},
	} {
		got, wrongs := p.compile(c.when, classes())
		want := &policyv1.Condition{}
		if err := protojson.Unmarshal([]byte(c.want), want); err != nil {
			t.Fatal(err)
		}
		if len(wrongs) > 0 || !proto.Equal(got, want) {
			t.Errorf("%s: %v %v, want %v", c.when, got, wrongs, want)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	p := mustProfile(t)
	for _, c := range []struct {
		when   string
		column int // from 0
		want   string
	}{
		{`ai.modle == "a"`, 0, `unknown attribute "ai.modle"; did you mean "ai.model"?`},
		{`ai.model == "a" && ai.modle in ["x"]`, 19, "unknown attribute"},
		{`ai == "a"`, 0, `unknown attribute "ai"`},
		{`ai.model == 5`, 12, "ai.model is a string and cannot be compared with an int"},
		{`ai.max_tokens == "5"`, 17, "is an int and cannot be compared with a string"},
		{`ai.max_tokens == 5.0`, 17, "double"},
		{`ai.max_tokens == 5u`, 17, "uint"},
		{`ai.model == null`, 12, "null"},
		{`ai.model == ai.tool`, 12, "compared with a literal only"},
		{`"a" == "a"`, 0, "one side of a comparison is an attribute"},
		{`ai.model < "b"`, 0, "has no order"},
		{`ai.streamed in [true]`, 0, "alone or with !"},
		{`ai.model in []`, 12, "takes a list"},
		{`ai.model in "abc"`, 12, "takes a list"},
		{`ai.model in [ai.tool]`, 13, "literal only"},
		{`"a" in ai.model`, 0, "one side of a comparison"},
		{`data.class >= "secret"`, 14, "unknown data class"},
		{`ai.model_version == 2`, 20, "ai.model_version is a string and cannot be compared with an int"},
		{`ai.model_version < "3"`, 0, "has no order"},
		{`ai.tool.startsWith("x")`, 0, "for ai.model and http.path only"},
		{`ai.model.endsWith("x")`, 0, "endsWith is not in the profile"},
		{`ai.model.matches("(a+)+$")`, 0, "matches is not in the profile"},
		{`has(ai.model)`, 0, "has is not in the profile"},
		{`["a"].exists(x, x == ai.model)`, 0, "exists is not in the profile"},
		{`size(ai.model) > 3`, 0, "one side of a comparison"},
		{`ai.max_tokens + 1 < 5`, 0, "one side of a comparison"},
		{`ai.streamed ? true : false`, 0, "? : is not in the profile"},
		{`ai.model`, 0, "compare it with something"},
		{`true`, 0, "a literal alone"},
		{`ai.model == "a" &&`, 18, "not a condition"},
		{`{"a": 1}`, 0, "only comparisons"},
		{`ai["model"] == "a"`, 0, "one side of a comparison"},
		{strings.Repeat("!", 200) + "ai.streamed", 0, ""},
		{strings.Repeat("(", 500) + "ai.streamed" + strings.Repeat(")", 500), 0, "not a condition"},
		{`ai.model == "` + strings.Repeat("a", 5000) + `"`, 0, "not a condition"},
	} {
		_, wrongs := p.compile(c.when, classes())
		if len(wrongs) == 0 && c.want == "" {
			continue // an even number of negations is none
		}
		if len(wrongs) == 0 || !strings.Contains(wrongs[0].message, c.want) || c.want != "not a condition" && wrongs[0].column != c.column {
			t.Errorf("%.60s: %v, want %d %q", c.when, wrongs, c.column, c.want)
		}
	}
}

func FuzzCompile(f *testing.F) {
	p := mustProfile(f)
	for _, seed := range []string{
		`ai.model == "a"`, `!(ai.streamed && data.class < "restricted")`, `http.path.startsWith("/v1")`, `a.?b`, `x{y: 1}`, `[1][0]`, "`a`.b == 1",
		`ai.model in ["a"] || !ai.streamed`, `1 == 1`, `ai.max_tokens >= -9223372036854775808`, `b"x" == ai.model`, `r"\d" == ai.model`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, when string) {
		c, wrongs := p.compile(when, classes())
		switch {
		case len(wrongs) > 0 && c != nil, len(wrongs) == 0 && c == nil:
			t.Fatalf("%v and %v", c, wrongs)
		case c != nil:
			if err := policy.CheckCondition(c, classes()); err != nil {
				t.Fatalf("%v: %v", c, err)
			}
		}
	})
}
