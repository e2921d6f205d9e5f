package sealed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const gateway = "spiffe://onprem.demo/sallyport/gateway/onprem-1"

func noon() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func id(n int) string { return fmt.Sprintf("01a207e6-e4d8-7d3e-9a54-%012x", n) }

// part is one with that content, kept for a week from noon on.
func part(n int, content string) *controlv1.SealedPart {
	sum := sha256.Sum256([]byte(content))
	return &controlv1.SealedPart{
		Crossing: id(n), Gateway: gateway, Side: crossingv1.Side_EGRESS, Part: controlv1.SealedPart_REQUEST, Intent: "plan", Reviewer: "dpo",
		Key: "age1", Created: timestamppb.New(noon()), RetentionDays: 7, Bytes: uint64(len(content)), Sha256: hex.EncodeToString(sum[:]),
	}
}

// from gives a content in pieces of three bytes.
func from(content string) func() ([]byte, error) {
	all := slices.Collect(slices.Chunk([]byte(content), 3))
	return func() ([]byte, error) {
		if len(all) == 0 {
			return nil, io.EOF
		}
		piece := all[0]
		all = all[1:]
		return piece, nil
	}
}

func opened(t *testing.T, dir string, total int64) *Store {
	t.Helper()
	s, err := Open(dir, total)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, p *controlv1.SealedPart, content string) {
	t.Helper()
	if err := s.Put(p, from(content), noon()); err != nil {
		t.Fatal(err)
	}
}

func given(s *Store, p *controlv1.SealedPart) (string, error) {
	var b bytes.Buffer
	err := s.Give(p, func(piece []byte) error { b.Write(piece); return nil })
	return b.String(), err
}

