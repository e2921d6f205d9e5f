package digest

import (
	"encoding/hex"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer/sniff"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Record is a transfer as a crossing's record has it: what streamed, held against
// what was declared.
func (s Sum) Record(t *transfer.Transfer, all []Declared) *crossingv1.Transfer {
	verdict, by := s.Judge(t, all)
	r := &crossingv1.Transfer{
		Id: t.ID.String(), Anonymous: anonymous(t.Anonymous), Direction: direction(t.Direction),
		Object: crossing.Object(t.Object), Extent: extent(t.Extent), Part: uint32(t.Part), Coded: t.Coded,
		ContentSha256: hex.EncodeToString(s.SHA256[:]), Digested: uint64(s.Bytes), Partial: s.partial(t),
		Declared: judged(verdict), DeclaredBy: by.By, Kind: s.Kind,
	}
	if t.Extent == transfer.Range || t.Extent == transfer.Whole {
		r.First = told(t.First)
	}
	r.Length, r.Size = told(t.Length), told(t.Size)
	if begins(t) {
		s.format(t, r)
	}
	if t.Lined && !t.Coded && t.Extent != transfer.None {
		lines := uint64(s.Lines) //nolint:gosec // not negative
		r.Lines = &lines
	}
	if by.Known && verdict != Match {
		r.DeclaredSha256 = hex.EncodeToString(by.SHA256[:])
	}
	return r
}

// begins says that the content begins where the object does, and is as it is there.
func begins(t *transfer.Transfer) bool {
	return !t.Coded && (t.First == 0 && (t.Extent == transfer.Whole || t.Extent == transfer.Range) || t.Extent == transfer.Part && t.Part == 1)
}

// format records what the object is.
func (s Sum) format(t *transfer.Transfer, r *crossingv1.Transfer) {
	file := s.Head.File(s.size(t))
	r.Format, r.Pickle, r.Inconsistent = file.Format, file.Pickle, file.Inconsistent
	if file.Counted {
		r.Tensors = &file.Tensors
	}
	if file.Counted && file.Format == sniff.Safetensors {
		r.Data, r.Dtypes = &file.Data, file.Dtypes.Names()
	}
}

// size is how long the object is, -1 if that is not known: a part alone does not tell.
func (s Sum) size(t *transfer.Transfer) int64 {
	if t.Size < 0 && t.Extent == transfer.Whole && !s.Partial {
		return s.Bytes
	}
	return t.Size
}

// told is a number of bytes, or 0 if there is none.
func told(n int64) uint64 { return uint64(max(n, 0)) }

func anonymous(a transfer.Anonymous) crossingv1.Transfer_Anonymous {
	return [...]crossingv1.Transfer_Anonymous{
		transfer.Identified:   crossingv1.Transfer_ANONYMOUS_UNSPECIFIED,
		transfer.NotAnswered:  crossingv1.Transfer_NOT_ANSWERED,
		transfer.NoValidator:  crossingv1.Transfer_NO_VALIDATOR,
		transfer.NoSize:       crossingv1.Transfer_NO_SIZE,
		transfer.UnclearQuery: crossingv1.Transfer_UNCLEAR_QUERY,
		transfer.BadRange:     crossingv1.Transfer_BAD_RANGE,
	}[a]
}

func direction(d transfer.Direction) crossingv1.Transfer_Direction {
	if d == transfer.Upload {
		return crossingv1.Transfer_UPLOAD
	}
	return crossingv1.Transfer_DOWNLOAD
}

func extent(e transfer.Extent) crossingv1.Transfer_Extent {
	return [...]crossingv1.Transfer_Extent{
		transfer.Unclear: crossingv1.Transfer_EXTENT_UNSPECIFIED,
		transfer.Whole:   crossingv1.Transfer_WHOLE,
		transfer.Range:   crossingv1.Transfer_RANGE,
		transfer.Ranges:  crossingv1.Transfer_RANGES,
		transfer.Part:    crossingv1.Transfer_PART,
		transfer.None:    crossingv1.Transfer_NONE,
	}[e]
}

func judged(v Verdict) crossingv1.Transfer_Verdict {
	return [...]crossingv1.Transfer_Verdict{
		NothingDeclared: crossingv1.Transfer_VERDICT_UNSPECIFIED,
		NotComparable:   crossingv1.Transfer_NOT_COMPARABLE,
		Match:           crossingv1.Transfer_MATCH,
		Mismatch:        crossingv1.Transfer_MISMATCH,
	}[v]
}
