package render

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Question is one of the five questions that a security team has, and its answer now.
type Question struct {
	// Number of it, from 1.
	Number int `json:"number"`
	// Question in words.
	Question string `json:"question"`
	// Answer is a number or a word; "unknown" if it cannot be told.
	Answer string `json:"answer"`
	// Detail says what the answer rests on.
	Detail string `json:"detail"`
	// Bad says that the answer is not the one that it should be.
	Bad bool `json:"bad,omitempty"`
}

// Unknown is the answer to what cannot be told.
const Unknown = "unknown"

// Answers are the answers to the five questions, from what crossed and what is unmatched.
func Answers(transitions []*controlv1.TransitionStatus, findings []*controlv1.Finding) []Question {
	return []Question{
		traced(transitions, findings),
		owned(transitions),
		{3, "Policy languages to prove segmentation", Unknown, "no layer but the gateways is translated or proven yet", false},
		{4, "Signals joined across environments", Unknown, "no signals of other sources are taken yet, so there are no incidents", false},
		whole(transitions, findings),
	}
}

// traced: one tool shows each crossing whole, unless something is unmatched.
func traced(transitions []*controlv1.TransitionStatus, findings []*controlv1.Finding) Question {
	q := Question{Number: 1, Question: "Systems to open to trace a request", Answer: "1"}
	var crossings uint64
	var silent []string
	for _, t := range transitions {
		crossings += t.GetAllowed() + t.GetDenied()
		if t.GetStatements().GetSilent() != nil {
			silent = append(silent, Pair(t.GetFrom(), t.GetTo()))
		}
	}
	sure := certain(findings)
	q.Bad = len(sure) > 0
	q.Detail = fmt.Sprintf("%s, %d unmatched", plural(crossings, "crossing"), len(sure))
	if open := len(findings) - len(sure); open > 0 {
		q.Answer, q.Detail = Unknown, q.Detail+fmt.Sprintf(", %d that may still be", open)
	}
	if len(findings) > 0 {
		q.Detail += ": sallyport unmatched"
	}
	if len(silent) > 0 {
		q.Answer, q.Detail = Unknown, q.Detail+"; silent: "+strings.Join(silent, ", ")
	}
	q.Detail += "; what goes around the gateways is not looked for yet"
	return q
}

// certain are the findings that nothing which still comes will undo.
func certain(findings []*controlv1.Finding) (sure []*controlv1.Finding) {
	for _, f := range findings {
		if !f.GetUncertain() {
			sure = append(sure, f)
		}
	}
	return sure
}

// owned: no transition is open without an owner.
func owned(transitions []*controlv1.TransitionStatus) Question {
	var open, without int
	var next *controlv1.TransitionStatus
	for _, t := range transitions {
		if !t.GetOpen() {
			continue
		}
		open++
		if t.GetOwner() == "" {
			without++
		}
		if t.GetReviewBy() != "" && (next == nil || t.GetReviewBy() < next.GetReviewBy()) {
			next = t
		}
	}
	q := Question{Number: 2, Question: "Open transitions without an owner", Answer: count(uint64(without)), Bad: without > 0}
	q.Detail = fmt.Sprintf("of %d open, %d shut", open, len(transitions)-open)
	if next != nil {
		q.Detail += fmt.Sprintf("; next review %s %s (%s)", next.GetReviewBy(), Pair(next.GetFrom(), next.GetTo()), next.GetOwner())
	}
	return q
}

