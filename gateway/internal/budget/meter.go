package budget

import (
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
)

// account is what is counted of a caller under an intent.
type account struct {
	caller, intent string
	meters         []*meter
	index          int // in the ledger's list
}

// meter counts one thing of one account, in one window at a time.
type meter struct {
	account *account
	what    limits.What
	window  int64 // how long, in seconds
	start   int64 // of the window, in seconds since 1970

	before   int64   // what earlier processes of this gateway have used
	used     int64   // what this one has settled
	reserved int64   // what this one has reserved
	told     int64   // what the others may know of all that
	others   int64   // the sum of heard
	heard    []heard // what the others have used

	due time.Time // when the next slice is, if little is left

	changed bool // since it was told: it is in the ledger's list
}

// heard is what another gateway has used.
type heard struct {
	gateway string
	used    int64
}

// startOf is when the window of that length began that is now.
func startOf(now time.Time, window int64) int64 {
	s := now.Unix()
	return s - s%window
}

// roll begins a later window. A clock that goes back begins none.
func (m *meter) roll(start int64) {
	if start > m.start {
		m.start, m.before, m.used, m.reserved, m.told, m.others, m.heard = start, 0, 0, 0, 0, 0, m.heard[:0]
		m.due = time.Time{}
	}
}

func (m *meter) end() time.Time           { return time.Unix(m.start+m.window, 0) }
func (m *meter) ended(now time.Time) bool { return m.start+m.window <= now.Unix() }
func (m *meter) isShared() bool           { return m.window >= int64(shared/time.Second) }
func (m *meter) own() int64               { return sum(sum(m.before, m.used), m.reserved) }
func (m *meter) is(l limits.Limit) bool {
	return m.what == l.What && m.window == int64(l.Window/time.Second)
}

func (m *meter) use(used int64, by string) Use {
	return Use{
		Caller: m.account.caller, Intent: m.account.intent, What: m.what, Window: time.Duration(m.window) * time.Second,
		Start: time.Unix(m.start, 0).UTC(), Used: used, Gateway: by,
	}
}

// admits says whether there is room for so much more, under a limit that n gateways
// share; if not, why.
func (m *meter) admits(want, most, n int64) Why {
	own := m.own()
	if sum(sum(own, m.others), want) > most {
		return UsedUp
	}
	if own+want > m.share(most, n) && own > m.told {
		return ShareUsedUp
	}
	return 0
}

// share is how far this gateway goes until it hears of the n-1 others again.
func (m *meter) share(most, n int64) int64 {
	return m.told + max(most-sum(m.told, m.others), 0)/n
}

// hear takes in what another gateway has used.
func (m *meter) hear(gateway string, used int64) {
	i := 0
	for i < len(m.heard) && m.heard[i].gateway != gateway {
		i++
	}
	if i == len(m.heard) {
		m.heard = append(m.heard, heard{gateway: gateway})
	}
	m.heard[i].used = used
	m.others = 0
	for _, h := range m.heard {
		m.others = sum(m.others, h.used)
	}
}
