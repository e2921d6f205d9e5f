package source

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

const (
	maxCharacters = 4096 // of one condition
	maxNesting    = 100  // of the parser; a compiled condition has its own bound
)

// wrong is something wrong in a condition's text, at an offset in characters.
type wrong struct {
	line, column int // in the condition, line from 1, column from 0
	message      string
}

// compiler turns a condition's text, in the restricted profile of CEL, into
// what a gateway evaluates: && || ! over comparisons of one attribute with
// literals. Each condition is then a union of boxes, so that it can be proven
// like ports can.
type compiler struct {
	classes []string
	info    *ast.SourceInfo
	wrongs  []wrong
}

// profile is CEL as far as conditions use it.
type profile struct {
	parser *parser.Parser
	env    *cel.Env
}

func newProfile() (*profile, error) {
	p, err := parser.NewParser(
		parser.MaxRecursionDepth(maxNesting),
		parser.ExpressionSizeCodePointLimit(maxCharacters),
	)
	if err != nil {
		return nil, err
	}
	options := []cel.EnvOption{cel.ClearMacros()}
	for _, a := range policy.AllAttributes() {
		kind := cel.StringType
		switch a.Kind() {
		case policy.Bool:
			kind = cel.BoolType
		case policy.Int:
			kind = cel.IntType
		}
		options = append(options, cel.Variable(a.String(), kind))
	}
	env, err := cel.NewEnv(options...)
	return &profile{p, env}, err
}

// compile compiles one condition of a policy of those data classes.
func (p *profile) compile(text string, classes []string) (*policyv1.Condition, []wrong) {
	tree, faults := p.parser.Parse(common.NewTextSource(text))
	if errs := faults.GetErrors(); len(errs) > 0 {
		first := errs[0] // the rest is mostly what follows from it
		message, _, _ := strings.Cut(strings.TrimPrefix(first.Message, "Syntax error: "), " expecting ")
		return nil, []wrong{{max(first.Location.Line(), 1), max(first.Location.Column(), 0), "not a condition: " + message}}
	}
	c := &compiler{classes: classes, info: tree.SourceInfo()}
	out := c.condition(tree.Expr())
	if len(c.wrongs) == 0 {
		c.confirm(p.env, text, out, tree.Expr())
	}
	if len(c.wrongs) > 0 {
		return nil, c.wrongs
	}
	return out, nil
}

// confirm has CEL's own checker agree with ours on the types, and the gateway's
// check with what was made.
func (c *compiler) confirm(env *cel.Env, text string, out *policyv1.Condition, root ast.Expr) {
	if err := policy.CheckCondition(out, c.classes); err != nil {
		c.fail(root, "%v", err)
		return
	}
	checked, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		message, _, _ := strings.Cut(err.Error(), "\n")
		c.fail(root, "%s", message)
	} else if checked.OutputType() != cel.BoolType {
		c.fail(root, "a condition is true or false, not a %s", checked.OutputType())
	}
}

func (c *compiler) fail(e ast.Expr, format string, args ...any) {
	e = first(e)
	at := c.info.GetStartLocation(e.ID())
	column := at.Column()
	if e.Kind() == ast.CallKind {
		if name := e.AsCall().FunctionName(); !strings.ContainsAny(name, "_!-@?[]") {
			column -= len(name) // CEL places a call at its parenthesis
		}
	}
	c.wrongs = append(c.wrongs, wrong{max(at.Line(), 1), max(column, 0), fmt.Sprintf(format, args...)})
}

// first is the leftmost part of an expression: where a reader sees it begin.
func first(e ast.Expr) ast.Expr {
	for {
		switch {
		case e.Kind() == ast.SelectKind:
			e = e.AsSelect().Operand()
		case e.Kind() == ast.CallKind && e.AsCall().IsMemberFunction():
			e = e.AsCall().Target()
		case e.Kind() == ast.CallKind && infix(e.AsCall().FunctionName()):
			e = e.AsCall().Args()[0]
		default:
			return e
		}
	}
}

