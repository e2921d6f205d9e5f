//go:build linux

package interop

import "strings"

// attack2 is a request of HTTP/2 that means something else, or two things, in
// HTTP/1.1: names and values in turn, DATA frames, trailers. The last of them
// ends the stream.
type attack2 struct {
	name    string
	head    []string
	data    []string
	trailer []string
	want    outcome
}

// with is a request of HTTP/2 that is well formed, and more fields.
func with(more ...string) []string {
	return append([]string{":method", "POST", ":scheme", "https", ":authority", "{host}", ":path", "{path}"}, more...)
}

// without is one with another value for a pseudo-field; none where it is "-".
func without(name, value string, more ...string) []string {
	var head []string
	for i, all := 0, with(); i < len(all); i += 2 {
		switch {
		case all[i] != name:
			head = append(head, all[i], all[i+1])
		case value != "-":
			head = append(head, name, value)
		}
	}
	return append(head, more...)
}

var hello = []string{"hello"}

// pseudo are pseudo-fields that hold more than they say: RFC 9113 8.3.
var pseudo = []attack2{
	{name: "path with a space", head: without(":path", "{path} x")},
	{name: "path with a version", head: without(":path", "{path} HTTP/1.1")},
	{name: "path with a request", head: without(":path", "{path} HTTP/1.1\r\nHost: {host}\r\n\r\nPOST {hidden}")},
	{name: "path with a line feed", head: without(":path", "{path}\nX: a")},
	{name: "path with NUL", head: without(":path", "{path}\x00")},
	{name: "path with a tab", head: without(":path", "{path}\tx")},
	{name: "path that is not ASCII", head: without(":path", "{path}ä")},
	{name: "path with a fragment", head: without(":path", "{path}#x")},
	{name: "empty path", head: without(":path", "")},
	{name: "no path", head: without(":path", "-")},
	{name: "two paths", head: with(":path", "{hidden}")},
	{name: "path without a slash", head: without(":path", "x")},
	{name: "path in absolute form", head: without(":path", "https://{host}{path}")},
	{name: "path with two slashes", head: without(":path", "//llm.azure.mesh{path}")},
	{name: "path with dots", head: without(":path", "/x/..{path}")},
	{name: "path with encoded dots", head: without(":path", "/x/%2e%2e{path}")},
	{name: "asterisk of another method than OPTIONS", head: without(":path", "*")},
	{name: "method with a space", head: without(":method", "POST {hidden} HTTP/1.1")},
	{name: "method with a line", head: without(":method", "POST {hidden} HTTP/1.1\r\nHost: {host}\r\n\r\nPOST")},
	{name: "empty method", head: without(":method", "")},
	{name: "no method", head: without(":method", "-")},
	{name: "two methods", head: with(":method", "GET")},
	{name: "method that is no token", head: without(":method", "PO(ST")},
	{name: "no scheme", head: without(":scheme", "-")},
	{name: "scheme with a host", head: without(":scheme", "https://llm.azure.mesh/?")},
	{name: "scheme with a line", head: without(":scheme", "https\r\nX: a")},
	{name: "two schemes", head: with(":scheme", "http")},
	{name: "authority beside another host", head: with("host", "llm.azure.mesh:8000")},
	{name: "authority beside the same host", head: with("host", "{host}"), want: either},
	{name: "authority beside the same host twice", head: with("host", "{host}", "host", "{host}")},
	{name: "two authorities", head: with(":authority", "llm.azure.mesh:8000")},
	{name: "host alone", head: without(":authority", "-", "host", "{host}"), want: either},
	{name: "neither authority nor host", head: without(":authority", "-")},
	{name: "empty authority", head: without(":authority", "")},
	{name: "authority with a user", head: without(":authority", "a@{host}")},
	{name: "authority with a path", head: without(":authority", "{host}/x")},
	{name: "authority with a line", head: without(":authority", "{host}\r\nX: a")},
	{name: "authority with a space", head: without(":authority", "{host} x")},
	{name: "unknown pseudo-field", head: append(without(":path", "-"), ":path", "{path}", ":evil", "a")},
	{name: "pseudo-field of an answer", head: with(":status", "200")},
	{name: "pseudo-field after another field", head: without(":path", "-", "x", "a", ":path", "{path}")},
	{name: "CONNECT with a path", head: without(":method", "CONNECT")},
	{name: "extended CONNECT", head: without(":method", "CONNECT", ":protocol", "websocket")},
}

