// Package asked reads how a person names crossings: by a time, by a state, by what names
// a trace.
//
// The one invariant: what it cannot read is an error which says what would do, and never
// a filter that matches nothing, or everything.
package asked

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/policy/nearest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// States are the words for the states of a record.
func States() []string {
	var words []string
	for n := range len(crossingv1.Record_State_name) - 1 {
		words = append(words, Word(crossingv1.Record_State(n+1))) //nolint:gosec // a handful
	}
	return words
}

// Word is that for one of them.
func Word(s crossingv1.Record_State) string {
	return strings.ToLower(strings.ReplaceAll(s.String(), "_", "-"))
}

// State reads the word for a state; STATE_UNSPECIFIED, which is any, if there is none.
func State(text string) (crossingv1.Record_State, error) {
	if text == "" {
		return crossingv1.Record_STATE_UNSPECIFIED, nil
	}
	number := crossingv1.Record_State_value[strings.ToUpper(strings.ReplaceAll(text, "-", "_"))]
	if number == 0 {
		return 0, fmt.Errorf("--state %q: want one of %s%s", text, strings.Join(States(), ", "), nearest.Hint(strings.ToLower(text), States()))
	}
	return crossingv1.Record_State(number), nil
}

// Window reads --since and --until. An empty one is no bound, and nil.
func Window(from, to string, now time.Time) (earliest, end *timestamppb.Timestamp, err error) {
	if earliest, err = Time("--since", from, now); err != nil {
		return nil, nil, err
	}
	if end, err = Time("--until", to, now); err != nil {
		return nil, nil, err
	}
	if earliest != nil && end != nil && end.AsTime().Before(earliest.AsTime()) {
		return nil, nil, fmt.Errorf("--until %s is before --since %s", to, from)
	}
	return earliest, end, nil
}

// Time reads a flag's time, or how long ago it was; nil if it is empty.
func Time(flag, text string, now time.Time) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil // no bound
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return timestamppb.New(t), nil
	}
	ago, err := time.ParseDuration(text)
	if err != nil || ago < 0 {
		return nil, fmt.Errorf("%s %q: want an RFC 3339 time (2026-11-23T10:15:00Z) or how long ago (10m)", flag, text)
	}
	return timestamppb.New(now.Add(-ago)), nil
}

// The lengths of what names a trace, in characters.
const (
	traceIDLength     = 32
	traceparentLength = 55
)

// Trace reads what a person pasted: a crossing's id, a W3C traceparent (its flags and
// span do not matter here), or a trace id.
func Trace(text string) (*controlv1.ListCrossingsRequest, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	switch {
	case isTraceID(text):
		return &controlv1.ListCrossingsRequest{Trace: text}, nil
	case len(text) == traceparentLength && strings.Count(text, "-") == 3 && isTraceID(text[3:3+traceIDLength]):
		return &controlv1.ListCrossingsRequest{Trace: text[3 : 3+traceIDLength]}, nil
	}
	if id, err := uuid.Parse(text); err == nil && id.String() == text {
		return &controlv1.ListCrossingsRequest{Id: text}, nil
	}
	return nil, fmt.Errorf("%q names no trace: want a crossing's id (01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88), a traceparent (00-…-…-01), or 32 hex digits", text)
}

func isTraceID(text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && len(b)*2 == traceIDLength && strings.Trim(text, "0") != ""
}
