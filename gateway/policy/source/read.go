package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sallyport-mesh/sallyport/gateway/policy/nearest"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// read reads a policy's files by its schema, as if they stood one after the
// other. What cannot be read is said and left out.
func read(files []File) *document {
	d := &document{
		files: files, policy: &policyv1.Policy{},
		places: map[string]place{}, spoiled: map[string]bool{}, texts: map[string]text{},
	}
	for i := range files {
		d.file = i
		if root := d.parse(files[i].Text); root != nil {
			d.message(root, d.policy.ProtoReflect(), "")
		} else {
			d.spoiled[""] = true
		}
		d.size += len(files[i].Text)
	}
	return d
}

// parse is the text's one document; nil if there is none.
func (d *document) parse(text []byte) *yaml.Node {
	start := place{d.file, 1, 1}
	switch {
	case d.size+len(text) > MaxBytes:
		d.fail(start, "the policy has more than %d MiB, the limit", MaxBytes>>20)
		return nil
	case !utf8.Valid(text):
		d.fail(start, "the policy is not UTF-8 text")
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		d.fail(start, "the policy is empty")
		return nil
	} else if err != nil {
		d.syntax(err)
		return nil
	}
	switch err := decoder.Decode(&more); {
	case errors.Is(err, io.EOF):
		return doc.Content[0]
	case err != nil:
		d.syntax(err)
	default:
		d.fail(place{d.file, max(more.Line, 1), max(more.Column, 1)}, "a second document: a file has one")
	}
	return nil
}

// syntax says what the YAML parser says. It knows lines only: of what it could
// not read, or of where what it was reading began, and then counts from 0.
func (d *document) syntax(err error) {
	at, text := place{d.file, 1, 1}, strings.TrimPrefix(err.Error(), "yaml: ")
	if m := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(text); m != nil {
		at.line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	for _, unfinished := range [...]string{"key", "'-' indicator", "node content", "',' or ']'", "',' or '}'"} {
		if text == "did not find expected "+unfinished {
			at.line++
			text += " in what begins here"
		}
	}
	d.fail(at, "not YAML: %s", text)
}

func (d *document) placeOf(n *yaml.Node) place { return place{d.file, n.Line, n.Column} }

// plain refuses what YAML has and a policy does not: the text would then say
// what does not stand in it.
func (d *document) plain(n *yaml.Node) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		d.fail(d.placeOf(n), "an alias: write it out")
	case n.Anchor != "":
		d.fail(d.placeOf(n), "an anchor: nothing may refer to it")
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(d.placeOf(n), "a tag: the schema says what things are")
	default:
		return true
	}
	return false
}

