package policy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/policy/nearest"
)

// Attribute is something that a gateway may know of a call. The zero value is
// none of them.
type Attribute uint8

// The attributes; catalogue says what each one is.
const (
	HTTPMethod Attribute = iota + 1
	HTTPPath
	GRPCService
	GRPCMethod
	AIOperation
	AIModel
	AIModelVersion
	AITool
	AIAgent
	AIStreamed
	AIMaxTokens
	DataClass
	Protocol
	ArtifactOperation
	ArtifactName
	ArtifactKind
	ArtifactSource
	attributeEnd
)

// Kind is the type of an attribute's values.
type Kind uint8

// The kinds of attributes.
const (
	// String is text, compared byte by byte.
	String Kind = iota + 1
	// Bool is true or false.
	Bool
	// Int is a 64-bit integer.
	Int
	// Class is one of the policy's data classes, ordered as the policy lists them.
	Class
)

// String is the kind's name as people read it.
func (k Kind) String() string {
	switch k {
	case String:
		return "string"
	case Bool:
		return "bool"
	case Int:
		return "int"
	case Class:
		return "data class"
	}
	return "unknown"
}

// entry describes one attribute.
type entry struct {
	name   string
	kind   Kind
	prefix bool // startsWith is defined on it
	about  string
}

// catalogue describes the attributes. A switch, not a table: a package holds no
// state that could be changed.
func catalogue(a Attribute) entry {
	switch a {
	case HTTPMethod:
		return entry{"http.method", String, false, "the HTTP method as sent, such as POST"}
	case HTTPPath:
		return entry{"http.path", String, true, "the HTTP path without its query"}
	case GRPCService:
		return entry{"grpc.service", String, false, "the gRPC service with its package, such as grpc.health.v1.Health"}
	case GRPCMethod:
		return entry{"grpc.method", String, false, "the gRPC method without its service, such as Check"}
	case AIOperation:
		return entry{"ai.operation", String, false, "what is asked of an AI service, such as chat or call_tool"}
	case AIModel:
		return entry{"ai.model", String, true, "the model that is asked for"}
	case AIModelVersion:
		return entry{"ai.model_version", String, false, "the version of the model that is asked for"}
	case AITool:
		return entry{"ai.tool", String, false, "the tool that is called"}
	case AIAgent:
		return entry{"ai.agent", String, false, "the agent or assistant that is spoken to"}
	case AIStreamed:
		return entry{"ai.streamed", Bool, false, "whether the answer is asked for as a stream"}
	case AIMaxTokens:
		return entry{"ai.max_tokens", Int, false, "the most tokens that the answer may have"}
	case DataClass:
		return entry{"data.class", Class, false, "the class of what the caller sends: its label, else its workload's class, else the last"}
	case Protocol:
		return entry{"protocol", String, false, "the protocol of the service, such as openai or grpc"}
	case ArtifactOperation:
		return entry{"artifact.operation", String, false, "what is asked of a registry, an object store or a hub: ping, list, stat, pull, push, abort, mount, copy or delete"}
	case ArtifactName:
		return entry{"artifact.name", String, true, "the repository or object that is asked for, such as org/repository or bucket/key"}
	case ArtifactKind:
		return entry{"artifact.kind", String, false, "what it is, where the head or a pushed manifest tells: model, dataset, space or image"}
	case ArtifactSource:
		return entry{"artifact.source", String, true, "the repository or object that is mounted or copied, named likewise"}
	}
	return entry{}
}

// AllAttributes are the attributes in the catalogue's order.
func AllAttributes() []Attribute {
	all := make([]Attribute, 0, attributeEnd-1)
	for a := HTTPMethod; a < attributeEnd; a++ {
		all = append(all, a)
	}
	return all
}

// String is the attribute's dotted name, such as "ai.model".
func (a Attribute) String() string { return catalogue(a).name }

