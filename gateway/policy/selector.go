package policy

import (
	"fmt"
	"strings"
)

// selection is the way a selector of an intent selects.
type selection int

const (
	everyone selection = iota // "" or "*"
	byName
	byEnvironment
	byLabel
	byPattern
)

// selector is an intent's `from` or `to`.
type selector struct {
	how        selection
	name       string // of a workload or an environment; of a label its key
	labelValue string
	pattern    pattern
}

// parseSelector reads a selector's form; whether it resolves is not its matter.
func parseSelector(text string) (selector, error) {
	if text == "" || text == "*" {
		return selector{how: everyone}, nil
	}
	if name, ok := strings.CutPrefix(text, "environment:"); ok {
		return selector{how: byEnvironment, name: name}, nil
	}
	if label, ok := strings.CutPrefix(text, "label:"); ok {
		key, val, ok := strings.Cut(label, "=")
		if !ok || key == "" {
			return selector{}, fmt.Errorf("%q: a label is selected as label:KEY=VALUE", text)
		}
		return selector{how: byLabel, name: key, labelValue: val}, nil
	}
	if strings.Contains(text, "://") {
		p, err := parsePattern(text)
		return selector{how: byPattern, pattern: p}, err
	}
	return selector{how: byName, name: text}, nil
}

// fits says whether the pattern of a selector fits a workload: all IDs that it
// stands for or, if some is enough, any.
func (s *selector) fits(form *pattern, some bool) bool {
	if some {
		return s.pattern.overlaps(form)
	}
	return s.pattern.covers(form)
}
