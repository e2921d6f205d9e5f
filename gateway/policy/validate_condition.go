package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"

	"github.com/sallyport-mesh/sallyport/gateway/policy/nearest"
)

// maxDepth bounds how deep conditions nest: they are evaluated recursively.
const maxDepth = 32

// condition demands that `when` and what it was compiled to stand together.
func (v *validator) condition(path, subject string, in *policyv1.Intent) {
	switch {
	case in.GetWhen() == "" && in.GetCondition() == nil:
	case in.GetCondition() == nil:
		v.fault(key(path, "when"), "%s: when was not compiled", subject)
	case in.GetWhen() == "":
		v.fault(key(path, "condition"), "%s: a condition is compiled from when and never stands alone", subject)
	default:
		if err := CheckCondition(in.GetCondition(), v.p.GetDataClasses()); err != nil {
			v.fault(key(path, "condition"), "%s: %v", subject, err)
		}
	}
}

// CheckCondition says the first thing that is wrong with a compiled condition
// in a policy of those data classes.
func CheckCondition(c *policyv1.Condition, classes []string) error {
	return checkCondition(c, classes, 1)
}

func checkCondition(c *policyv1.Condition, classes []string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("a condition nests deeper than %d", maxDepth)
	}
	set := 0
	for _, is := range [...]bool{c.GetAll() != nil, c.GetAny() != nil, c.GetNot() != nil, c.GetCompare() != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return fmt.Errorf("a condition is exactly one of all, any, not and compare, not %d", set)
	}
	if c.GetCompare() != nil {
		return checkComparison(c.GetCompare(), classes)
	}
	kids := slices.Concat(c.GetAll().GetConditions(), c.GetAny().GetConditions())
	if c.GetNot() != nil {
		kids = append(kids, c.GetNot())
	}
	if len(kids) == 0 {
		return errors.New("a condition over nothing")
	}
	for _, kid := range kids {
		if err := checkCondition(kid, classes, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func checkComparison(c *policyv1.Comparison, classes []string) error {
	a, ok := AttributeByName(c.GetAttribute())
	if !ok {
		return errors.New(UnknownAttribute(c.GetAttribute()))
	}
	if !operates(a, c.GetOperator()) {
		return fmt.Errorf("%s is not defined on %s, a %s", c.GetOperator(), a, a.Kind())
	}
	if n := len(c.GetLiterals()); n != 1 && c.GetOperator() != policyv1.Comparison_IN || n == 0 {
		return fmt.Errorf("%s %s has %d literals", a, c.GetOperator(), n)
	}
	for _, l := range c.GetLiterals() {
		if err := CheckLiteral(a, l, classes); err != nil {
			return err
		}
	}
	return nil
}

// operates says whether an operator is defined on an attribute.
func operates(a Attribute, op policyv1.Comparison_Operator) bool {
	switch op {
	case policyv1.Comparison_EQ, policyv1.Comparison_NE:
		return true
	case policyv1.Comparison_IN:
		return a.Kind() != Bool
	case policyv1.Comparison_LT, policyv1.Comparison_LE, policyv1.Comparison_GT, policyv1.Comparison_GE:
		return a.Kind() == Int || a.Kind() == Class
	case policyv1.Comparison_PREFIX:
		return a.Prefixed()
	}
	return false
}

// CheckLiteral says whether a literal, as text, is a value of the attribute in
// a policy of those data classes.
func CheckLiteral(a Attribute, text string, classes []string) error {
	switch a.Kind() {
	case Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%s is true or false, not %q", a, text)
		}
	case Int:
		if n, err := strconv.ParseInt(text, 10, 64); err != nil || strconv.FormatInt(n, 10) != text {
			return fmt.Errorf("%s is a whole number, not %q", a, text)
		}
	case Class:
		if !slices.Contains(classes, text) {
			return fmt.Errorf("unknown data class %q%s", text, nearest.Hint(text, classes))
		}
	}
	return nil
}
