package guard

import (
	"net/http"
	"strings"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const hexDigits = "0123456789ABCDEF"

// describe says in fields of a head what is asked about. Each value is percent-encoded:
// callers choose some of them.
func describe(h http.Header, name string, q *Question) {
	h.Set("User-Agent", "sallyport-gateway")
	if q.ContentType != "" {
		h.Set("Content-Type", visible(q.ContentType))
	}
	side := "egress"
	if q.Side == crossingv1.Side_INGRESS {
		side = "ingress"
	}
	for _, f := range [...]struct{ name, value string }{
		{"Sallyport-Guard", name},
		{"Sallyport-Crossing", q.Crossing},
		{"Sallyport-Side", side},
		{"Sallyport-Caller", q.Caller},
		{"Sallyport-Destination", q.Destination},
		{"Sallyport-Service", q.Service},
		{"Sallyport-Protocol", q.Protocol},
		{"Sallyport-Operation", q.Operation},
		{"Sallyport-Model", q.Model},
		{"Sallyport-Tool", q.Tool},
		{"Sallyport-Data-Class", q.DataClass},
		{"Sallyport-Method", q.Method},
		{"Sallyport-Target", q.Target},
	} {
		if f.value != "" {
			h.Set(f.name, escape(f.value))
		}
	}
}

// escape encodes what is not visible ASCII, and the percent sign (RFC 3986, section 2.1).
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c > ' ' && c < 0x7f && c != '%' {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

// visible leaves out what no field value may have.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
}