func infix(function string) bool {
	_, binary := operators.FindReverseBinaryOperator(function)
	return binary || function == operators.Conditional || function == operators.Index
}

// condition compiles an expression that is true or false.
func (c *compiler) condition(e ast.Expr) *policyv1.Condition {
	switch e.Kind() {
	case ast.CallKind:
		return c.call(e)
	case ast.SelectKind, ast.IdentKind:
		a, ok := c.attribute(e)
		if !ok {
			return nil
		}
		if a.Kind() != policy.Bool {
			c.fail(e, "%s is %s; compare it with something", a, article(a.Kind().String()))
			return nil
		}
		return compare(a, policyv1.Comparison_EQ, "true")
	case ast.LiteralKind:
		c.fail(e, "a literal alone is no condition")
	default:
		c.fail(e, "only comparisons, joined by && || !, are conditions")
	}
	return nil
}

func (c *compiler) call(e ast.Expr) *policyv1.Condition {
	call := e.AsCall()
	switch name := call.FunctionName(); name {
	case operators.LogicalAnd:
		return &policyv1.Condition{All: c.conditions(name, e)}
	case operators.LogicalOr:
		return &policyv1.Condition{Any: c.conditions(name, e)}
	case operators.LogicalNot:
		return &policyv1.Condition{Not: c.condition(call.Args()[0])}
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return c.comparison(e, name, call.Args()[0], call.Args()[1])
	case operators.In:
		return c.membership(e, call.Args()[0], call.Args()[1])
	case "startsWith":
		if call.IsMemberFunction() && len(call.Args()) == 1 {
			return c.prefix(e, call.Target(), call.Args()[0])
		}
	}
	c.fail(e, "%s is not in the profile: conditions have && || ! == != < <= > >= in and startsWith", shown(call.FunctionName()))
	return nil
}

// shown is a function's name as it is written.
func shown(function string) string {
	switch function {
	case operators.Conditional:
		return "? :"
	case operators.Index:
		return "[ ]"
	}
	if op, ok := operators.FindReverse(function); ok && op != "" {
		return op
	}
	return strings.Trim(function, "_")
}

// conditions flattens a chain of one operator, so that a long one does not nest.
func (c *compiler) conditions(operator string, e ast.Expr) *policyv1.Conditions {
	out := &policyv1.Conditions{}
	var walk func(e ast.Expr)
	walk = func(e ast.Expr) {
		if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operator {
			for _, arg := range e.AsCall().Args() {
				walk(arg)
			}
			return
		}
		out.Conditions = append(out.Conditions, c.condition(e))
	}
	walk(e)
	return out
}

// comparison compares an attribute with a literal, in either order.
func (c *compiler) comparison(e ast.Expr, operator string, left, right ast.Expr) *policyv1.Condition {
	op := map[string]policyv1.Comparison_Operator{
		operators.Equals: policyv1.Comparison_EQ, operators.NotEquals: policyv1.Comparison_NE,
		operators.Less: policyv1.Comparison_LT, operators.LessEquals: policyv1.Comparison_LE,
		operators.Greater: policyv1.Comparison_GT, operators.GreaterEquals: policyv1.Comparison_GE,
	}[operator]
	if left.Kind() == ast.LiteralKind && right.Kind() != ast.LiteralKind {
		left, right, op = right, left, mirrored(op)
	}
	a, ok := c.attribute(left)
	if !ok {
		return nil
	}
	if ordered := op != policyv1.Comparison_EQ && op != policyv1.Comparison_NE; ordered && a.Kind() != policy.Int && a.Kind() != policy.Class {
		c.fail(e, "%s is %s, which has no order: compare it with == != or in", a, article(a.Kind().String()))
		return nil
	}
	literal, ok := c.literal(a, right)
	if !ok {
		return nil
	}
	return compare(a, op, literal)
}