// mapping calls entry for each entry of a mapping, with duplicates refused.
func (d *document) mapping(n *yaml.Node, path, what string, entry func(key *yaml.Node, value *yaml.Node)) {
	if !d.plain(n) {
		d.spoiled[path] = true
		return
	}
	if n.Kind != yaml.MappingNode {
		d.spoiled[path] = true
		d.fail(d.placeOf(n), "%s takes keys and values, not %s", what, describe(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind != yaml.ScalarNode || !d.plain(k) || k.Value == "" {
			d.spoiled[path] = true
			d.fail(d.placeOf(k), "%s has a key that is no name", what)
			continue
		}
		if line, twice := seen[k.Value]; twice {
			d.spoiled[path] = true
			d.fail(d.placeOf(k), "duplicate key %q; the first is in line %d", k.Value, line)
			continue
		}
		seen[k.Value] = k.Line
		entry(k, n.Content[i+1])
	}
}

// message reads a mapping as a message.
func (d *document) message(n *yaml.Node, m protoreflect.Message, path string) {
	if _, there := d.places[path]; !there {
		d.places[path] = d.placeOf(n)
	}
	fields := m.Descriptor().Fields()
	d.mapping(n, path, nameOf(path), func(k, v *yaml.Node) {
		fd := fields.ByJSONName(k.Value)
		switch {
		case fd == nil:
			d.spoiled[path] = true
			d.fail(d.placeOf(k), "unknown key %q%s", k.Value, suggest(k.Value, fields))
		case isCondition(fd):
			d.fail(d.placeOf(k), "condition is what `when` is compiled to; write `when`")
		default:
			d.field(v, m, fd, join(path, k.Value))
		}
	})
}

// isCondition says that a field is what is compiled and never written.
func isCondition(fd protoreflect.FieldDescriptor) bool {
	return fd.Message() != nil && fd.Message().FullName() == "sallyport.policy.v1.Condition"
}

func (d *document) field(n *yaml.Node, m protoreflect.Message, fd protoreflect.FieldDescriptor, path string) {
	if first, again := d.places[path]; again && first.file != d.file {
		d.again(n, m, fd, path, first)
		return
	}
	d.places[path] = d.placeOf(n)
	d.value(n, m, fd, path)
}

// again reads a field that an earlier file has too: names and lists are united,
// and all else must be the same in both.
func (d *document) again(n *yaml.Node, m protoreflect.Message, fd protoreflect.FieldDescriptor, path string, first place) {
	if fd.IsMap() || fd.IsList() && fd.Message() != nil {
		d.value(n, m, fd, path)
		return
	}
	other := m.New()
	d.value(n, other, fd, path)
	if !other.Get(fd).Equal(m.Get(fd)) {
		d.fail(d.placeOf(n), "%s is not what it is at %s", nameOf(path), d.at(first))
	}
}

func (d *document) value(n *yaml.Node, m protoreflect.Message, fd protoreflect.FieldDescriptor, path string) {
	if fd.Name() == "when" {
		d.texts[path] = text{d.placeOf(n), n.Style}
	}
	switch {
	case fd.IsMap():
		entries := m.Mutable(fd).Map()
		d.mapping(n, path, nameOf(path), func(k, v *yaml.Node) {
			d.entry(k, v, entries, fd.MapValue(), join(path, k.Value))
		})
	case fd.IsList():
		d.list(n, m.Mutable(fd).List(), fd, path)
	case isWord(n, fd):
		d.word(n, m.Mutable(fd).Message(), path)
	case fd.Message() != nil:
		d.message(n, m.Mutable(fd).Message(), path)
	default:
		if v, ok := d.scalar(n, fd, path); ok {
			m.Set(fd, v)
		}
	}
}

// entry reads a map's entry. One that has a name of its own stands at its key.
func (d *document) entry(k, v *yaml.Node, entries protoreflect.Map, fd protoreflect.FieldDescriptor, path string) {
	if first, twice := d.places[path]; twice && first.file != d.file {
		d.fail(d.placeOf(k), "duplicate key %q; the first is at %s", k.Value, d.at(first))
		return
	}
	key := protoreflect.ValueOfString(k.Value).MapKey()
	if fd.Message() != nil {
		d.places[path] = d.placeOf(k)
		value := entries.NewValue()
		d.message(v, value.Message(), path)
		entries.Set(key, value)
		return
	}
	d.places[path] = d.placeOf(v)
	if value, ok := d.scalar(v, fd, path); ok {
		entries.Set(key, value)
	}
}

func (d *document) list(n *yaml.Node, list protoreflect.List, fd protoreflect.FieldDescriptor, path string) {
	if !d.plain(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(d.placeOf(n), "%s takes a list, not %s", nameOf(path), describe(n))
		return
	}
	for _, item := range n.Content {
		at := path + "[" + strconv.Itoa(list.Len()) + "]"
		d.places[at] = d.placeOf(item)
		if fd.Message() != nil {
			d.message(item, list.AppendMutable().Message(), at)
			continue
		}
		// What cannot be read keeps its place, so that others keep theirs.
		v, ok := d.scalar(item, fd, at)
		if !ok {
			v = list.NewElement()
		}
		list.Append(v)
	}
}

// scalar reads a plain value. Text is taken as it is written: a date or a number
// need not be quoted.
func (d *document) scalar(n *yaml.Node, fd protoreflect.FieldDescriptor, path string) (protoreflect.Value, bool) {
	fail := func(takes string) (protoreflect.Value, bool) {
		d.spoiled[path] = true
		d.fail(d.placeOf(n), "%s takes %s, not %s", nameOf(path), takes, describe(n))
		return protoreflect.Value{}, false
	}
	if !d.plain(n) {
		d.spoiled[path] = true
		return protoreflect.Value{}, false
	}
	text := n.Kind == yaml.ScalarNode && n.Tag != "!!null"
	switch fd.Kind() {
	case protoreflect.StringKind:
		if text {
			return protoreflect.ValueOfString(n.Value), true
		}
		return fail("text")
	case protoreflect.BoolKind:
		if text && n.Tag == "!!bool" && (n.Value == "true" || n.Value == "false") {
			return protoreflect.ValueOfBool(n.Value == "true"), true
		}
		return fail("true or false")
	case protoreflect.Uint32Kind:
		if v, err := strconv.ParseUint(n.Value, 10, 32); err == nil && text && n.Tag == "!!int" {
			return protoreflect.ValueOfUint32(uint32(v)), true
		}
		return fail("a whole number")
	case protoreflect.Uint64Kind:
		if v, err := strconv.ParseUint(n.Value, 10, 64); err == nil && text && n.Tag == "!!int" {
			return protoreflect.ValueOfUint64(v), true
		}
		return fail("a whole number")
	}
	return fail("nothing that can be written")
}

// describe says what a node is.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "keys and values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	case len(n.Value) > 40:
		return "text"
	}
	return fmt.Sprintf("%q", n.Value)
}

// nameOf is what a path is called: its last key.
func nameOf(path string) string {
	if path == "" {
		return "the policy"
	}
	if strings.HasSuffix(path, "]") {
		return "an item of " + nameOf(parentOf(path))
	}
	return path[strings.LastIndexByte(path, '.')+1:]
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// suggest is the nearest key that a message has.
func suggest(name string, fields protoreflect.FieldDescriptors) string {
	var known []string
	for i := range fields.Len() {
		if !isCondition(fields.Get(i)) {
			known = append(known, fields.Get(i).JSONName())
		}
	}
	return nearest.Hint(name, known)
}
