package render

import (
	"fmt"
	"strings"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// transfer adds the rows of what one gateway saw moved: which object and bytes, under
// which id and with what digest, and how that compares with what was declared.
func transfer(g *Grid, t *crossingv1.Transfer) {
	if t == nil {
		return
	}
	g.Row("", direction(t)+" of "+t.GetObject()+": "+extent(t))
	id := "transfer " + t.GetId()
	if t.GetId() == "" {
		id = "transfer without id, " + anonymous(t.GetAnonymous())
	}
	g.Row("", id)
	g.Row("", "sha256 "+t.GetContentSha256()+digested(t))
	if by := t.GetDeclaredBy(); by != "" {
		g.Row("", declared(t))
	}
}

func direction(t *crossingv1.Transfer) string {
	if t.GetDirection() == crossingv1.Transfer_UPLOAD {
		return "upload"
	}
	return "download"
}

// extent is which bytes of the object the content is, if all of it passes.
func extent(t *crossingv1.Transfer) string {
	size := ""
	if t.GetSize() > 0 {
		size = fmt.Sprintf(" of %d", t.GetSize())
	}
	switch t.GetExtent() {
	case crossingv1.Transfer_WHOLE:
		return "all" + size
	case crossingv1.Transfer_RANGE:
		if t.GetLength() == 0 {
			return fmt.Sprintf("bytes from %d%s", t.GetFirst(), size)
		}
		return fmt.Sprintf("bytes %d-%d%s", t.GetFirst(), t.GetFirst()+t.GetLength()-1, size)
	case crossingv1.Transfer_RANGES:
		return "several ranges" + size
	case crossingv1.Transfer_PART:
		return fmt.Sprintf("part %d", t.GetPart())
	case crossingv1.Transfer_NONE:
		return "none of its bytes"
	}
	return "unclear how much of it"
}

func anonymous(a crossingv1.Transfer_Anonymous) string {
	switch a {
	case crossingv1.Transfer_NOT_ANSWERED:
		return "not answered"
	case crossingv1.Transfer_NO_VALIDATOR:
		return "no strong validator"
	case crossingv1.Transfer_NO_SIZE:
		return "no size beside a date"
	case crossingv1.Transfer_UNCLEAR_QUERY:
		return "the query is not clear"
	case crossingv1.Transfer_BAD_RANGE:
		return "a contradictory range"
	}
	return "reason " + a.String() // of a newer schema
}

func digested(t *crossingv1.Transfer) string {
	text := fmt.Sprintf(" of %d B", t.GetDigested())
	if t.GetCoded() {
		text += " as coded"
	}
	if t.GetPartial() {
		text += ", partial"
	}
	if t.Lines != nil {
		text += fmt.Sprintf(", %d lines", t.GetLines())
	}
	return text + format(t)
}

// format is what the object is by its first bytes: ", gguf with 291 tensors"; or by all of
// them, if it is a manifest.
func format(t *crossingv1.Transfer) string {
	if kind := t.GetKind(); kind != "" {
		return ", a manifest: " + kind
	}
	if t.GetFormat() == "" {
		return ""
	}
	text := ", " + t.GetFormat()
	if t.Tensors != nil {
		text += fmt.Sprintf(" with %d tensors", t.GetTensors())
	}
	if t.Data != nil {
		text += fmt.Sprintf(" of %d B", t.GetData())
	}
	if len(t.GetDtypes()) > 0 {
		text += " in " + strings.Join(t.GetDtypes(), ", ")
	}
	if t.GetInconsistent() {
		text += ", inconsistent"
	}
	if t.GetPickle() && t.GetFormat() != "pickle" {
		text += ", a pickle"
	}
	return text
}

func declared(t *crossingv1.Transfer) string {
	text := t.GetDeclaredBy() + ": " + t.GetDeclared().String()
	if sum := t.GetDeclaredSha256(); sum != "" {
		text += ", it declares " + sum
	}
	return text
}

// altered says that a gateway saw other content than was declared.
func altered(all []*crossingv1.End) bool {
	for _, e := range all {
		if e.GetTransfer().GetDeclared() == crossingv1.Transfer_MISMATCH {
			return true
		}
	}
	return false
}
