// Package local is the embedded default: the policy of a mesh of three
// environments on one machine. It is not a configuration of anything else, and
// starts nothing.
//
// The invariant: what it hands out has no placeholder left in it.
package local

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"
)

//go:embed policy.yaml
var template string

// Values are what differs from one local mesh to the next.
type Values struct {
	// ReviewBy is the date, YYYY-MM-DD, for ${reviewBy}.
	ReviewBy string
	// Tunnels maps a gateway's name to its HOST:PORT, for ${tunnel.NAME}.
	Tunnels map[string]string
}

// placeholder is anything that looks like one, so that none is overlooked.
const placeholder = `\$\{([^}]*)\}?`

// Policy is the embedded policy with its placeholders filled. It fails as Fill
// does.
func Policy(v Values) ([]byte, error) { return Fill(Template(), v) }

// Template is the embedded policy with its placeholders.
func Template() []byte { return []byte(template) }

// Fill fills the placeholders of a policy. It fails, with all faults at once,
// if one is unknown or unfilled, if a value is used nowhere, or if a value is
// not what its place takes.
func Fill(text []byte, v Values) ([]byte, error) {
	values := map[string]string{"reviewBy": v.ReviewBy}
	for gateway, address := range v.Tunnels {
		values["tunnel."+gateway] = address
	}
	faults, used := check(values), map[string]bool{}
	filled := regexp.MustCompile(placeholder).ReplaceAllStringFunc(string(text), func(found string) string {
		name := strings.TrimSuffix(strings.TrimPrefix(found, "${"), "}")
		value, ok := values[name]
		if !ok || !strings.HasSuffix(found, "}") {
			faults = append(faults, fmt.Errorf("unknown placeholder %s", found))
		} else if value == "" {
			faults = append(faults, fmt.Errorf("no value for %s", found))
		}
		used[name] = true
		return value
	})
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if values[name] != "" && !used[name] {
			faults = append(faults, fmt.Errorf("no place for the value of ${%s}", name))
		}
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("fill the local policy: %w", errors.Join(faults...))
	}
	return []byte(filled), nil
}

// check refuses values that would say something else where they are put.
func check(values map[string]string) []error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch value := values[name]; {
		case value == "":
		case name == "reviewBy":
			if _, err := time.Parse(time.DateOnly, value); err != nil {
				faults = append(faults, fmt.Errorf("${reviewBy}: %q is not a date YYYY-MM-DD", value))
			}
		default:
			if _, _, err := net.SplitHostPort(value); err != nil || strings.ContainsAny(value, "\"\\\n$ ") {
				faults = append(faults, fmt.Errorf("${%s}: %q is not HOST:PORT", name, value))
			}
		}
	}
	return faults
}
