package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// Format is how an answer is written. The zero Format is Table. It is a flag value.
type Format int

// The formats.
const (
	// Table is aligned text for people.
	Table Format = iota
	// JSON is two-space indented JSON.
	JSON
	// YAML is the same as YAML.
	YAML
)

// Formats are the names of the formats, in their order.
func Formats() []string { return []string{"table", "json", "yaml"} }

// String is the format's name.
func (f Format) String() string { return Formats()[f] }

// Set parses a name; it refuses any but those of Formats.
func (f *Format) Set(name string) error {
	for i, known := range Formats() {
		if name == known {
			*f = Format(i)
			return nil
		}
	}
	return fmt.Errorf("unknown format %q: choose one of %s", name, strings.Join(Formats(), ", "))
}

// Type is what help texts call the value.
func (f Format) Type() string { return "format" }

// WriteJSON writes a value of an Object's kinds as indented JSON and a newline.
func WriteJSON(w io.Writer, v any) error {
	b, err := appendJSON(nil, v, "\n")
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// WriteLine writes a value as JSON on one line: one element of an endless list.
func WriteLine(w io.Writer, v any) error {
	b, err := appendJSON(nil, v, "")
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// WriteYAML writes a value as one YAML document, without a separator.
func WriteYAML(w io.Writer, v any) error {
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(node(v)); err != nil {
		return fmt.Errorf("encode YAML: %w", err)
	}
	return enc.Close()
}

// appendJSON writes v; nl is a newline with the indentation of the line that v
// begins on, or empty to keep all on one line.
func appendJSON(b []byte, v any, nl string) ([]byte, error) {
	switch v := v.(type) {
	case Object:
		return appendItems(b, '{', '}', len(v), nl, func(b []byte, i int, nl string) ([]byte, error) {
			b, err := appendScalar(b, v[i].Name)
			if err != nil {
				return nil, err
			}
			if b = append(b, ':'); nl != "" {
				b = append(b, ' ')
			}
			return appendJSON(b, v[i].Value, nl)
		})
	case List:
		return appendItems(b, '[', ']', len(v), nl, func(b []byte, i int, nl string) ([]byte, error) {
			return appendJSON(b, v[i], nl)
		})
	}
	return appendScalar(b, v)
}

func appendItems(b []byte, first, last byte, n int, nl string, item func([]byte, int, string) ([]byte, error)) ([]byte, error) {
	if n == 0 {
		return append(b, first, last), nil
	}
	deeper := nl
	if nl != "" {
		deeper += "  "
	}
	b = append(b, first)
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = item(append(b, deeper...), i, deeper); err != nil {
			return nil, err
		}
	}
	return append(append(b, nl...), last), nil
}

// appendScalar leaves <, > and & as they are: the output is for terminals and
// scripts, and escaped paths could not be searched for.
func appendScalar(b []byte, v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode JSON: %w", err)
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...), nil
}

func node(v any) *yaml.Node {
	switch v := v.(type) {
	case Object:
		n := &yaml.Node{Kind: yaml.MappingNode, Style: emptyStyle(len(v))}
		for _, m := range v {
			n.Content = append(n.Content, text(m.Name), node(m.Value))
		}
		return n
	case List:
		n := &yaml.Node{Kind: yaml.SequenceNode, Style: emptyStyle(len(v))}
		for _, item := range v {
			n.Content = append(n.Content, node(item))
		}
		return n
	case string:
		return text(v)
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(v.String(), ".eEN") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: v.String()}
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(v)}
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
}

// text lets the encoder quote what would be read back as something else.
func text(s string) *yaml.Node {
	n := new(yaml.Node)
	n.SetString(s)
	return n
}

func emptyStyle(n int) yaml.Style {
	if n == 0 {
		return yaml.FlowStyle
	}
	return 0
}
