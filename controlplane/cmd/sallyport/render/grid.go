package render

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// Grid is a table whose columns line up, with or without a header.
type Grid struct {
	indent string
	header []string
	rows   [][]string
	widths []int
}

// NewGrid makes a table with these columns; with none, it has no header and as
// many columns as its rows.
func NewGrid(header ...string) *Grid {
	g := &Grid{header: header}
	g.measure(header)
	return g
}

// Indent puts two spaces before every row.
func (g *Grid) Indent() *Grid {
	g.indent = "  "
	return g
}

// Row adds a row. Cells are made printable; an empty cell is shown as "-" where
// there is a header, so that a column is never shifted in the reader's eye.
func (g *Grid) Row(cells ...string) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = Printable(c)
		if row[i] == "" && len(g.header) > 0 {
			row[i] = "-"
		}
	}
	g.measure(row)
	g.rows = append(g.rows, row)
}

// Least sets the least widths of the first columns, for a table that is written
// row by row before the rest of it is known.
func (g *Grid) Least(widths ...int) *Grid {
	for i, w := range widths {
		g.widths[i] = max(g.widths[i], w)
	}
	return g
}

// Flush writes the rows that came since the last Flush, and before the first of
// them the header. Without rows it writes nothing.
func (g *Grid) Flush(w io.Writer) error {
	if len(g.rows) == 0 {
		return nil
	}
	var b strings.Builder
	if len(g.header) > 0 {
		g.line(&b, g.header)
	}
	for _, row := range g.rows {
		g.line(&b, row)
	}
	g.header, g.rows = nil, nil
	_, err := io.WriteString(w, b.String())
	return err
}

func (g *Grid) measure(row []string) {
	for i, c := range row {
		if i == len(g.widths) {
			g.widths = append(g.widths, 0)
		}
		g.widths[i] = max(g.widths[i], columns(c))
	}
}

func (g *Grid) line(b *strings.Builder, row []string) {
	var l strings.Builder
	l.WriteString(g.indent)
	for i, c := range row {
		l.WriteString(c)
		l.WriteString(strings.Repeat(" ", max(0, g.widths[i]-columns(c))+2))
	}
	b.WriteString(strings.TrimRight(l.String(), " "))
	b.WriteByte('\n')
}

// columns is how many columns of a terminal a printable text takes.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1 // among them the ambiguous ─ and ►, which terminals draw narrow
}

// Printable replaces what could move a terminal's cursor or reorder its text
// (control, formatting and invalid characters) by U+FFFD.
func Printable(s string) string {
	clean := func(r rune) rune {
		if r == ' ' || unicode.IsGraphic(r) && !unicode.Is(unicode.Zl, r) && !unicode.Is(unicode.Zp, r) {
			return r
		}
		return utf8.RuneError
	}
	return strings.Map(clean, s)
}
