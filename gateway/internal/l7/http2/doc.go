// Package http2 is one HTTP/2 connection (RFC 9113, RFC 7541), at either end, for
// a gateway that relays exchanges: heads as l7 has them, data uncopied but for
// one buffer, trailers. It dials nothing, knows no identities and decides
// nothing; what its peer asks for beyond its limits is refused or ends the
// connection, and what was wrong is told to Config.
//
// One invariant: a peer makes this end hold no more memory than the windows,
// streams and heads that Config allows, and do no more work than it pays for in
// exchanges; whatever it sends, an exchange that is given out is one that HTTP/1.1
// could have said as well.
//
// There is no goroutine but the one in Run. Whoever has something to write finds
// out whether somebody writes already: if so he leaves it to him, else he writes,
// for all (flat combining). Heads, data and window updates of many streams leave
// in one Write. What nobody's goroutine may wait for is left to a writer that is
// started for it.
package http2
