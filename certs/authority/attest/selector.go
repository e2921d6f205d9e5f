package attest

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Kind is what a selector looks at. Kinds are ordered by what it costs to know.
type Kind uint8

// Kinds of selectors; those of unix are named as SPIRE's workload attestor "unix"
// names them.
const (
	UID              Kind = iota + 1 // unix:uid:1000
	GID                              // unix:gid:1000
	SupplementaryGID                 // unix:supplementary_gid:27
	Cgroup                           // cgroup:/system.slice/agent.service, and what is below it
	Path                             // unix:path:/usr/bin/agent
	SHA256                           // unix:sha256:HEX, of the program's file
)

// prefixes are how selectors of a kind begin.
var prefixes = map[Kind]string{
	UID: "unix:uid:", GID: "unix:gid:", SupplementaryGID: "unix:supplementary_gid:",
	Cgroup: "cgroup:", Path: "unix:path:", SHA256: "unix:sha256:",
}

// String is how selectors of that kind begin, without the colon.
func (k Kind) String() string { return strings.TrimSuffix(prefixes[k], ":") }

// Selector is one thing that is asked of a process.
type Selector struct {
	kind   Kind
	number uint32 // of UID, GID and SupplementaryGID
	text   string // of the others
}

// Kind is what the selector looks at.
func (s Selector) Kind() Kind { return s.kind }

// String is the selector as it is written.
func (s Selector) String() string {
	if s.kind <= SupplementaryGID {
		return prefixes[s.kind] + strconv.FormatUint(uint64(s.number), 10)
	}
	return prefixes[s.kind] + s.text
}

// Parse reads a selector.
func Parse(text string) (Selector, error) {
	for kind, prefix := range prefixes {
		if value, ok := strings.CutPrefix(text, prefix); ok {
			s, err := parseValue(kind, value)
			if err != nil {
				return Selector{}, fmt.Errorf("selector %q: %w", text, err)
			}
			return s, nil
		}
	}
	return Selector{}, fmt.Errorf("selector %q: it begins with none of %s", text,
		strings.Join(slices.Sorted(maps.Values(prefixes)), ", "))
}

func parseValue(kind Kind, value string) (Selector, error) {
	switch kind {
	case UID, GID, SupplementaryGID:
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil || strconv.FormatUint(n, 10) != value { // one way to write each
			return Selector{}, errors.New("want a number")
		}
		return Selector{kind: kind, number: uint32(n)}, nil
	case SHA256:
		digest, err := hex.DecodeString(value)
		if err != nil || len(digest) != 32 || hex.EncodeToString(digest) != value {
			return Selector{}, errors.New("want 64 digits of lower-case hex")
		}
	default:
		if !path.IsAbs(value) || path.Clean(value) != value || strings.ContainsFunc(value, unprintable) {
			return Selector{}, errors.New("want an absolute path in its shortest form")
		}
	}
	return Selector{kind: kind, text: value}, nil
}

func unprintable(r rune) bool { return r < ' ' || r == 0x7f }

// Selectors are what is asked of a process: that its user is one of UIDs, if any
// are given, and every one of All.
type Selectors struct {
	UIDs []uint32
	All  []Selector
}

// ParseAll reads selectors and checks that they can be attested on this system and
// say enough. All faults are told at once.
func ParseAll(uids []uint32, texts []string) (Selectors, error) {
	s := Selectors{UIDs: uids}
	var faults []error
	for _, text := range texts {
		one, err := Parse(text)
		if err == nil {
			err = supported(one.kind)
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		s.All = append(s.All, one)
	}
	slices.SortStableFunc(s.All, func(a, b Selector) int { return cmp.Compare(a.kind, b.kind) })
	if len(faults) == 0 && !s.sayWhose() {
		faults = append(faults, errors.New("selectors say which program and not whose: anybody here may run it: "+
			"add unix:uid, unix:gid, unix:supplementary_gid or cgroup"))
	}
	return s, errors.Join(faults...)
}

// sayWhose says that something is asked which a user cannot choose: whoever may
// run a program may also make it do what it was not written for.
func (s *Selectors) sayWhose() bool {
	return len(s.UIDs) > 0 || slices.ContainsFunc(s.All, func(one Selector) bool { return one.kind < Path })
}

// OnlyUID says that no other user than that one can match.
func (s *Selectors) OnlyUID(uid uint32) bool {
	if len(s.UIDs) > 0 && !slices.ContainsFunc(s.UIDs, func(u uint32) bool { return u != uid }) {
		return true
	}
	return slices.ContainsFunc(s.All, func(one Selector) bool { return one.kind == UID && one.number == uid })
}