// whole: every team sees both ends of its crossings.
func whole(transitions []*controlv1.TransitionStatus, findings []*controlv1.Finding) Question {
	half, awaited := map[string]int{}, uint64(0)
	for _, f := range findings {
		switch {
		case f.GetKind() != controlv1.Finding_ONE_SIDED && f.GetKind() != controlv1.Finding_LOST:
		case f.GetUncertain():
			awaited++
		default:
			half[f.GetTransition().GetOwner()]++
		}
	}
	owners := map[string]bool{}
	for _, t := range transitions {
		if t.GetOwner() != "" {
			owners[t.GetOwner()] = true
		}
	}
	q := Question{Number: 5, Question: "Teams that see only their own layer", Answer: count(uint64(len(half))), Bad: len(half) > 0}
	if len(half) == 0 && awaited > 0 {
		q.Answer, q.Detail = Unknown, "the other end of "+plural(awaited, "crossing")+" may still come: sallyport unmatched"
		return q
	}
	if len(half) == 0 {
		q.Detail = "every owner sees both ends of its crossings: " + strings.Join(slices.Sorted(maps.Keys(owners)), ", ")
		return q
	}
	var which []string
	for _, owner := range slices.Sorted(maps.Keys(half)) {
		which = append(which, fmt.Sprintf("%s (%s)", cmp.Or(owner, "nobody"), plural(uint64(half[owner]), "crossing")))
	}
	q.Detail = "one end is missing to " + strings.Join(which, ", ")
	return q
}

// Questions writes the questions and their answers, and how many cannot be told.
func Questions(w io.Writer, all []Question) error {
	g := NewGrid()
	unknown := 0
	for _, q := range all {
		g.Row(fmt.Sprint(q.Number), q.Question, q.Answer, q.Detail)
		if q.Answer == Unknown {
			unknown++
		}
	}
	if err := g.Flush(w); err != nil {
		return err
	}
	if unknown == 0 {
		return nil
	}
	verb := "are"
	if unknown == 1 {
		verb = "is"
	}
	_, err := fmt.Fprintf(w, "%s %s unknown\n", plural(uint64(unknown), "answer"), verb)
	return err
}

