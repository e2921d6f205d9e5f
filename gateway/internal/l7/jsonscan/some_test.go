package jsonscan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// places notes where in a document it was told of what.
type places struct {
	scan *Scanner
	all  []string
}

func (p *places) Value(path int, kind Kind, text []byte) error {
	p.all = append(p.all, fmt.Sprintf("value %d %d %s", path, kind, text))
	return nil
}

func (p *places) End(path int) error {
	p.all = append(p.all, fmt.Sprintf("end %d", path))
	return nil
}

// Some stops where something was told, which is then the last byte read, whatever
// pieces the document comes in.
func TestSome(t *testing.T) {
	paths := MustCompile("", "/tools", "/tools/*", "/tools/*/name", "/n")
	const doc = `{"x":[{}],"tools":[{"name":"a","in":{"a":[]}},7,[{}] ],"n":12,"y":{}}`
	want := []string{
		`{ value 0 6 `,
		`"x":[{}],"tools":[ value 1 5 `,
		`{ value 2 6 `,
		`"name":"a" value 3 4 a`,
		`,"in":{"a":[]}} end 2`,
		`,7 value 2 3 7`,
		`,[ value 2 5 `,
		`{}] end 2`,
		` ] end 1`,
		`,"n":12 value 4 3 12`,
		`,"y":{}} end 0`,
	}
	for size := 1; size <= len(doc); size++ {
		p := new(places)
		p.scan = New(paths, p)
		var got []string
		read := ""
		for rest := doc; rest != ""; {
			piece := rest[:min(size, len(rest))]
			n, err := p.scan.Some([]byte(piece))
			if err != nil {
				t.Fatal(err)
			}
			read, rest = read+piece[:n], rest[n:]
			if told := strings.Join(p.all, "; "); told != "" {
				got = append(got, read+" "+told)
				read, p.all = "", nil
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("in pieces of %d (-want +got):\n%s", size, diff)
		}
		if err := p.scan.End(); err != nil {
			t.Error(err)
		}
	}
}
