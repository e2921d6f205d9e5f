package recorder

import (
	"errors"
	"fmt"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/spool"
)

// A place names a frame for the books, in one number: the index of its run's directory
// in this process, from 1, and the position of its entry.
const (
	// placeOffset is enough for the offset in a segment, which ends with the group that
	// made it large enough; placeSegment for a hundred years of full segments.
	placeOffset, placeSegment = 25, 29
	// mostRuns is how many directories may be seen while a process lives.
	mostRuns = 1<<(64-placeOffset-placeSegment) - 1
)

// errNoFrame says that there is no frame at a place.
var errNoFrame = errors.New("no frame there")

// errRuns says that there were too many runs.
var errRuns = fmt.Errorf("more than %d runs beside this one", mostRuns-1)

func place(index uint64, at spool.Position) uint64 {
	return index<<(placeOffset+placeSegment) | uint64(at.Segment())<<placeOffset | uint64(at.Offset())
}

func placed(at uint64) (index uint64, p spool.Position) {
	segment := uint32(at >> placeOffset & (1<<placeSegment - 1))
	return at >> (placeOffset + placeSegment), spool.At(segment, int64(at&(1<<placeOffset-1)))
}
