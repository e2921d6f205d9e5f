package statement

import (
	"time"
)

// Fault is what is wrong with a chain of statements.
type Fault int

const (
	// Forked: two claims of one epoch, or two answers to one claim, were signed.
	Forked Fault = iota + 1
	// BrokenLink: the claim before is not the one that this one names, or its answer.
	BrokenLink
	// Gap: the claim's first number is not the next of the claim before.
	Gap
	// Resumed: the egress gateway did not remember the claim before.
	Resumed
	// Forgot: the ingress gateway did not remember an answer that it gave.
	Forgot
	// Missed: claims never came to the ingress gateway.
	Missed
	// Differs: the two accounts differ, as both have signed.
	Differs
	// AfterFinal: there is a claim after a final one that put nothing off.
	AfterFinal
)

// Finding is one thing that a chain of statements shows.
type Finding struct {
	// Fault that it is.
	Fault Fault
	// Epoch in which it shows, and At when that was claimed.
	Epoch uint64
	At    time.Time
	// Difference of Differs.
	Difference *Difference
	// Missed is how many claims never came.
	Missed uint64
	// Claims of Forked, or answers: their hashes.
	Hashes []Hash
}

// Difference is numbers on which two gateways differ, for one reason.
type Difference struct {
	// Kind is as in crossingv1.Difference.
	Kind int32
	// Fields that differ, by their names in the record.
	Fields []string
	// Numbers, rising.
	Numbers []uint64
}

// Follower follows the statements of one chain as they are delivered by either
// gateway, in any order and more than once, and finds what is wrong with them.
// What it finds does not depend on the order. It is not safe for concurrent use.
type Follower struct{}

// Follow begins with nothing known.
func Follow(c Chain) *Follower { panic("to come") }

// Add takes a statement whose signatures were verified, and gives what it shows
// that was not found before.
func (f *Follower) Add(s *Stated) []Finding { panic("to come") }

// Missing are the epochs, up to max of them, that have not come although a later
// one has: late, or lost.
func (f *Follower) Missing(max int) []uint64 { panic("to come") }

// Last is the last claim that has come; nil if none has.
func (f *Follower) Last() *Stated { panic("to come") }

// Forget drops what is only known of epochs before that one.
func (f *Follower) Forget(before uint64) { panic("to come") }