// Kind is the type of its values.
func (a Attribute) Kind() Kind { return catalogue(a).kind }

// Prefixed says whether startsWith is defined on it.
func (a Attribute) Prefixed() bool { return catalogue(a).prefix }

// FromContent says that a request's content tells it, so that it may not be known
// before all of that was read.
func (a Attribute) FromContent() bool {
	return a >= AIOperation && a <= AIMaxTokens || a == ArtifactKind
}

// Describe says in a phrase what it is.
func (a Attribute) Describe() string { return catalogue(a).about }

// AttributeByName finds an attribute by its dotted name.
func AttributeByName(name string) (Attribute, bool) {
	for _, a := range AllAttributes() {
		if a.String() == name {
			return a, true
		}
	}
	return 0, false
}

// UnknownAttribute is what is said of a name that is no attribute's, with the
// nearest that is.
func UnknownAttribute(name string) string {
	names := make([]string, 0, attributeEnd)
	for _, a := range AllAttributes() {
		names = append(names, a.String())
	}
	return fmt.Sprintf("unknown attribute %q%s", name, nearest.Hint(name, names))
}

// value is what is known of one attribute.
type value struct {
	text   string
	number int64 // of Int; 1 for true of Bool
	known  bool
}

// Attributes are what is known of a call. The zero value knows none. Copy it
// freely: it holds no references but strings.
type Attributes struct {
	values [attributeEnd]value
}

// SetString makes the value of a string attribute or a data class known. A path
// is kept in the one form in which paths are compared.
func (a *Attributes) SetString(at Attribute, s string) {
	if at == HTTPPath {
		s = plainPath(s)
	}
	a.values[at] = value{text: s, known: true}
}

// SetInt makes the value of an integer attribute known.
func (a *Attributes) SetInt(at Attribute, n int64) {
	a.values[at] = value{number: n, known: true}
}

// SetBool makes the value of a boolean attribute known.
func (a *Attributes) SetBool(at Attribute, b bool) {
	v := value{known: true}
	if b {
		v.number = 1
	}
	a.values[at] = v
}

// Set makes an attribute known by its dotted name and its value as text. It
// fails if there is no such attribute or the text is not of its type.
func (a *Attributes) Set(name, text string) error {
	at, ok := AttributeByName(name)
	if !ok {
		return errors.New(UnknownAttribute(name))
	}
	switch at.Kind() {
	case Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("attribute %s is true or false, not %q", name, text)
		}
		a.SetBool(at, text == "true")
	case Int:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("attribute %s is a whole number, not %q", name, text)
		}
		a.SetInt(at, n)
	default:
		a.SetString(at, text)
	}
	return nil
}

// Get is an attribute's value as text, and whether it is known.
func (a *Attributes) Get(at Attribute) (string, bool) {
	v := a.values[at]
	switch {
	case !v.known:
		return "", false
	case at.Kind() == Int:
		return strconv.FormatInt(v.number, 10), true
	case at.Kind() == Bool:
		return strconv.FormatBool(v.number != 0), true
	}
	return v.text, true
}

// plainPath decodes the escapes of unreserved characters (RFC 3986 section
// 6.2.2.2): "/%61dmin" and "/admin" are one path, and a deny of the second must
// not miss the first. Other escapes keep, in upper case.
func plainPath(p string) string {
	if !strings.Contains(p, "%") {
		return p
	}
	var b strings.Builder
	b.Grow(len(p))
	for i := 0; i < len(p); i++ {
		if p[i] != '%' || i+2 >= len(p) {
			b.WriteByte(p[i])
			continue
		}
		n, err := strconv.ParseUint(p[i+1:i+3], 16, 8)
		switch {
		case err != nil:
			b.WriteByte(p[i])
			continue
		case unreserved(byte(n)):
			b.WriteByte(byte(n))
		default:
			b.WriteString(strings.ToUpper(p[i : i+3]))
		}
		i += 2
	}
	return b.String()
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
