// Package budget counts what each caller has used of the limits of an intent, in windows
// that begin with a second, a minute, an hour or a day of UTC. A call is reserved for
// before it goes on, at what it may come to, and settled when it is over, at what it came
// to; it counts in the window in which it was reserved. Bytes are taken besides as they
// pass, in slices, each in the window that is then. The package knows no clock, no network
// and no policy but the limits that it is given.
//
// One invariant: what this gateway has reserved and settled of a window, and what it
// knows that the others of its environment have, and what it lets in, are together at
// most the limit. Settling more than was reserved is the one way over it.
//
// # Several gateways
//
// Each gateway of an environment tells the others what it has used, by way of the control
// plane, and hears what they have. Between two tellings it takes no more than its share
// of what was left at the first:
//
//	own + others + want <= most                              always, and
//	own + want <= told + (most - told - others) / n          or own <= told
//
// where n is how many gateways there are, others what this one has heard that they have
// used, own what it has itself, and told what they may know of that. The last clause lets
// one call in between two tellings that is larger than the share.
//
// So however late, lost or in whatever order the tellings are, of a window at most
//
//	most + (n - 1) * max(most / n, call)
//
// is let in, where call is the most that one call wants. Let m be the gateway whose last
// call went in under the latest telling. It knew of every other one what that one had
// told before its own last call went in; the others took their share of what was left,
// or one call, on top of that; and m made sure that all that it knew of, and its own, is
// at most the limit. When every gateway hears the others between any two of its calls,
// nothing is unknown and the limit is exact.
//
// A gateway that hears nothing goes on with the share that it has, and begins each window
// with a share of the whole. Windows of a second are over before anybody has heard of
// them: there each gateway has its share, at least one call, so that
// n * max(most / n, call) may be let in.
//
// What comes on top: what calls come to beyond what was reserved for them; with a crash of
// a gateway the last second before it, unless the others have heard of it, and one share;
// with a restart what was used of that second's windows; what was told to a control plane
// that was started again, of a gateway that it does not hear of in its first seconds; and,
// in a change of the policy, of the limit or of n, what was let in under the earlier one.
// Clocks that differ move a window's beginning by as much.
//
// # Bytes as they pass
//
// Nobody knows before what an answer comes to. So an exchange takes its bytes from the
// ledger before they pass, in both directions: 256 KiB at a time, less when less than
// sixteen times as much is left, and what is left to the last byte. A slice is let in as a
// call is, under the same law, and call above is the larger of what a call wants when it
// begins and of a slice. What has no room does not pass: of bytes nothing is settled beyond
// what was taken, but what passes without being asked for, a byte stream's first words and
// the rest of a request that nobody wants any more.
//
// A slice counts in the window in which it was taken. So in a window there may pass, beyond
// what counts there, one slice for each exchange that was under way when it began.
//
// # Slowing down
//
// Once no more than a tenth of a limit is left, what is left is spread over the rest of the
// window: each slice is due when the one before it has passed at
//
//	rate = max(left / n / time left, 64 KiB/s)
//
// together for all exchanges of the caller, and is as much as passes in a second. A tenth,
// because whoever stays below nine of ten never waits, and because what remains is enough
// for an operator to see who it is that is slowed: of a day's limit, up to a day. The floor,
// because who crawls for hours holds a connection at either end for nothing: at a limit of
// 10 GiB a day the last tenth is over after five hours, and then the exchange is broken off.
// A limit whose tenth is more than the floor passes in what is left of its window is one
// that nobody alone reaches: transfers go on at its rate. Limits of a second are such rates.
//
// No exchange waits for longer than two seconds before something of it passes: what waits
// for it at the other gateway or at the workloads would take it for dead. That much is let
// out of turn, so that many exchanges at once are slowed less than one; the limit holds all
// the same. For as long, and no longer, an exchange waits for a window that is about to
// begin, and for other gateways to be heard of where only the share is used up.
package budget

import (
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
)

// Amounts are of each thing that a limit counts. Cost is in millionths of a unit.
type Amounts struct{ Requests, Tokens, Bytes, Cost int64 }

// maxAmount bounds what is counted, so that a sum of two never overflows.
const maxAmount = 1 << 61

// of is how much of something that is, at least nothing.
func (a Amounts) of(w limits.What) int64 {
	var n int64
	switch w {
	case limits.Requests:
		n = a.Requests
	case limits.Tokens:
		n = a.Tokens
	case limits.Bytes:
		n = a.Bytes
	case limits.Cost:
		n = a.Cost
	}
	return min(max(n, 0), maxAmount)
}

// sum of amounts, at most the most that is counted.
func sum(a, b int64) int64 { return min(a+b, maxAmount) }

// shared is the shortest window that gateways tell each other of, and that outlasts a
// restart.
const shared = time.Minute

// Use is what a caller has used of a budget at one gateway.
type Use struct {
	Caller, Intent string
	What           limits.What
	Window         time.Duration
	Start          time.Time // of the window
	Used           int64     // what is reserved is in it
	Gateway        string    // that counted it; empty for this one
}
