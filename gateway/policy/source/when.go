package source

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// compileConditions compiles each intent's `when` and says what is wrong with
// it where it stands.
func (d *document) compileConditions() {
	cel, err := newProfile()
	if err != nil {
		d.fail(place{0, 1, 1}, "no conditions can be read: %v", err)
		return
	}
	for i, in := range d.policy.GetIntents() {
		if in.GetWhen() == "" {
			continue
		}
		path := fmt.Sprintf("intents[%d].when", i)
		condition, wrongs := cel.compile(in.GetWhen(), d.policy.GetDataClasses())
		for _, w := range wrongs {
			d.spoiled[path] = true
			d.fail(d.inside(path, w), "intent %s: %s", in.GetName(), w.message)
		}
		in.Condition = condition
	}
}

// text is where a scalar's own text begins, and how it is written.
type text struct {
	place
	style yaml.Style
}

// inside is the place in the file of a place in a scalar. Where YAML folds
// lines the scalar's beginning must do.
func (d *document) inside(path string, w wrong) place {
	t := d.texts[path]
	switch {
	case t.style&yaml.LiteralStyle != 0:
		line, lines := t.line+w.line, strings.Split(string(d.files[t.file].Text), "\n")
		if line > len(lines) {
			return t.place
		}
		// The first line of the block gives its indentation to all.
		first := lines[t.line]
		indent := len(first) - len(strings.TrimLeft(first, " "))
		return place{t.file, line, indent + w.column + 1}
	case t.style&yaml.FoldedStyle != 0 || w.line > 1:
		return t.place
	case t.style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		return place{t.file, t.line, t.column + 1 + w.column}
	}
	return place{t.file, t.line, t.column + w.column}
}
