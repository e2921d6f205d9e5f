package policy

import (
	"slices"
	"strconv"
	"strings"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// form is what a compiled condition is.
type form uint8

const (
	formAll form = iota + 1
	formAny
	formNot
	formCompare
)

// fewTexts is up to how many texts are compared one by one: lengths differ
// more often than not.
const fewTexts = 16

// condition is a `when` ready to be evaluated.
type condition struct {
	form      form
	attribute Attribute
	kind      Kind
	operator  policyv1.Comparison_Operator
	kids      []condition
	texts     []string // sorted; of a string attribute
	numbers   []int64  // sorted; of any other
}

// compileCondition compiles what Validate has accepted.
func compileCondition(c *policyv1.Condition, classes []string) condition {
	switch {
	case c.GetAll() != nil:
		return condition{form: formAll, kids: compileConditions(c.GetAll().GetConditions(), classes)}
	case c.GetAny() != nil:
		return condition{form: formAny, kids: compileConditions(c.GetAny().GetConditions(), classes)}
	case c.GetNot() != nil:
		return condition{form: formNot, kids: []condition{compileCondition(c.GetNot(), classes)}}
	}
	return compileComparison(c.GetCompare(), classes)
}

func compileConditions(cs []*policyv1.Condition, classes []string) []condition {
	out := make([]condition, len(cs))
	for i, c := range cs {
		out[i] = compileCondition(c, classes)
	}
	return out
}

func compileComparison(c *policyv1.Comparison, classes []string) condition {
	at, _ := AttributeByName(c.GetAttribute())
	out := condition{form: formCompare, attribute: at, kind: at.Kind(), operator: c.GetOperator()}
	for _, l := range c.GetLiterals() {
		switch out.kind {
		case String:
			if at == HTTPPath {
				l = plainPath(l)
			}
			out.texts = append(out.texts, l)
		case Class:
			out.numbers = append(out.numbers, int64(slices.Index(classes, l)))
		case Int:
			n, _ := strconv.ParseInt(l, 10, 64)
			out.numbers = append(out.numbers, n)
		case Bool:
			n := int64(0)
			if l == "true" {
				n = 1
			}
			out.numbers = append(out.numbers, n)
		}
	}
	slices.Sort(out.texts)
	slices.Sort(out.numbers)
	return out
}

// truth evaluates the condition of a call.
func (c *condition) truth(k *call) truth {
	switch c.form {
	case formCompare:
		return c.compare(k)
	case formNot:
		return not(c.kids[0].truth(k))
	case formAny:
		t := no
		for i := range c.kids {
			if t = either(t, c.kids[i].truth(k)); t == yes {
				break
			}
		}
		return t
	}
	t := yes
	for i := range c.kids {
		if t = both(t, c.kids[i].truth(k)); t == no {
			break
		}
	}
	return t
}

// unread says that the condition asks for something that the content alone tells,
// and that is not known.
func (c *condition) unread(k *call) bool {
	if c.form == formCompare {
		return c.attribute.FromContent() && !k.values[c.attribute].known
	}
	for i := range c.kids {
		if c.kids[i].unread(k) {
			return true
		}
	}
	return false
}

func (c *condition) compare(k *call) truth {
	v := &k.values[c.attribute]
	switch {
	case !v.known:
		return maybe
	case c.kind == String:
		return known(c.text(v.text))
	}
	return known(c.number(v.number))
}

func (c *condition) text(s string) bool {
	switch c.operator {
	case policyv1.Comparison_EQ:
		return s == c.texts[0]
	case policyv1.Comparison_NE:
		return s != c.texts[0]
	case policyv1.Comparison_IN:
		if len(c.texts) > fewTexts {
			_, found := slices.BinarySearch(c.texts, s)
			return found
		}
		return slices.Contains(c.texts, s)
	case policyv1.Comparison_PREFIX:
		return strings.HasPrefix(s, c.texts[0])
	}
	return false
}

func (c *condition) number(n int64) bool {
	switch c.operator {
	case policyv1.Comparison_EQ:
		return n == c.numbers[0]
	case policyv1.Comparison_NE:
		return n != c.numbers[0]
	case policyv1.Comparison_LT:
		return n < c.numbers[0]
	case policyv1.Comparison_LE:
		return n <= c.numbers[0]
	case policyv1.Comparison_GT:
		return n > c.numbers[0]
	case policyv1.Comparison_GE:
		return n >= c.numbers[0]
	case policyv1.Comparison_IN:
		_, found := slices.BinarySearch(c.numbers, n)
		return found
	}
	return false
}