func list(t *testing.T, s *Store, crossing string, now time.Time) []*controlv1.SealedPart {
	t.Helper()
	all, err := s.List(crossing, 100, now)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestKept: what was put is there, also for the next process.
func TestKept(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, 0)
	request, answer, other := part(1, "request"), part(1, "the answer"), part(2, "other")
	answer.Part, answer.Cut = controlv1.SealedPart_ANSWER, true
	put(t, s, other, "other")
	put(t, s, request, "request")
	put(t, s, answer, "the answer")
	if err := os.WriteFile(filepath.Join(dir, "onprem.demo/onprem-1/20261130", id(3)+".egress.request"+unfinished), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken := s.taken
	s = opened(t, dir, 0)
	if s.taken != taken || taken < 22 {
		t.Errorf("%d bytes are taken, and before it were %d", s.taken, taken)
	}
	of1 := list(t, s, id(1), noon())
	if len(of1) != 2 || !slices.ContainsFunc(of1, func(p *controlv1.SealedPart) bool { return proto.Equal(p, answer) }) {
		t.Errorf("of the first: %v", of1)
	}
	if all := list(t, s, "", noon()); len(all) != 3 || !proto.Equal(all[2], other) {
		t.Errorf("all: %v", all)
	}
	if last, err := s.List("", 1, noon()); err != nil || len(last) != 1 || !proto.Equal(last[0], other) {
		t.Errorf("the last: %v, %v", last, err)
	}
	for content, p := range map[string]*controlv1.SealedPart{"request": request, "the answer": answer} {
		if got, err := given(s, p); err != nil || got != content {
			t.Errorf("given %q, %v, want %q", got, err, content)
		}
	}
	if _, err := given(s, part(9, "x")); !errors.Is(err, ErrNotFound) {
		t.Errorf("a part that there is not: %v", err)
	}
}

// TestAgain: a part that comes again is taken for what it is, and no other one of its name.
func TestAgain(t *testing.T) {
	s := opened(t, t.TempDir(), 0)
	put(t, s, part(1, "request"), "request")
	taken := s.taken
	unread := func() ([]byte, error) { t.Error("it is read again"); return nil, io.EOF }
	if err := s.Put(part(1, "request"), unread, noon()); err != nil || s.taken != taken {
		t.Errorf("again: %v, %d bytes are taken", err, s.taken)
	}
	if err := s.Put(part(1, "another"), unread, noon()); !errors.Is(err, ErrOther) {
		t.Errorf("another one: %v", err)
	}
	if got, err := given(s, part(1, "request")); err != nil || got != "request" {
		t.Errorf("given %q, %v", got, err)
	}
}

// TestRefused: what does not come as it is said to be leaves nothing.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, 2000)
	long := strings.Repeat("x", 2001)
	broken := errors.New("the gateway left")
	for name, c := range map[string]struct {
		part *controlv1.SealedPart
		next func() ([]byte, error)
		want error
	}{
		"other bytes": {part(1, "request"), from("Request"), ErrInvalid},
		"fewer":       {part(1, "request"), from("reques"), ErrInvalid},
		"more":        {part(1, "request"), from("requests"), ErrInvalid},
		"none":        {part(1, "request"), from(""), ErrInvalid},
		"broken off":  {part(1, "request"), func() ([]byte, error) { return nil, broken }, broken},
		"no room":     {part(1, long), from(long), ErrFull},
	} {
		if err := s.Put(c.part, c.next, noon()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if s.taken != 0 || len(s.busy) != 0 || len(list(t, s, "", noon())) != 0 {
			t.Errorf("%s: %d bytes are taken", name, s.taken)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*/*/*/*"))
	if err != nil || len(files) != 0 {
		t.Errorf("there are %v, %v", files, err)
	}
	// While one is written, another of its name is not.
	err = s.Put(part(1, "request"), func() ([]byte, error) {
		if err := s.Put(part(1, "request"), from("request"), noon()); !errors.Is(err, ErrFull) {
			t.Errorf("twice at a time: %v", err)
		}
		return nil, broken
	}, noon())
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	put(t, s, part(1, "request"), "request")
}

// TestDamaged: nothing is given of what is not whole, and it hides nothing else.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, 0)
	put(t, s, part(1, "request"), "request")
	put(t, s, part(2, "request"), "request")
	path := s.path(part(1, "request"))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoilt := range map[string][]byte{
		"a bit": append(bytes.Clone(text[:len(text)-1]), text[len(text)-1]^1), "shorter": text[:len(text)-1], "longer": append(bytes.Clone(text), 'x'),
	} {
		if err := os.WriteFile(path, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := given(s, part(1, "request")); err == nil || got != "" {
			t.Errorf("%s: given %q, %v", name, got, err)
		}
	}
	for name, spoilt := range map[string][]byte{"nothing": {}, "no length": text[:2], "no head": text[:20], "endless head": {255, 255, 255, 255}} {
		if err := os.WriteFile(path, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		if all, err := s.List("", 10, noon()); err == nil || len(all) != 1 {
			t.Errorf("%s: listed %v, %v", name, all, err)
		}
	}
}

// TestExpires: after its retention a part is not shown, and soon it is not there.
func TestExpires(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, 0)
	week, year := part(1, "week"), part(2, "year")
	year.RetentionDays = 365
	put(t, s, week, "week")
	put(t, s, year, "year")
	over := noon().AddDate(0, 0, 7)
	for _, c := range []struct {
		now           time.Time
		listed, files int
	}{
		{over.Add(-time.Second), 2, 2}, {over, 1, 2}, {over.Add(12 * time.Hour), 1, 1}, {noon().AddDate(2, 0, 0), 0, 0},
	} {
		if err := s.Expire(c.now); err != nil {
			t.Error(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*/*/*/*"))
		if listed := list(t, s, "", c.now); err != nil || len(listed) != c.listed || len(files) != c.files {
			t.Errorf("at %v: %d listed of %d files, want %d of %d", c.now, len(listed), len(files), c.listed, c.files)
		}
	}
	if s.taken != 0 {
		t.Errorf("%d bytes are taken", s.taken)
	}
	if err := s.Put(week, from("week"), over); err != nil || len(list(t, s, "", noon())) != 0 {
		t.Errorf("what is over is kept: %v", err)
	}
}

func TestCheck(t *testing.T) {
	type p = *controlv1.SealedPart
	self, err := spiffeid.FromString(gateway)
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(part(1, "x"), self, noon()); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(p){
		"no crossing's id": func(p p) { p.Crossing = "../../x" },
		"and comes from":   func(p p) { p.Gateway = "spiffe://azure.demo/sallyport/gateway/azure-1" },
		"of no side":       func(p p) { p.Side = 7 },
		"neither a":        func(p p) { p.Part = 0 },
		"no intent":        func(p p) { p.Intent = "" },
		"no reviewer":      func(p p) { p.Reviewer = "" },
		"endless":          func(p p) { p.Key = strings.Repeat("x", maxText+1) },
		"not come":         func(p p) { p.Created = timestamppb.New(noon().Add(2 * skew)) },
		"for 0 days":       func(p p) { p.RetentionDays = 0 },
		"for 3651 days":    func(p p) { p.RetentionDays = 3651 },
		"has 0 bytes":      func(p p) { p.Bytes = 0 },
		"bytes":            func(p p) { p.Bytes = maxPart + 1 },
	} {
		p := part(1, "x")
		spoil(p)
		if err := Check(p, self, noon()); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("Check() = %v, want %q", err, want)
		}
	}
	if err := Check(nil, self, noon()); !errors.Is(err, ErrInvalid) {
		t.Errorf("Check(nil) = %v", err)
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add(append(head(part(1, "x")), 'x'))
	f.Add([]byte{0, 0, 16, 1})
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := parseHead(bytes.NewReader(text)); err == nil && p == nil {
			t.Errorf("parseHead(%x) is nothing", text)
		}
	})
}