// fields are fields that are lines of HTTP/1.1, or of a connection: RFC 9113 8.2.
var fields = []attack2{
	{name: "line in a value", head: with("x", "a\r\nTransfer-Encoding: chunked")},
	{name: "request in a value", head: with("x", "a\r\n\r\nPOST {hidden} HTTP/1.1\r\nHost: {host}\r\n\r\n")},
	{name: "line feed in a value", head: with("x", "a\nTransfer-Encoding: chunked")},
	{name: "carriage return in a value", head: with("x", "a\rb")},
	{name: "NUL in a value", head: with("x", "a\x00b")},
	{name: "DEL in a value", head: with("x", "a\x7fb")},
	{name: "space around a value", head: with("x", " a ")},
	{name: "tab before a value", head: with("x", "\ta")},
	{name: "colon in a name", head: with("transfer-encoding: chunked\r\nx", "a")},
	{name: "colon alone in a name", head: with("x:y", "a")},
	{name: "line in a name", head: with("x\r\ny", "a")},
	{name: "space in a name", head: with("transfer-encoding ", "chunked")},
	{name: "capital in a name", head: with("X-Capital", "a")},
	{name: "empty name", head: with("", "a")},
	{name: "NUL in a name", head: with("x\x00y", "a")},
	{name: "name that is no token", head: with("x(a)", "a")},
	{name: "name that is not ASCII", head: with("xä", "a")},
	{name: "coding", head: with("transfer-encoding", "chunked"), data: []string{"5\r\nhello\r\n" + asChunk}},
	{name: "coding with an underscore", head: with("transfer_encoding", "chunked"), data: hello, want: either},
	{name: "connection", head: with("connection", "close")},
	{name: "connection that names a field", head: with("connection", "x-forwarded-client-cert")},
	{name: "keep-alive", head: with("keep-alive", "timeout=5")},
	{name: "proxy-connection", head: with("proxy-connection", "keep-alive")},
	{name: "upgrade", head: with("upgrade", "h2c", "http2-settings", "AAMAAABkAAQAAP__")},
	{name: "te of another coding", head: with("te", "gzip")},
	{name: "te: trailers", head: with("te", "trailers"), want: passed},
	{name: "cookie in crumbs", head: with("cookie", "a=b", "cookie", "c=d"), want: passed},
	{name: "oversized head", head: with("x", strings.Repeat("a", 70<<10))},
	{name: "too many fields", head: with(strings.Split(strings.TrimSuffix(strings.Repeat("x,a,", 300), ","), ",")...)},
}

// contents are bodies that are not as long as they say: RFC 9113 8.1.1.
var contents = []attack2{
	{name: "whole body", head: with("content-length", "5"), data: hello, want: passed},
	{name: "body without a length", head: with(), data: hello, want: passed},
	{name: "request as a body", head: with(), data: []string{hidden}, want: passed},
	{name: "shorter than it says", head: with("content-length", "9"), data: hello},
	{name: "longer than it says", head: with("content-length", "5"), data: []string{"hello" + hidden}},
	{name: "longer than it says, in a second frame", head: with("content-length", "5"), data: []string{"hello", hidden}},
	{name: "length of none", head: with("content-length", "0"), data: []string{hidden}},
	{name: "length without a body", head: with("content-length", "5")},
	{name: "two lengths", head: with("content-length", "5", "content-length", "6"), data: hello},
	{name: "one length twice", head: with("content-length", "5", "content-length", "5"), data: hello, want: either},
	{name: "list of lengths", head: with("content-length", "5, 6"), data: hello},
	{name: "length with a sign", head: with("content-length", "+5"), data: hello},
	{name: "negative length", head: with("content-length", "-5"), data: hello},
	{name: "hexadecimal length", head: with("content-length", "0x5"), data: hello},
	{name: "length of more than 63 bits", head: with("content-length", "18446744073709551621"), data: hello},
	{name: "empty length", head: with("content-length", ""), data: hello},
	{name: "trailers", head: with(), data: hello, trailer: []string{"x", "a"}, want: passed},
	{name: "length in the trailers", head: with(), data: hello, trailer: []string{"content-length", "9"}, want: either},
	{name: "coding in the trailers", head: with(), data: hello, trailer: []string{"transfer-encoding", "chunked"}, want: either},
	{name: "host in the trailers", head: with(), data: hello, trailer: []string{"host", "llm.azure.mesh"}, want: either},
	{name: "pseudo-field in the trailers", head: with(), data: hello, trailer: []string{":path", "{hidden}"}},
	{name: "line in a trailer", head: with(), data: hello, trailer: []string{"x", "a\r\n\r\nPOST {hidden} HTTP/1.1\r\nHost: {host}\r\n\r\n"}},
	{name: "colon in the name of a trailer", head: with(), data: hello, trailer: []string{"x: a\r\ny", "b"}},
	{name: "capital in the name of a trailer", head: with(), data: hello, trailer: []string{"X", "b"}},
	{name: "expectation", head: with("expect", "100-continue, x"), data: hello, want: either},
}
