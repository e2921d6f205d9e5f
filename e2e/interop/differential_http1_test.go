//go:build linux

package interop

import "strings"

// outcome is what a gateway may do with a request.
type outcome int

const (
	refused outcome = iota // nothing of it crosses whole
	passed                 // it is well formed, whatever it looks like
	either                 // the standard leaves it to the recipient
)

// attack is a request of HTTP/1.1 that two readers could take for two things.
type attack struct {
	name, raw string
	want      outcome
	cut       bool // the caller goes away after it; elsewhere another request follows at once
}

const (
	post    = "POST {path} HTTP/1.1\r\nHost: {host}\r\n{extra}"
	chunked = post + "Transfer-Encoding: chunked\r\n\r\n"
	hidden  = "POST {hidden} HTTP/1.1\r\nHost: {host}\r\n{extra}Content-Length: 0\r\n\r\n"
	// asChunk is hidden as a chunk ends in it.
	asChunk = "0\r\n\r\n" + hidden
)

// lengths are requests of which it is in doubt where they end: RFC 9112 6.
var lengths = []attack{
	{name: "both lengths", raw: post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + asChunk},
	{name: "both lengths, the other way round", raw: post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + asChunk},
	{name: "two lengths", raw: post + "Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello"},
	{name: "one length twice", raw: post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", want: either},
	{name: "list of lengths", raw: post + "Content-Length: 5, 6\r\n\r\nhello"},
	{name: "list of one length", raw: post + "Content-Length: 5, 5\r\n\r\nhello", want: either},
	{name: "plus sign", raw: post + "Content-Length: +5\r\n\r\nhello"},
	{name: "minus sign", raw: post + "Content-Length: -5\r\n\r\nhello"},
	{name: "minus nothing", raw: post + "Content-Length: -0\r\n\r\n"},
	{name: "hexadecimal length", raw: post + "Content-Length: 0x5\r\n\r\nhello"},
	{name: "length with a fraction", raw: post + "Content-Length: 5.0\r\n\r\nhello"},
	{name: "length with an underscore", raw: post + "Content-Length: 1_0\r\n\r\nhellohello"},
	{name: "length of digits that are not ASCII", raw: post + "Content-Length: ٥\r\n\r\nhello"},
	{name: "length of nothing", raw: post + "Content-Length: \r\n\r\n"},
	{name: "two numbers", raw: post + "Content-Length: 5 0\r\n\r\nhello"},
	{name: "length of more than 63 bits", raw: post + "Content-Length: 9223372036854775808\r\n\r\nhello"},
	{name: "length that wraps to five", raw: post + "Content-Length: 18446744073709551621\r\n\r\nhello"},
	{name: "length with zeros before it", raw: post + "Content-Length: 0005\r\n\r\nhello", want: either},
	{name: "length with outer space", raw: post + "Content-Length: \t 5 \t\r\n\r\nhello", want: passed},
	{name: "length with a vertical tab", raw: post + "Content-Length: \v5\r\n\r\nhello"},
	{name: "length named away by Connection", raw: post + "Connection: content-length\r\nContent-Length: 5\r\n\r\nhello", want: either},
	{name: "coding named away by Connection", raw: post + "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", want: either},
	{name: "body of GET", raw: strings.Replace(post, "POST", "GET", 1) + "Content-Length: 5\r\n\r\nhello", want: passed},
	{name: "chunked body of GET", raw: strings.Replace(chunked, "POST", "GET", 1) + "5\r\nhello\r\n0\r\n\r\n", want: passed},
	{name: "body of HEAD", raw: strings.Replace(post, "POST", "HEAD", 1) + "Content-Length: 5\r\n\r\nhello", want: passed},
	{name: "request as a body", raw: post + "Content-Length: {length}\r\n\r\n" + hidden, want: passed},
}

// codings are transfer codings that one reader knows and another does not.
var codings = []attack{
	{name: "unknown coding", raw: post + "Transfer-Encoding: xchunked\r\n\r\n" + asChunk},
	{name: "identity", raw: post + "Transfer-Encoding: identity\r\n\r\n" + hidden},
	{name: "chunked twice", raw: post + "Transfer-Encoding: chunked, chunked\r\n\r\n" + asChunk},
	{name: "two fields of coding", raw: post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + asChunk},
	{name: "coding behind another", raw: post + "Transfer-Encoding: gzip, chunked\r\n\r\n" + asChunk},
	{name: "coding before another", raw: post + "Transfer-Encoding: chunked, identity\r\n\r\n" + asChunk},
	{name: "coding in capitals", raw: post + "Transfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n", want: either},
	{name: "coding with a parameter", raw: post + "Transfer-Encoding: chunked;q=1\r\n\r\n" + asChunk},
	{name: "coding in quotes", raw: post + "Transfer-Encoding: \"chunked\"\r\n\r\n" + asChunk},
	{name: "coding of nothing", raw: post + "Transfer-Encoding: \r\n\r\n" + asChunk},
	{name: "coding after a comma", raw: post + "Transfer-Encoding: ,chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", want: either},
	{name: "coding after a vertical tab", raw: post + "Transfer-Encoding: \vchunked\r\n\r\n" + asChunk},
	{name: "coding before NUL", raw: post + "Transfer-Encoding: chunked\x00\r\n\r\n" + asChunk},
	{name: "coding before a carriage return", raw: post + "Transfer-Encoding: chunked\r\r\n\r\n" + asChunk},
	{name: "coding with an underscore in its name", raw: post + "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello", want: either},
	{name: "space before the colon", raw: post + "Transfer-Encoding : chunked\r\n\r\n" + asChunk},
	{name: "tab before the colon", raw: post + "Transfer-Encoding\t: chunked\r\n\r\n" + asChunk},
	{name: "folded coding", raw: post + "Transfer-Encoding:\r\n chunked\r\n\r\n" + asChunk},
	{name: "coding folded into another field", raw: post + "X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n" + hidden},
	{name: "folded length", raw: post + "Content-Length:\r\n\t5\r\n\r\nhello"},
}

// lines are lines that end where another reader sees none end, and names and
// values that are none.
var lines = []attack{
	{name: "bare line feeds", raw: strings.ReplaceAll(post, "\r\n", "\n") + "\n"},
	{name: "line feed that hides a coding", raw: post + "X: a\nTransfer-Encoding: chunked\r\n\r\n" + asChunk},
	{name: "carriage return that hides a coding", raw: post + "X: a\rTransfer-Encoding: chunked\r\n\r\n" + asChunk},
	{name: "head that a line feed ends", raw: post + "X: a\r\n\n" + hidden},
	{name: "line feed after the request line", raw: strings.Replace(post, "\r\n", "\n", 1) + "\r\n"},
	{name: "NUL in a value", raw: post + "X: a\x00b\r\n\r\n"},
	{name: "NUL in a name", raw: post + "X\x00: a\r\n\r\n"},
	{name: "control character in a value", raw: post + "X: a\x01b\r\n\r\n"},
	{name: "DEL in a value", raw: post + "X: a\x7fb\r\n\r\n"},
	{name: "field without a colon", raw: post + "Transfer-Encoding chunked\r\n\r\n" + asChunk},
	{name: "field without a name", raw: post + ": chunked\r\n\r\n"},
	{name: "name that is no token", raw: post + "X(a): b\r\n\r\n"},
	{name: "name that is not ASCII", raw: post + "Xä: b\r\n\r\n"},
	{name: "space before the first field", raw: "POST {path} HTTP/1.1\r\n Transfer-Encoding: chunked\r\nHost: {host}\r\n{extra}\r\n" + asChunk},
	{name: "empty line before the request", raw: "\r\n" + post + "\r\n", want: either},
	{name: "many empty lines before the request", raw: strings.Repeat("\r\n", 40<<10) + post + "\r\n"},
	{name: "oversized head", raw: post + "X: " + strings.Repeat("a", 70<<10) + "\r\n\r\n"},
	{name: "too many fields", raw: post + strings.Repeat("X: a\r\n", 300) + "\r\n"},
	{name: "oversized request line", raw: "POST {path}" + strings.Repeat("a", 70<<10) + " HTTP/1.1\r\nHost: {host}\r\n{extra}\r\n"},
	{name: "head that is cut off", raw: post + "X: a", cut: true},
}

// targets are requests that name two destinations, or none.
var targets = []attack{
	{name: "one host twice", raw: post + "Host: {host}\r\n\r\n"},
	{name: "two hosts", raw: post + "Host: llm.azure.mesh:8000\r\n\r\n"},
	{name: "no host", raw: "POST {path} HTTP/1.1\r\n{extra}\r\n"},
	{name: "host with a user", raw: strings.Replace(post, "{host}", "a@{host}", 1) + "\r\n"},
	{name: "host with a path", raw: strings.Replace(post, "{host}", "{host}/x", 1) + "\r\n"},
	{name: "list of hosts", raw: strings.Replace(post, "{host}", "{host}, llm.azure.mesh", 1) + "\r\n"},
	{name: "host with a space", raw: strings.Replace(post, "{host}", "{host} x", 1) + "\r\n"},
	{name: "absolute form of the same host", raw: strings.Replace(post, "{path}", "http://{host}{path}", 1) + "\r\n", want: either},
	{name: "absolute form of another host", raw: strings.Replace(post, "{path}", "http://llm.azure.mesh:8000{path}", 1) + "\r\n"},
	{name: "absolute form of another scheme", raw: strings.Replace(post, "{path}", "ftp://{host}{path}", 1) + "\r\n"},
	{name: "absolute form with a user", raw: strings.Replace(post, "{path}", "http://a@{host}{path}", 1) + "\r\n"},
	{name: "absolute form without a path", raw: strings.Replace(post, "{path}", "http://{host}?q", 1) + "\r\n", want: either},
	{name: "authority form", raw: strings.Replace(post, "{path}", "{host}:80", 1) + "\r\n"},
	{name: "asterisk form", raw: strings.Replace(post, "{path}", "*", 1) + "\r\n"},
	{name: "path without a slash", raw: strings.Replace(post, "{path}", "x", 1) + "\r\n"},
	{name: "path with two slashes", raw: strings.Replace(post, "{path}", "//{host}{path}", 1) + "\r\n"},
	{name: "path with dots", raw: strings.Replace(post, "{path}", "/x/..{path}", 1) + "\r\n"},
	{name: "path with encoded dots", raw: strings.Replace(post, "{path}", "/x/%2e%2e{path}", 1) + "\r\n"},
	{name: "path with an encoded slash", raw: strings.Replace(post, "{path}", "{path}%2fx", 1) + "\r\n"},
	{name: "path with a fragment", raw: strings.Replace(post, "{path}", "{path}#x", 1) + "\r\n"},
	{name: "path with a space", raw: strings.Replace(post, "{path}", "{path} x", 1) + "\r\n"},
	{name: "path with a request after it", raw: strings.Replace(post, "{path}", "{path} HTTP/1.1\rHost: x", 1) + "\r\n"},
	{name: "path with NUL", raw: strings.Replace(post, "{path}", "{path}\x00", 1) + "\r\n"},
	{name: "path that is not ASCII", raw: strings.Replace(post, "{path}", "{path}ä", 1) + "\r\n"},
	{name: "tabs in the request line", raw: strings.Replace(post, "POST {path} ", "POST\t{path}\t", 1) + "\r\n"},
	{name: "two spaces in the request line", raw: strings.Replace(post, "POST ", "POST  ", 1) + "\r\n"},
	{name: "space after the request line", raw: strings.Replace(post, "HTTP/1.1", "HTTP/1.1 ", 1) + "\r\n"},
	{name: "method that is no token", raw: strings.Replace(post, "POST", "PO(ST", 1) + "\r\n"},
	{name: "HTTP/1.0", raw: strings.Replace(post, "HTTP/1.1", "HTTP/1.0", 1) + "Connection: keep-alive\r\n\r\n"},
	{name: "HTTP/0.9", raw: "GET {path}\r\n\r\n"},
	{name: "HTTP/2.0 in a request line", raw: strings.Replace(post, "HTTP/1.1", "HTTP/2.0", 1) + "\r\n"},
	{name: "version in small letters", raw: strings.Replace(post, "HTTP/1.1", "http/1.1", 1) + "\r\n"},
	{name: "version of two digits", raw: strings.Replace(post, "HTTP/1.1", "HTTP/01.1", 1) + "\r\n"},
	{name: "preface of HTTP/2", raw: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
	{name: "unknown expectation", raw: post + "Expect: 100-continue, x\r\nContent-Length: 5\r\n\r\nhello"},
	{name: "upgrade to h2c", raw: post + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 0\r\n\r\n", want: either},
	{name: "CONNECT with content", raw: "CONNECT {host}:80 HTTP/1.1\r\nHost: {host}:80\r\nContent-Length: 5\r\n\r\nhello"},
}

// chunks are bodies of which it is in doubt where a chunk ends: RFC 9112 7.1.
var chunks = []attack{
	{name: "whole body", raw: chunked + "5\r\nhello\r\n0\r\n\r\n", want: passed},
	{name: "chunk extensions", raw: chunked + "5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n", want: either},
	{name: "chunk without a size", raw: chunked + "\r\nhello\r\n0\r\n\r\n"},
	{name: "size that is none", raw: chunked + "g\r\nhello\r\n0\r\n\r\n"},
	{name: "size with 0x", raw: chunked + "0x5\r\nhello\r\n0\r\n\r\n"},
	{name: "size with a plus", raw: chunked + "+5\r\nhello\r\n0\r\n\r\n"},
	{name: "size with a minus", raw: chunked + "-5\r\nhello\r\n0\r\n\r\n"},
	{name: "size with an underscore", raw: chunked + "0_5\r\nhello\r\n0\r\n\r\n"},
	{name: "size with space before", raw: chunked + " 5\r\nhello\r\n0\r\n\r\n"},
	{name: "size with space after", raw: chunked + "5 \r\nhello\r\n0\r\n\r\n", want: either},
	{name: "size with a tab before", raw: chunked + "\t5\r\nhello\r\n0\r\n\r\n"},
	{name: "size with zeros", raw: chunked + "00000005\r\nhello\r\n000\r\n\r\n", want: either},
	{name: "size of more than 64 bits", raw: chunked + "10000000000000005\r\nhello\r\n0\r\n\r\n"},
	{name: "size of 64 bits", raw: chunked + "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"},
	{name: "size before NUL", raw: chunked + "5\x00\r\nhello\r\n0\r\n\r\n"},
	{name: "size that a line feed ends", raw: chunked + "5\nhello\r\n0\r\n\r\n"},
	{name: "line feed in an extension", raw: chunked + "5;a\nhello\r\n0\r\n\r\n"},
	{name: "carriage return in an extension", raw: chunked + "5;a\rb\r\nhello\r\n0\r\n\r\n"},
	{name: "end of line in a quoted extension", raw: chunked + "5;a=\"\r\nhello\r\n0\r\n\r\n" + hidden + "\"", want: either},
	{name: "extension without end", raw: chunked + "5;" + strings.Repeat("a", 70<<10) + "\r\nhello\r\n0\r\n\r\n"},
	{name: "chunk that is longer than it says", raw: chunked + "5\r\nhello world\r\n0\r\n\r\n"},
	{name: "chunk without an end of line", raw: chunked + "5\r\nhello0\r\n\r\n"},
	{name: "chunk that a line feed ends", raw: chunked + "5\r\nhello\n0\r\n\r\n"},
	{name: "last chunk that a line feed ends", raw: chunked + "5\r\nhello\r\n0\n\r\n"},
	{name: "body that a line feed ends", raw: chunked + "5\r\nhello\r\n0\r\n\n"},
	{name: "chunk that is cut off", raw: chunked + "5\r\nhel", cut: true},
	{name: "body that is cut off", raw: post + "Content-Length: 100\r\n\r\nhello", cut: true},
	{name: "length in the trailers", raw: chunked + "0\r\nContent-Length: 5\r\n\r\n"},
	{name: "coding in the trailers", raw: chunked + "0\r\nTransfer-Encoding: chunked\r\n\r\n"},
	{name: "host in the trailers", raw: chunked + "0\r\nHost: llm.azure.mesh\r\n\r\n", want: either},
	{name: "line feed in the trailers", raw: chunked + "0\r\nX: a\nY: b\r\n\r\n"},
	{name: "folded trailer", raw: chunked + "0\r\nX: a\r\n b\r\n\r\n"},
	{name: "NUL in a trailer", raw: chunked + "0\r\nX: a\x00\r\n\r\n"},
	{name: "trailer without a colon", raw: chunked + "0\r\n" + hidden + "\r\n"},
	{name: "oversized trailers", raw: chunked + "0\r\n" + strings.Repeat("X: "+strings.Repeat("a", 1<<10)+"\r\n", 80) + "\r\n"},
	{name: "trailers", raw: chunked + "0\r\nX: a\r\n\r\n", want: passed},
}
