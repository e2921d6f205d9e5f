package lint

import (
	"go/ast"
	"go/parser"
	"testing"
)

// private are names of what heads of requests and answers are, and of what is in them:
// fields have credentials in their values, and what gateways inject, too.
func private(name string) bool {
	switch name {
	case "Fields", "fields", "Head", "head", "Header", "header", "Headers", "headers", "Trailers", "trailers",
		"Proof", "Authorization", "Cookie", "Credential", "Request", "Response":
		return true
	}
	return false
}

// logged are the values that a file gives to zap, in calls of its functions that make
// fields of log lines.
func logged(f *ast.File) (all []ast.Expr) {
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		fun, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if of, ok := fun.X.(*ast.Ident); ok && of.Name == "zap" && len(call.Args) > 0 {
			all = append(all, call.Args...)
			if name, ok := call.Args[0].(*ast.BasicLit); ok && name.Value == `"panic"` {
				return true // a program that is broken says how
			}
			if fun.Sel.Name == "Any" || fun.Sel.Name == "Reflect" {
				all = append(all, fun) // whatever is in it
			}
		}
		return true
	})
	return all
}

// betrays says whether a value that is logged may have that of a header field in it.
func betrays(e ast.Expr) (found bool) {
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			of, plain := n.X.(*ast.Ident)
			found = found || private(n.Sel.Name) || plain && of.Name == "zap" && (n.Sel.Name == "Any" || n.Sel.Name == "Reflect")
		case *ast.Ident:
			found = found || private(n.Name)
		}
		return !found
	})
	return found
}

// TestNoHeaderIsLogged: a value of a header field, or a structure that has some, is given
// to no log, of either plane.
func TestNoHeaderIsLogged(t *testing.T) {
	values := 0
	for _, p := range packages(t) {
		if match("e2e/...", p.path) || match("proto/...", p.path) || match("certs/...", p.path) { // which know no heads
			continue
		}
		for _, f := range p.files {
			for _, e := range logged(f.tree) {
				values++
				if betrays(e) {
					t.Errorf("%s: what is logged may be of a header field", f.fset.Position(e.Pos()))
				}
			}
		}
	}
	if values < 100 {
		t.Errorf("found %d values that are logged; the check would check nothing", values)
	}
}

// TestHeadersAreFound holds the test above itself.
func TestHeadersAreFound(t *testing.T) {
	for line, want := range map[string]bool{
		`log.Info("x", zap.String("y", head.Fields.Get("authorization")))`: true,
		`log.Info("x", zap.Any("y", v))`:                                   true,
		`log.Info("x", zap.Reflect("y", v))`:                               true,
		`log.Warn("x", zap.String("y", fmt.Sprint(r.Head)))`:               true,
		`log.With(zap.Stringer("y", r.header))`:                            true,
		`log.Info("x", zap.String("y", req.Head.Proof))`:                   true,
		`log.Info("x", zap.Error(err), zap.String("y", req.Method))`:       false,
		`log.Info("x", zap.Int("y", len(s)))`:                              false,
	} {
		e, err := parser.ParseExpr("func() { " + line + " }")
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, v := range logged(&ast.File{Name: ast.NewIdent("x"), Decls: []ast.Decl{&ast.FuncDecl{
			Name: ast.NewIdent("f"), Type: &ast.FuncType{}, Body: e.(*ast.FuncLit).Body,
		}}}) {
			found = found || betrays(v)
		}
		if found != want {
			t.Errorf("%s: found %v, want %v", line, found, want)
		}
	}
}
