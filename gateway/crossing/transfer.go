package crossing

import (
	"errors"
	"fmt"
	"strings"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// maxObject bounds transfer.object, in bytes.
	maxObject = 512
	// maxDeclaredBy bounds transfer.declared_by, the name of a field, in bytes.
	maxDeclaredBy = 64
)

// Object is an object's name as a record has it: visible ASCII, other characters
// escaped, and cut. Two that are cut alike are told apart by their transfers' ids.
func Object(s string) string {
	s = escaped(s)
	return s[:min(len(s), maxObject)]
}

// checkTransfer holds what an end says of what was moved.
func checkTransfer(t *crossingv1.Transfer) error {
	if t == nil {
		return nil
	}
	identified := t.GetAnonymous() == crossingv1.Transfer_ANONYMOUS_UNSPECIFIED
	switch {
	case identified && !lowerHex(t.GetId(), 32), !identified && t.GetId() != "":
		return fmt.Errorf("transfer id %.64q beside the reason %s to have none", t.GetId(), t.GetAnonymous())
	case t.GetDirection() == crossingv1.Transfer_DIRECTION_UNSPECIFIED:
		return errors.New("the transfer has no direction")
	case t.GetObject() == "" || len(t.GetObject()) > maxObject || !visible(t.GetObject()):
		return errors.New("transfer.object is not short, visible ASCII")
	case !isSHA256(t.GetContentSha256()):
		return errors.New("the transfer has no digest of its content")
	case !areWords(t.GetFormat(), t.GetKind()) || !areWords(t.GetDtypes()...):
		return errWord
	}
	return checkDeclared(t)
}

// checkDeclared holds a verdict and what it is on together.
func checkDeclared(t *crossingv1.Transfer) error {
	by, sum := t.GetDeclaredBy(), t.GetDeclaredSha256()
	fits := false
	switch t.GetDeclared() {
	case crossingv1.Transfer_VERDICT_UNSPECIFIED:
		return need(by == "" && sum == "", "a declaration without a verdict on it")
	case crossingv1.Transfer_NOT_COMPARABLE:
		fits = sum == "" || isSHA256(sum)
	case crossingv1.Transfer_MATCH:
		fits = sum == ""
	case crossingv1.Transfer_MISMATCH:
		fits = isSHA256(sum) && sum != t.GetContentSha256()
	}
	return need(fits && by != "" && len(by) <= maxDeclaredBy && visible(by), "a verdict on another declaration than there is")
}

func need(holds bool, otherwise string) error {
	if holds {
		return nil
	}
	return errors.New(otherwise)
}

// isSHA256 says that s is a SHA-256 in lower-case hex. What is declared may be any,
// all zeros too.
func isSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// transferDifferences names where two ends differ in what was moved. Of a transfer
// that broke off neither knows what reached the other; which one it was, both know.
func transferDifferences(egress, ingress *crossingv1.Close, differ func(field string, differs bool)) {
	e, i := egress.GetTransfer(), ingress.GetTransfer()
	done := egress.GetCause() == crossingv1.Cause_DONE && ingress.GetCause() == crossingv1.Cause_DONE
	if e == nil || i == nil {
		differ("transfer", done && e != i)
		return
	}
	if done || e.GetId() != "" && i.GetId() != "" {
		differ("transfer.id", e.GetId() != i.GetId())
		differ("transfer.extent", e.GetExtent() != i.GetExtent())
		differ("transfer.first", e.GetFirst() != i.GetFirst())
	}
	if done {
		differ("transfer.contentSha256", e.GetContentSha256() != i.GetContentSha256())
		differ("transfer.digested", e.GetDigested() != i.GetDigested())
	}
}
