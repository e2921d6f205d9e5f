package lint

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sallyport-mesh/sallyport/"

// root is the repository, seen from this package.
const root = "../.."

type pkg struct {
	path    string // module-relative
	doc     string
	imports []string
	files   []file
}

type file struct {
	name      string
	lines     int
	generated bool
	tree      *ast.File
	fset      *token.FileSet
}

// packages parses the sources in this process, not through "go list": the test
// cache tracks the files that a test opens, so a cached pass is never stale.
func packages(t *testing.T) []*pkg {
	t.Helper()
	byDir := map[string]*pkg{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && skipped(d.Name()):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go"):
			return nil
		}
		return addFile(byDir, p)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(byDir) < 20 {
		t.Fatalf("found %d packages; the check would check nothing", len(byDir))
	}
	var ps []*pkg
	for _, q := range byDir {
		ps = append(ps, q)
	}
	return ps
}

func skipped(dir string) bool {
	return dir == "testdata" || dir == "node_modules" || len(dir) > 2 && dir[0] == '.'
}

func addFile(byDir map[string]*pkg, p string) error {
	src, err := os.ReadFile(p)
	if err != nil {
		return err
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, p, src, parser.ParseComments)
	if err != nil {
		return err
	}
	dir, err := filepath.Rel(root, filepath.Dir(p))
	if err != nil {
		return err
	}
	q := byDir[dir]
	if q == nil {
		q = &pkg{path: filepath.ToSlash(dir)}
		byDir[dir] = q
	}
	q.doc += f.Doc.Text()
	q.files = append(q.files, file{
		name: p, lines: bytes.Count(src, []byte("\n")), generated: ast.IsGenerated(f), tree: f, fset: fset,
	})
	for _, im := range f.Imports {
		s, err := strconv.Unquote(im.Path.Value)
		if err != nil {
			return err
		}
		q.imports = append(q.imports, s)
	}
	return nil
}

func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		if p.doc == "" && !match("proto/...", p.path) {
			t.Errorf("%s has no package comment", p.path)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, p := range packages(t) {
		total := 0
		for _, f := range p.files {
			if f.generated {
				continue
			}
			total += f.lines
			if f.lines > 800 {
				t.Errorf("%s has %d lines; two ideas?", f.name, f.lines)
			}
			for _, d := range f.tree.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Body == nil {
					continue
				}
				n := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line
				if n > 100 {
					t.Errorf("%s: %s has %d lines", f.fset.Position(fn.Pos()), fn.Name.Name, n)
				}
			}
		}
		if total > 3500 {
			t.Errorf("%s has %d lines; a package past 3,000 holds two ideas", p.path, total)
		}
	}
}

func TestNoInit(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range p.files {
			if f.generated {
				continue
			}
			for _, d := range f.tree.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s: init runs behind everyone's back", f.fset.Position(fn.Pos()))
				}
			}
		}
	}
}

// tlsConfig finds composite literals and new(...) of tls.Config.
var tlsConfig = regexp.MustCompile(`tls\.Config\{|new\(tls\.Config\)`)

// TestTLSInOnePlace holds every TLS configuration of the product to certs,
// where tickets are off and verification cannot be skipped by resumption.
func TestTLSInOnePlace(t *testing.T) {
	for _, p := range packages(t) {
		if match("certs/...", p.path) || match("e2e/...", p.path) {
			continue
		}
		for _, f := range p.files {
			src, err := os.ReadFile(f.name)
			if err != nil {
				t.Fatal(err)
			}
			if loc := tlsConfig.FindIndex(src); loc != nil {
				t.Errorf("%s:%d: a TLS configuration made outside certs", f.name, 1+bytes.Count(src[:loc[0]], []byte("\n")))
			}
		}
	}
}

// nakedTodo finds a TODO or FIXME without a name or number.
var nakedTodo = regexp.MustCompile(`\b(TODO|FIXME)\b[^(]`)

func TestNoNakedTodo(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range p.files {
			for _, c := range f.tree.Comments {
				if nakedTodo.MatchString(c.Text() + "\n") {
					t.Errorf("%s: a TODO without a name or a number", f.fset.Position(c.Pos()))
				}
			}
		}
	}
}