// mirrored is the operator for swapped sides.
func mirrored(op policyv1.Comparison_Operator) policyv1.Comparison_Operator {
	switch op {
	case policyv1.Comparison_LT:
		return policyv1.Comparison_GT
	case policyv1.Comparison_LE:
		return policyv1.Comparison_GE
	case policyv1.Comparison_GT:
		return policyv1.Comparison_LT
	case policyv1.Comparison_GE:
		return policyv1.Comparison_LE
	}
	return op
}

func (c *compiler) membership(e, left, right ast.Expr) *policyv1.Condition {
	a, ok := c.attribute(left)
	if !ok {
		return nil
	}
	switch {
	case right.Kind() != ast.ListKind || len(right.AsList().Elements()) == 0:
		c.fail(right, "in takes a list of literals")
		return nil
	case a.Kind() == policy.Bool:
		c.fail(e, "%s is a bool; write it alone or with !", a)
		return nil
	}
	var literals []string
	for _, item := range right.AsList().Elements() {
		if l, ok := c.literal(a, item); ok {
			literals = append(literals, l)
		}
	}
	return compare(a, policyv1.Comparison_IN, literals...)
}

func (c *compiler) prefix(e, target, arg ast.Expr) *policyv1.Condition {
	a, ok := c.attribute(target)
	if !ok {
		return nil
	}
	if !a.Prefixed() {
		c.fail(e, "startsWith is for %s and %s only", policy.AIModel, policy.HTTPPath)
		return nil
	}
	literal, ok := c.literal(a, arg)
	if !ok {
		return nil
	}
	return compare(a, policyv1.Comparison_PREFIX, literal)
}

func compare(a policy.Attribute, op policyv1.Comparison_Operator, literals ...string) *policyv1.Condition {
	return &policyv1.Condition{Compare: &policyv1.Comparison{Attribute: a.String(), Operator: op, Literals: literals}}
}

func article(noun string) string {
	if strings.HasPrefix(noun, "int") {
		return "an " + noun
	}
	return "a " + noun
}

// attribute reads a dotted name.
func (c *compiler) attribute(e ast.Expr) (policy.Attribute, bool) {
	name, err := dotted(e)
	if err != nil {
		c.fail(e, "%v", err)
		return 0, false
	}
	a, ok := policy.AttributeByName(name)
	if !ok {
		c.fail(e, "%s", policy.UnknownAttribute(name))
	}
	return a, ok
}

func dotted(e ast.Expr) (string, error) {
	var parts []string
	for e.Kind() == ast.SelectKind && !e.AsSelect().IsTestOnly() {
		parts = append(parts, e.AsSelect().FieldName())
		e = e.AsSelect().Operand()
	}
	if e.Kind() != ast.IdentKind {
		return "", errors.New("one side of a comparison is an attribute, the other a literal")
	}
	parts = append(parts, e.AsIdent())
	slices.Reverse(parts)
	return strings.Join(parts, "."), nil
}

// literal reads a literal of an attribute's type, as text.
func (c *compiler) literal(a policy.Attribute, e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		c.fail(e, "%s is compared with a literal only", a)
		return "", false
	}
	kind, text := policy.Kind(0), ""
	switch v := e.AsLiteral().(type) {
	case types.String:
		kind, text = policy.String, string(v)
		if a.Kind() == policy.Class {
			kind = policy.Class
		}
	case types.Int:
		kind, text = policy.Int, strconv.FormatInt(int64(v), 10)
	case types.Bool:
		kind, text = policy.Bool, strconv.FormatBool(bool(v))
	}
	if kind != a.Kind() {
		c.fail(e, "%s is %s and cannot be compared with %s", a, article(a.Kind().String()), article(e.AsLiteral().Type().TypeName()))
		return "", false
	}
	if err := policy.CheckLiteral(a, text, c.classes); err != nil {
		c.fail(e, "%v", err)
		return "", false
	}
	return text, true
}
