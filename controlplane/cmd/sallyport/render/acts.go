package render

import (
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/act"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// Acts writes the table of `acts`.
func Acts(w io.Writer, acts []*controlv1.ActStatus) error {
	g := NewGrid("ACT", "SUBJECT", "STATE", "MADE", "AUTHOR", "REVIEW BY", "APPLIED AT", "BEHIND", "REASON")
	for _, s := range acts {
		said := s.GetAct()
		g.Row(act.Short(s.GetId()), said.GetSubject(), actState(s), moment(said.GetMade()), Name(said.GetAuthor()), review(s),
			fmt.Sprintf("%d of %d", len(s.GetApplied()), len(s.GetApplied())+len(s.GetBehind())), strings.Join(s.GetBehind(), ", "), said.GetReason())
	}
	return g.Flush(w)
}

// actState is what an act does now.
func actState(s *controlv1.ActStatus) string {
	switch {
	case s.GetAct().GetKind() == policyv1.Act_LIFT:
		return "lifts " + act.Short(s.GetAct().GetLifts())
	case s.GetLiftedBy() != "":
		return "lifted by " + act.Short(s.GetLiftedBy())
	case s.GetAct().GetMade() == nil:
		return "recorded, not stored"
	case s.GetAct().GetKind() == policyv1.Act_REVOKE_GATEWAY:
		return "revoked"
	}
	return "quarantined"
}

func review(s *controlv1.ActStatus) string {
	if s.GetOverdue() {
		return s.GetAct().GetReviewBy() + " overdue"
	}
	return s.GetAct().GetReviewBy()
}

func moment(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

// Act writes all of one act: a line for each thing that it says, and one for each
// gateway with the time at which it applied it.
func Act(w io.Writer, s *controlv1.ActStatus) error {
	said := s.GetAct()
	g := NewGrid("ACT", s.GetId())
	for _, row := range [][2]string{
		{"subject", said.GetSubject()},
		{"state", actState(s)},
		{"reason", said.GetReason()},
		{"author", said.GetAuthor()},
		{"signed with", strings.Join(s.GetKeys(), ", ")},
		{"made", moment(said.GetMade())},
		{"review by", review(s)},
	} {
		if row[1] != "" {
			g.Row(row[0], row[1])
		}
	}
	for _, a := range s.GetApplied() {
		g.Row("applied at "+a.GetGateway(), a.GetAt().AsTime().UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	for _, name := range s.GetBehind() {
		g.Row("behind", name)
	}
	return g.Flush(w)
}
