package capture

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

const (
	byUID    = "unix:uid:"
	byCgroup = "cgroup:"
)

// Selector is something that must hold of a process: its user, or its cgroup.
type Selector struct {
	uid    uint32
	cgroup string // "" if it is a user
}

// ParseSelector reads "unix:uid:1000" or "cgroup:/system.slice/agent.service". There
// is one text for each selector: numbers are decimal, and paths are clean.
func ParseSelector(text string) (Selector, error) {
	if number, is := strings.CutPrefix(text, byUID); is {
		uid, err := strconv.ParseUint(number, 10, 32)
		if err != nil || strconv.FormatUint(uid, 10) != number {
			return Selector{}, fmt.Errorf("%q: %q is not the number of a user", text, number)
		}
		return Selector{uid: uint32(uid)}, nil
	}
	if at, is := strings.CutPrefix(text, byCgroup); is {
		if !path.IsAbs(at) || path.Clean(at) != at || at == "/" || strings.ContainsRune(at, 0) {
			return Selector{}, fmt.Errorf("%q: %q is not the path of a cgroup below the root's, such as /system.slice/agent.service", text, at)
		}
		return Selector{cgroup: at}, nil
	}
	return Selector{}, fmt.Errorf("%q is neither %sNUMBER nor %s/PATH", text, byUID, byCgroup)
}

// String is the text that ParseSelector reads.
func (s Selector) String() string {
	if s.cgroup != "" {
		return byCgroup + s.cgroup
	}
	return byUID + strconv.FormatUint(uint64(s.uid), 10)
}
