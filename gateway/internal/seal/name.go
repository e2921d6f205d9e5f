package seal

import (
	"strconv"
	"strings"
	"time"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// state of a part's file.
type state string

const (
	open      state = "open"
	whole     state = "whole"
	cut       state = "cut"
	brokenOff state = "broken"
	refused   state = "refused" // the control plane does not take it
	none      state = ""        // it had no content, and is not kept
)

// name is that of a part's file: CROSSING.SIDE.PART.UNTIL.STATE. So it is known when it is
// to be deleted, whatever is in it.
type name struct {
	stem  string // CROSSING.SIDE.PART
	until int64  // seconds since 1970
	state state
}

func nameOf(meta *controlv1.SealedPart) name {
	until := meta.GetCreated().AsTime().AddDate(0, 0, int(meta.GetRetentionDays()))
	return name{
		stem:  meta.GetCrossing() + "." + strings.ToLower(meta.GetSide().String()) + "." + strings.ToLower(meta.GetPart().String()),
		until: until.Unix(), state: open,
	}
}

// String is the name.
func (n name) String() string {
	return n.stem + "." + strconv.FormatInt(n.until, 10) + "." + string(n.state)
}

// parseName reads a name; false if it is none.
func parseName(text string) (n name, ok bool) {
	fields := strings.Split(text, ".")
	if len(fields) != 5 {
		return n, false
	}
	until, err := strconv.ParseInt(fields[3], 10, 64)
	n = name{strings.Join(fields[:3], "."), until, state(fields[4])}
	return n, err == nil && n.String() == text
}

func (n name) as(s state) name {
	n.state = s
	return n
}

// over says that the file's retention is.
func (n name) over(now time.Time) bool { return now.Unix() >= n.until }
