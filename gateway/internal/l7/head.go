// Package l7 holds what an HTTP exchange is inside a gateway, whatever version
// either end speaks: a head, data, trailers. It also frames an exchange into a
// tunnel stream. Nothing in it decides or records, and nothing that it carries
// is rebuilt: names, values and data arrive as they left.
package l7

import "strings"

// Field is one header or trailer field. Names are lower case.
type Field struct {
	Name, Value string
}

// Fields are fields in the order they came.
type Fields []Field

// Get is the value of the first field of that lower-case name, or "".
func (f Fields) Get(name string) string {
	for i := range f {
		if f[i].Name == name {
			return f[i].Value
		}
	}
	return ""
}

// Only is the value of the field of that lower-case name, if it stands once: of two,
// readers could take different ones.
func (f Fields) Only(name string) (value string, ok bool) {
	for i := range f {
		if f[i].Name != name {
			continue
		}
		if ok {
			return "", false
		}
		value, ok = f[i].Value, true
	}
	return value, ok
}

// Has says whether there is a field of that lower-case name.
func (f Fields) Has(name string) bool {
	for i := range f {
		if f[i].Name == name {
			return true
		}
	}
	return false
}

// Set makes the field of that lower-case name the only one, at the end.
func (f *Fields) Set(name, value string) {
	f.Del(name)
	*f = append(*f, Field{name, value})
}

// Del removes every field of that lower-case name.
func (f *Fields) Del(name string) {
	f.DelFunc(func(n string) bool { return n == name })
}

// DelFunc removes every field whose name del accepts, in place.
func (f *Fields) DelFunc(del func(name string) bool) {
	kept := (*f)[:0]
	for _, field := range *f {
		if !del(field.Name) {
			kept = append(kept, field)
		}
	}
	*f = kept
}

// RequestHead is the head of a request. Hop-by-hop fields are not in Fields,
// nor is Host, which is Authority, nor sallyport-proof and sallyport-label.
type RequestHead struct {
	Method    string // as sent; "CONNECT" for a byte stream
	Scheme    string // "http" or "https" as the caller wrote it; "" in origin form
	Authority string // host or host:port
	Path      string // path and query; "" for CONNECT
	Fields    Fields
	// Proof is what a workload sent to its own gateway as a proof that it calls. It
	// goes to nobody with the head.
	Proof string
	// Label is what came as a signed label of the content's class. It goes to nobody
	// with the head either.
	Label string
}

// Line is the method and the path with its query, as a label names them.
func (h *RequestHead) Line() string { return h.Method + " " + h.Path }

// PathOnly is the path without its query.
func (h *RequestHead) PathOnly() string {
	path, _, _ := strings.Cut(h.Path, "?")
	return path
}

// IsGRPC says that the request is a gRPC call, by its content type.
func (h *RequestHead) IsGRPC() bool {
	ct := h.Fields.Get("content-type")
	return ct == "application/grpc" || strings.HasPrefix(ct, "application/grpc+") || strings.HasPrefix(ct, "application/grpc;")
}

// ResponseHead is the head of a response. Hop-by-hop fields are not in Fields.
type ResponseHead struct {
	Status int
	Fields Fields
}