// plural is a number of things.
func plural(n uint64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// Ownership is who answers for a transition, and where its records land.
type Ownership struct {
	Status *controlv1.TransitionStatus
	Policy *policyv1.Policy
	Serial uint64
	Now    time.Time
	// LastDay is what crossed it in the last 24 hours.
	LastDay Tally
}

// Value is it for scripts: the transition, and lastDay.
func (o Ownership) Value() Object {
	return append(Message(o.Status), Member{"lastDay", Object{
		{"allowed", Number(o.LastDay.crossed)}, {"denied", Number(o.LastDay.denied)}, {"unmatched", Number(o.LastDay.unmatched)}, {"bytes", Number(o.LastDay.bytes)},
	}})
}

// Owner writes who answers for a transition.
func Owner(w io.Writer, o Ownership) error {
	t := o.Status
	g := NewGrid().Indent()
	if _, err := fmt.Fprintln(w, Pair(t.GetFrom(), t.GetTo())); err != nil {
		return err
	}
	if !t.GetOpen() {
		g.Row("shut", "the policy has no such transition: nothing crosses, and nobody has to answer for it")
		from, to := o.Policy.GetEnvironments()[t.GetFrom()].GetOwner(), o.Policy.GetEnvironments()[t.GetTo()].GetOwner()
		g.Row("ask", fmt.Sprintf("%s, who owns %s, and %s, who owns %s, to open it", from, t.GetFrom(), to, t.GetTo()))
	} else {
		g.Row("owner", withContact(t.GetOwner(), o.Policy.GetTeams()[t.GetOwner()].GetContact()))
		g.Row("sink", sink(t.GetSink(), o.Policy.GetSinks()[t.GetSink()]))
		g.Row("review", reviewed(t.GetReviewBy(), o.Now))
	}
	g.Row("policy", inForce(o.Serial, t.GetSinceSerial()))
	g.Row("last 24 h", fmt.Sprintf("%d allowed, %d denied, %d unmatched; %s", o.LastDay.crossed, o.LastDay.denied, o.LastDay.unmatched, Size(o.LastDay.bytes)))
	g.Row("in all", fmt.Sprintf("%d allowed, %d of them failed; %d denied; %d unmatched", t.GetAllowed(), t.GetFailed(), t.GetDenied(), t.GetUnmatched()))
	return g.Flush(w)
}

// inForce names the policy in force, and since which one it says so.
func inForce(serial, since uint64) string {
	text := fmt.Sprintf("serial %d", serial)
	if since != 0 {
		text += fmt.Sprintf(", so since serial %d", since)
	}
	return text
}

func withContact(team, contact string) string {
	if contact == "" {
		return team
	}
	return team + ", " + contact
}

// sink is where records land, in words.
func sink(name string, s *policyv1.Sink) string {
	if s.GetStore() != "" {
		return name + ", the mesh's own store: sallyport crossings"
	}
	return name
}

// reviewed is when the owner has to look at it again.
func reviewed(by string, now time.Time) string {
	at, err := time.Parse(time.DateOnly, by)
	if err != nil {
		return "no date"
	}
	days := int(at.Sub(now).Hours()/24) + 1
	if days <= 0 {
		return by + ", overdue"
	}
	return fmt.Sprintf("%s, in %s", by, plural(uint64(days), "day"))
}

// Tally is what crossed from one environment to another.
type Tally struct{ crossed, denied, unmatched, bytes uint64 }

// Matrix writes what crossed from each environment to each other one, and who talked most.
func Matrix(w io.Writer, transitions []*controlv1.TransitionStatus, m *controlv1.GetMatrixResponse) error {
	names, open, sums := map[string]bool{}, map[[2]string]bool{}, map[[2]string]*Tally{}
	for _, t := range transitions {
		names[t.GetFrom()], names[t.GetTo()] = true, true
		open[[2]string{t.GetFrom(), t.GetTo()}] = t.GetOpen()
	}
	for _, c := range m.GetCells() {
		names[c.GetFrom()], names[c.GetTo()] = true, true
		key := [2]string{c.GetFrom(), c.GetTo()}
		if sums[key] == nil {
			sums[key] = new(Tally)
		}
		sums[key].Add(c)
	}
	order := slices.Sorted(maps.Keys(names))
	header := []string{"FROM \\ TO"}
	for _, name := range order {
		header = append(header, orQuestion(name))
	}
	g := NewGrid(header...)
	for _, from := range order {
		row := []string{orQuestion(from)}
		for _, to := range order {
			key := [2]string{from, to}
			row = append(row, sums[key].cell(open[key], from == to))
		}
		g.Row(row...)
	}
	if err := g.Flush(w); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, "crossed / denied, bytes, and !unmatched; shut: the policy has no such transition"); err != nil {
		return err
	}
	return talkers(w, m.GetTalkers())
}

// Add adds a class of crossings.
func (t *Tally) Add(c *controlv1.MatrixCell) {
	if c.GetDenied() {
		t.denied += c.GetCrossings()
	} else {
		t.crossed += c.GetCrossings()
	}
	if s := c.GetState(); s == crossingv1.Record_ONE_SIDED || s == crossingv1.Record_DISAGREE {
		t.unmatched += c.GetCrossings()
	}
	t.bytes += c.GetRequestBytes() + c.GetResponseBytes()
}

func (t *Tally) cell(open, same bool) string {
	switch {
	case t == nil && same:
		return "·"
	case t == nil && open:
		return "0"
	case t == nil:
		return "shut"
	}
	text := fmt.Sprintf("%d / %d, %s", t.crossed, t.denied, Size(t.bytes))
	if t.unmatched > 0 {
		text += fmt.Sprintf(" !%d", t.unmatched)
	}
	return text
}

// talkers writes who talked most.
func talkers(w io.Writer, all []*controlv1.Talker) error {
	if len(all) == 0 {
		return nil
	}
	g := NewGrid("SOURCE", "DESTINATION", "CROSSINGS", "DENIED", "THERE", "BACK")
	for _, t := range all {
		g.Row(t.GetSource(), orQuestion(t.GetDestination()), count(t.GetCrossings()), count(t.GetDenied()), Size(t.GetRequestBytes()), Size(t.GetResponseBytes()))
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return g.Flush(w)
}
