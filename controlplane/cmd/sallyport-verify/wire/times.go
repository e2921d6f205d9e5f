package wire

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Time is the table of a google.protobuf.Timestamp, from year 1 to 9999.
var Time = &Schema{
	name: "Timestamp", fields: clockFields, place: []int8{-1, 0, 1},
	check: func(m *Message) error {
		seconds, nanos := int64(m.slots[0].n), int64(m.slots[1].n)
		if seconds < minSecond || seconds > maxSecond || nanos < 0 || nanos >= 1e9 {
			return errors.New("a time is none")
		}
		return nil
	},
	text: func(m *Message) string {
		return short(timeOf(m).Format("2006-01-02T15:04:05.000000000"), "Z")
	},
}

// Duration is the table of a google.protobuf.Duration, of up to 10,000 years.
var Duration = &Schema{
	name: "Duration", fields: clockFields, place: []int8{-1, 0, 1},
	check: func(m *Message) error {
		seconds, nanos := int64(m.slots[0].n), int64(m.slots[1].n)
		if abs(seconds) > maxSeconds || abs(nanos) >= 1e9 || seconds > 0 && nanos < 0 || seconds < 0 && nanos > 0 {
			return errors.New("a duration is none")
		}
		return nil
	},
	text: func(m *Message) string {
		seconds, nanos, sign := int64(m.slots[0].n), int64(m.slots[1].n), ""
		if seconds < 0 || nanos < 0 {
			sign = "-"
		}
		return short(fmt.Sprintf("%s%d.%09d", sign, abs(seconds), abs(nanos)), "s")
	},
}

var clockFields = []Field{{number: 1, name: "seconds", kind: kindInt64}, {number: 2, name: "nanos", kind: kindInt32}}

const (
	minSecond  = -62135596800 // 0001-01-01T00:00:00Z
	maxSecond  = 253402300799 // 9999-12-31T23:59:59Z
	maxSeconds = 315576000000
)

func abs(n int64) int64 { return max(n, -n) }

func timeOf(m *Message) time.Time {
	return time.Unix(int64(m.slots[0].n), int64(m.slots[1].n)).UTC()
}

// short leaves out digits of the fraction in threes, as protobuf's JSON does.
func short(text, unit string) string {
	for range 3 {
		text = strings.TrimSuffix(text, "000")
	}
	return strings.TrimSuffix(text, ".") + unit
}
