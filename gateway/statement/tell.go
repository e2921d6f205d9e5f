package statement

import (
	"bytes"
	"errors"
	"fmt"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// maxSpans and maxNumbers bound one Ask.
	maxSpans   = 64
	maxNumbers = 512
	// maxTold is the most that the frames told at once have together, in bytes.
	maxTold = MaxTalk - 128<<10
	// maxGoing is the most numbers that are told to go on: a Talk has room for them.
	maxGoing = 100_000
)

// Tell answers a question about the outstanding claim. turn is which one of the
// exchange it has to be, from 1: one of another turn, or about another claim, is refused.
func (e *Egress) Tell(turn uint32, a *crossingv1.Ask, frames Frames) (*crossingv1.Told, error) {
	if a.GetTurn() != turn {
		return nil, fmt.Errorf("asked about a claim: turn %d, want %d", a.GetTurn(), turn)
	}
	told, err := e.tell(a, frames)
	if err != nil {
		return nil, fmt.Errorf("asked about a claim: %w", err)
	}
	told.Turn, told.Claim = a.GetTurn(), a.GetClaim()
	return told, nil
}

func (e *Egress) tell(a *crossingv1.Ask, frames Frames) (*crossingv1.Told, error) {
	e.mu.Lock()
	if err := e.about(a); err != nil {
		e.mu.Unlock()
		return nil, err
	}
	if a.GetList() == crossingv1.Ask_GOING {
		going := e.book.olders()
		e.mu.Unlock()
		if len(going) > maxGoing {
			return nil, fmt.Errorf("%d numbers go on, the most are %d", len(going), maxGoing)
		}
		return &crossingv1.Told{Going: distances(going, 0)}, nil
	}
	places, told, err := e.tellDigests(a)
	e.mu.Unlock() // frames are on a disk
	if err != nil {
		return nil, err
	}
	tellFrames(told, places, frames)
	return told, nil
}

// about holds that a question is about the outstanding claim. The caller holds mu.
func (e *Egress) about(a *crossingv1.Ask) error {
	switch {
	case !e.pending:
		return errors.New("no claim is outstanding")
	case !bytes.Equal(a.GetClaim(), e.last.ClaimHash[:]):
		return errors.New("another claim is outstanding")
	}
	return nil
}

// tellDigests tells what the account itself knows, and where the frames are that
// are asked for.
func (e *Egress) tellDigests(a *crossingv1.Ask) (places []uint64, told *crossingv1.Told, err error) {
	if !e.listed { // the claim was made by an earlier process
		e.makeLists(e.last.Claim.GetFirst(), e.last.Claim.GetNext(), e.last.closed)
	}
	var l *list
	switch a.GetList() {
	case crossingv1.Ask_OPENED:
		l = &e.lists[0]
	case crossingv1.Ask_CLOSED:
		l = &e.lists[1]
	default:
		return nil, nil, fmt.Errorf("no list %d", a.GetList())
	}
	skip, err := numbersOf(a.GetSkip(), 0, len(l.numbers))
	if err != nil {
		return nil, nil, err
	}
	if len(a.GetSpans()) > maxSpans || len(a.GetNumbers()) > maxNumbers {
		return nil, nil, fmt.Errorf("%d spans and %d numbers, the most are %d and %d",
			len(a.GetSpans()), len(a.GetNumbers()), maxSpans, maxNumbers)
	}
	if places, err = l.places(a.GetNumbers()); err != nil {
		return nil, nil, err
	}
	told = new(crossingv1.Told)
	l = l.without(skip)
	for _, s := range a.GetSpans() {
		if s.GetFrom() >= s.GetTo() || s.GetTo() > uint64(len(l.numbers)) {
			return nil, nil, fmt.Errorf("places %d to %d of %d", s.GetFrom(), s.GetTo(), len(l.numbers))
		}
		for _, part := range parts(s.GetFrom(), s.GetTo()) {
			sum := l.digest(int(part[0]), int(part[1]))
			told.Digests = append(told.Digests, sum[:])
		}
	}
	return places, told, nil
}

// places are where the frames of numbers are.
func (l *list) places(numbers []uint64) ([]uint64, error) {
	places := make([]uint64, len(numbers))
	for at, n := range numbers {
		place, found := l.place(n)
		if !found {
			return nil, fmt.Errorf("%d is not in the list", n)
		}
		places[at] = l.at[place]
	}
	return places, nil
}

// tellFrames adds the frames at those places, as many as there is room for; an empty
// one where it is gone.
func tellFrames(told *crossingv1.Told, places []uint64, frames Frames) {
	size := 0
	for _, at := range places {
		var frame []byte
		if at != nowhere {
			frame = frameAt(frames, at)
		}
		if size += len(frame); size > maxTold {
			return
		}
		told.Frames = append(told.Frames, frame)
	}
}

// frameAt is the frame at a place; empty if it is gone.
func frameAt(frames Frames, at uint64) []byte {
	frame, err := frames(at)
	if err != nil {
		return nil
	}
	return frame
}
