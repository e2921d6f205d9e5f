// Package budget counts what each caller has used of the limits of an intent, in windows
// that begin with a second, a minute, an hour or a day of UTC. A call is reserved for
// before it goes on, at what it may come to, and settled when it is over, at what it came
// to; it counts in the window in which it was reserved. The package knows no clock, no
// network and no policy but the limits that it is given.
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
