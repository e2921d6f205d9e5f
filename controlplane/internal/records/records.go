// Package records keeps joined records on disk and answers questions about them:
// by id, trace, identity, owner and transition, and as counts by minute and hour.
// It joins nothing: package join does, and hands over each record as often as it
// changes.
//
// The one invariant: the counts are those of the records. Both change in one
// transaction, and a record that changes moves from one count to another.
package records

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/sought"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Errors of a store. Each comes wrapped in what to do about it.
var (
	// ErrInvalid says that a record cannot be kept, or a question not be asked.
	ErrInvalid = errors.New("not valid")
	// ErrInUse says that another process has the store open.
	ErrInUse = errors.New("the store is in use")
	// ErrDamaged says that the database is not what was written.
	ErrDamaged = errors.New("the database is damaged")
	// ErrFull says that the disk, or the quota on it, is full.
	ErrFull = errors.New("the disk is full")
)

// MaxLimit is the largest limit of a question.
const MaxLimit = 100_000

// Joined is a record and the two gateways that it is of, which the record does not
// name where a half is missing. A crossing is known by its id and both of them.
type Joined struct {
	// Egress is the SPIFFE ID of the egress gateway.
	Egress string
	// Ingress is that of the ingress gateway; empty if the egress gateway let nothing out.
	Ingress string
	// Record is shared: it must not change any more.
	Record *crossingv1.Record
}

// Window is a time, since included and until excluded. A zero time is no bound.
type Window struct{ Since, Until time.Time }

// WindowOf is the window between two times that a request has, or has not.
func WindowOf(since, until *timestamppb.Timestamp) Window {
	var w Window
	if since != nil {
		w.Since = since.AsTime()
	}
	if until != nil {
		w.Until = until.AsTime()
	}
	return w
}

// Query says which records are asked for: those for which every field that is set
// holds.
type Query struct {
	// Window in which it opened, to the microsecond.
	Window Window
	// ID of the crossing: one record, unless an egress gateway used it for several.
	ID string
	// Trace is the W3C trace id.
	Trace string
	// Identity is the SPIFFE ID of the source or of the destination.
	Identity string
	// Owner of the transition.
	Owner string
	// From and To are environments.
	From, To string
	// Service is the name of the service in the policy, such as that of a model.
	Service string
	// Asks is what an AI service is asked for. There is no index of it: pages are read, and
	// what is not meant is left out of them.
	Asks sought.Ask
	// Denied are those that one of the gateways denied, Allowed those that none did.
	Denied, Allowed bool
	// Unmatched are those that are one-sided, or whose halves disagree.
	Unmatched bool
	// State of the record.
	State crossingv1.Record_State
	// Before is a place: those that stand before it.
	Before Place
	// Without are left out: those for which it says yes. It may take its time, and ask the
	// store.
	Without func(Joined) bool
	// Limit of records, at most MaxLimit, the newest kept; none if 0.
	Limit int
}

// Class is what records are counted by.
type Class struct {
	// From and To are environments; To is empty if unknown.
	From, To string
	// Owner of the transition.
	Owner string
	// Denied says that one of the gateways denied it.
	Denied bool
	// State of the record.
	State crossingv1.Record_State
}

// Counts of records. Bytes are exact up to 2^53; a gateway that claims more makes
// them inexact, and never makes them wrap around.
type Counts struct {
	// Crossings that opened.
	Crossings uint64
	// RequestBytes and ResponseBytes of payload, as the egress gateway counted them,
	// or the ingress gateway where there is no more.
	RequestBytes, ResponseBytes uint64
}

// Cell is the counts of one class.
type Cell struct {
	Class
	Counts
}

// Talker is the counts of one source and destination.
type Talker struct {
	// Source and Destination are SPIFFE IDs; Destination is empty if unknown.
	Source, Destination string
	Counts
	// Denied are how many of the crossings one of the gateways denied.
	Denied uint64
}

// Store keeps records. All methods may be called concurrently. An error wraps one of
// those above where one fits, or is the context's.
type Store interface {
	// Put keeps records, all of them or none, durably when it returns. One that is
	// there already is replaced, and the same one again changes nothing: the last to
	// be put wins.
	Put(ctx context.Context, all []Joined) error
	// Find yields what matches, oldest first; of those that opened in the same
	// microsecond by id, egress and ingress. Records that are put meanwhile may or
	// may not be among them. After an error it yields no more.
	Find(ctx context.Context, q Query) iter.Seq2[Joined, error]
	// Matrix counts by class, in the order of the class's fields. The window is
	// widened to whole minutes.
	Matrix(ctx context.Context, w Window) ([]Cell, error)
	// Talkers are at most n sources and destinations of the transition between two
	// environments: those with the most bytes first, then with the most crossings,
	// then by name.
	Talkers(ctx context.Context, from, to string, w Window, n int) ([]Talker, error)
	// Close lets go of the store. Nothing may be called after it.
	Close() error
}

// Keeper is a Store that keeps records for a time: its retention.
type Keeper interface {
	Store
	// Maintain does what time asks for, and is to be called about every hour: hours
	// that are over go to the archive, and those that were over for longer than the
	// retention are removed, but what is held. Nothing is removed before the clock
	// has gone steadily for a day, so that no jump of it can remove anything.
	Maintain(ctx context.Context, now time.Time) (Upkeep, error)
	// Keeps says that a record is kept still: its retention is not over, or it is held.
	Keeps(r *crossingv1.Record, now time.Time) bool
	// Hold keeps records beyond their retention, those that come later, too. One of
	// the same name is replaced.
	Hold(ctx context.Context, h Hold) error
	// Release ends a hold. What it alone held is removed when Maintain is called next.
	Release(ctx context.Context, name string) error
	// Holds are all that there are, by name.
	Holds(ctx context.Context) ([]Hold, error)
}

// span is a window in microseconds since 1970, since included and until excluded.
type span struct{ since, until int64 }

// Times outside of these years are no times of a protobuf Timestamp.
const firstYear, lastYear = 1, 9999

// span of a window. What is outside of all years that a record can have is refused
// rather than wrapped around.
func (w Window) span() (span, error) {
	s := span{time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro(), time.Date(lastYear+1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()}
	for _, b := range []struct {
		at time.Time
		to *int64
	}{{w.Since, &s.since}, {w.Until, &s.until}} {
		if b.at.IsZero() {
			continue
		}
		if y := b.at.UTC().Year(); y < firstYear || y > lastYear {
			return span{}, fmt.Errorf("a time in the year %d: %w; use one between %d and %d", y, ErrInvalid, firstYear, lastYear)
		}
		*b.to = b.at.UnixMicro()
	}
	if s.since > s.until {
		return span{}, fmt.Errorf("a window that ends at %v before it begins at %v: %w", w.Until, w.Since, ErrInvalid)
	}
	return s, nil
}

// checkLimit of a question.
func checkLimit(n int) error {
	if n < 0 || n > MaxLimit {
		return fmt.Errorf("a limit of %d: %w; use one from 0 to %d, or a window", n, ErrInvalid, MaxLimit)
	}
	return nil
}
