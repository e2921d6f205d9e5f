package fieldblock

import (
	"io"
	"slices"
	"strconv"

	"golang.org/x/net/http2/hpack"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// Writer writes blocks, in the order they are to leave. It is not safe for
// concurrent use.
type Writer struct{ encoder *hpack.Encoder }

// NewWriter makes a writer of blocks to w, which must not fail.
func NewWriter(w io.Writer) *Writer { return &Writer{hpack.NewEncoder(w)} }

// Resize keeps to what the peer has announced as the size of its table.
func (w *Writer) Resize(size uint32) { w.encoder.SetMaxDynamicTableSize(min(size, TableSize)) }

// Request writes a request's head. The scheme is the connection's own; fields of
// another connection are left out, but for "te: trailers".
func (w *Writer) Request(h *l7.RequestHead, scheme string) {
	w.field(":method", h.Method)
	if h.Method != "CONNECT" {
		w.field(":scheme", scheme)
		w.field(":path", h.Path)
	}
	w.field(":authority", h.Authority)
	for _, f := range withoutConnection(h.Fields) {
		if !l7.HopByHop(f.Name) || f.Name == "te" && f.Value == "trailers" {
			w.field(f.Name, f.Value)
		}
	}
}

// Response writes an answer's head, without the fields of another connection, and
// without content-length where it must not have one (RFC 9110 8.6).
func (w *Writer) Response(h *l7.ResponseHead, lengthless bool) {
	w.field(":status", statusText(h.Status))
	for _, f := range withoutConnection(h.Fields) {
		if !l7.HopByHop(f.Name) && (f.Name != "content-length" || !lengthless) {
			w.field(f.Name, f.Value)
		}
	}
}

// Trailers writes trailers, without the fields of another connection.
func (w *Writer) Trailers(f l7.Fields) {
	for _, field := range withoutConnection(f) {
		if !l7.HopByHop(field.Name) {
			w.field(field.Name, field.Value)
		}
	}
}

// withoutConnection leaves out what Connection names; most heads have none.
func withoutConnection(f l7.Fields) l7.Fields {
	if !f.Has("connection") {
		return f
	}
	f = slices.Clone(f)
	l7.StripConnection(&f)
	return f
}

// statusText spares most answers a string.
func statusText(status int) string {
	switch status {
	case 100:
		return "100"
	case 200:
		return "200"
	case 204:
		return "204"
	case 304:
		return "304"
	case 404:
		return "404"
	}
	return strconv.Itoa(status)
}

func (w *Writer) field(name, value string) {
	_ = w.encoder.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: passing(name)}) // the writer does not fail
}

// passing says that a field is not put into the peer's table: because it is a
// secret, which a table that many callers share could be made to tell (RFC 7541
// 7.1), or because its value comes once only and would push out one that comes
// again.
func passing(name string) bool {
	switch name {
	case "authorization", "cookie", "set-cookie", "x-api-key", "api-key",
		":path", "content-length", "content-range", "range", "date", "last-modified", "etag", "expires", "age",
		"if-modified-since", "if-none-match", "location", "traceparent", "tracestate", "x-request-id",
		"grpc-timeout", "grpc-message", "sallyport-crossing":
		return true
	}
	return false
}
