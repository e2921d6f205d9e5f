package seal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk/disktest"
	"github.com/sallyport-mesh/sallyport/gateway/policy/kept"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	id1 = "01a207e6-e4d8-7d3e-9a54-000000000001"
	id2 = "01a207e6-e4d8-7d3e-9a54-000000000002"
	gw  = "spiffe://onprem.demo/sallyport/gateway/onprem-1"

	prompt = "the prompt, which nobody but the reviewer reads"
	answer = "the answer, which nobody but the reviewer reads"
)

// reviewer is one with a key.
type reviewer struct{ *age.X25519Identity }

func newReviewer(t testing.TB) reviewer {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return reviewer{identity}
}

func (r reviewer) sealed(days int) kept.Content {
	return kept.Content{Intent: "plan", How: kept.Sealed, Reviewer: "dpo", Key: r.Recipient().String(), Days: days}
}

// reads is what a file has for the reviewer.
func (r reviewer) reads(t testing.TB, sealed []byte) string {
	t.Helper()
	clear, err := age.Decrypt(bytes.NewReader(sealed), r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(clear)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// opened is a Sealer over a disk in memory.
func opened(t testing.TB, sys disk.System, change func(*Config)) *Sealer {
	t.Helper()
	cfg := Config{Dir: "/state", Gateway: gw, Disk: sys}
	if change != nil {
		change(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func begin(t testing.TB, s *Sealer, id string, what kept.Content) *Content {
	t.Helper()
	c, err := s.Begin(id, crossingv1.Side_EGRESS, what)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// keep keeps a crossing as a whole.
func keep(t testing.TB, s *Sealer, id string, what kept.Content, request, answer string) Summary {
	t.Helper()
	c := begin(t, s, id, what)
	if err := errors.Join(c.Request([]byte(request)), c.Answer([]byte(answer))); err != nil {
		t.Fatal(err)
	}
	return c.Close()
}

// parts are the files of a Sealer by their names without the time, and what they are of.
func parts(t testing.TB, s *Sealer) map[string][]byte {
	t.Helper()
	all, err := s.sys.List(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, e := range all {
		n, ok := parseName(e.Name)
		if !ok {
			continue
		}
		text, err := disk.ReadFile(s.sys, n.in(s.dir))
		if err != nil {
			t.Fatal(err)
		}
		_, sealed, err := parse(text)
		if err != nil {
			t.Fatal(err)
		}
		out[n.stem+"."+string(n.state)] = sealed
	}
	return out
}

func (s *Sealer) taken() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.room.taken
}

// TestSealed: what passed is there, for the reviewer alone, on a real disk.
func TestSealed(t *testing.T) {
	dir, dpo := t.TempDir(), newReviewer(t)
	s := opened(t, nil, func(c *Config) { c.Dir, c.Disk = dir, nil })
	long := strings.Repeat("many words. ", 50_000)
	c := begin(t, s, id1, dpo.sealed(30))
	for piece := range strings.SplitAfterSeq(long, ". ") {
		if err := c.Request([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Answer([]byte(answer)); err != nil {
		t.Fatal(err)
	}
	got := c.Close()
	if again := c.Close(); again != (Summary{}) {
		t.Errorf("closed again it says %+v", again)
	}
	s.settle()
	all := parts(t, s)
	request, reply := all[id1+".egress.request.whole"], all[id1+".egress.answer.whole"]
	if len(all) != 2 || dpo.reads(t, request) != long || dpo.reads(t, reply) != answer {
		t.Fatalf("it has %d files", len(all))
	}
	for part, of := range map[string]struct {
		sealed []byte
		kept   Kept
	}{"request": {request, got.Request}, "answer": {reply, got.Answer}} {
		if want := (Kept{Digest: "sha256:" + sha(of.sealed)}); of.kept != want {
			t.Errorf("%s: %+v, want %+v", part, of.kept, want)
		}
	}
	if _, err := age.Decrypt(bytes.NewReader(request), newReviewer(t)); err == nil {
		t.Error("another key opens it")
	}
	nowhere(t, dir, "many words", answer)
}

// nowhere looks for texts in all files of a directory, and at who may read them.
func nowhere(t *testing.T, dir string, texts ...string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		content, err := os.ReadFile(path)
		for _, text := range texts {
			if bytes.Contains(content, []byte(text)) {
				t.Errorf("%s has %q", path, text)
			}
		}
		if info, err := d.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil || files < 2 {
		t.Errorf("%d files, %v", files, err)
	}
}

// TestFlippedBits: no changed bit of what is sealed goes unnoticed.
func TestFlippedBits(t *testing.T) {
	dpo := newReviewer(t)
	s := opened(t, disktest.NewMemory(), nil)
	keep(t, s, id1, dpo.sealed(1), prompt, answer)
	s.settle()
	sealed := parts(t, s)[id1+".egress.request.whole"]
	for i := range sealed {
		spoilt := bytes.Clone(sealed)
		spoilt[i] ^= 1 << (i % 8)
		clear, err := age.Decrypt(bytes.NewReader(spoilt), dpo)
		if err == nil {
			_, err = io.ReadAll(clear)
		}
		if err == nil {
			t.Errorf("bit %d of byte %d was changed, and it opens", i%8, i)
		}
	}
	clear, err := age.Decrypt(bytes.NewReader(sealed[:len(sealed)-1]), dpo)
	if err == nil {
		_, err = io.ReadAll(clear)
	}
	if err == nil {
		t.Error("without its end it opens")
	}
}

// TestCut: beyond the bound nothing is kept, all passes, and it is said.
func TestCut(t *testing.T) {
	dpo := newReviewer(t)
	for _, n := range []int{9, 10, 11, 25} {
		s := opened(t, disktest.NewMemory(), func(c *Config) { c.PartBytes = 10 })
		c := begin(t, s, id1, dpo.sealed(1))
		text := strings.Repeat("abcde", 5)[:n]
		for i := 0; i < n; i += 4 {
			if err := c.Request([]byte(text[i:min(i+4, n)])); err != nil {
				t.Fatal(err)
			}
		}
		sum := c.Close()
		s.settle()
		state, cutOff := whole, n > 10
		if cutOff {
			state = cut
		}
		all := parts(t, s)
		sealed := all[id1+".egress.request."+string(state)]
		if len(all) != 1 || sum.Request.Cut != cutOff || sum.Answer != (Kept{}) || dpo.reads(t, sealed) != text[:min(n, 10)] {
			t.Errorf("%d bytes: %v, %+v", n, all, sum)
		}
		if want := int64(4 + len(sealed)); s.taken() < want || s.taken() > want+overhead {
			t.Errorf("%d bytes: %d are taken, for a file of %d", n, s.taken(), want)
		}
	}
}

// TestFull: without room for all that a crossing may have it does not begin, and what is
// deleted makes room.
func TestFull(t *testing.T) {
	dpo := newReviewer(t)
	each := 2 * sealedSize(defaultPart)
	s := opened(t, disktest.NewMemory(), func(c *Config) { c.TotalBytes = uint64(2*each) + 100 })
	first, second := begin(t, s, id1, dpo.sealed(1)), begin(t, s, id2, dpo.sealed(1))
	if _, err := s.Begin("x", crossingv1.Side_EGRESS, dpo.sealed(1)); !errors.Is(err, ErrFull) {
		t.Errorf("without room it begins: %v", err)
	}
	first.Close()
	second.Close()
	s.settle()
	if s.taken() != 0 || len(parts(t, s)) != 0 {
		t.Errorf("after crossings without content %d bytes are taken, by %d files", s.taken(), len(parts(t, s)))
	}
	begin(t, s, id1, dpo.sealed(1))
	if s.taken() != each {
		t.Errorf("%d bytes are taken, want %d", s.taken(), each)
	}
}

// TestRefusesToBegin what it could not keep.
func TestRefusesToBegin(t *testing.T) {
	dpo := newReviewer(t)
	sys := &disktest.Faulty{System: disktest.NewMemory()}
	s := opened(t, sys, nil)
	bad := dpo.sealed(1)
	bad.Key = "age1"
	if _, err := s.Begin(id1, crossingv1.Side_EGRESS, bad); err == nil {
		t.Error("it seals to a key that is none")
	}
	if _, err := (*Sealer)(nil).Begin(id1, crossingv1.Side_EGRESS, dpo.sealed(1)); !errors.Is(err, errNothing) {
		t.Errorf("a gateway that keeps nothing: %v", err)
	}
	for what, faults := range map[string]disktest.Faults{"open": {Open: true}, "write": {Write: true, Err: syscall.ENOSPC}} {
		sys.Set(faults)
		for _, content := range []kept.Content{dpo.sealed(1), {Intent: "chat", How: kept.Hash, Days: 1}} {
			if _, err := s.Begin(id1, crossingv1.Side_EGRESS, content); err == nil {
				t.Errorf("%s fails, and %s begins", what, content.How)
			}
		}
		sys.Set(disktest.Faults{})
		s.settle()
		if s.taken() != 0 || len(parts(t, s)) != 0 {
			t.Errorf("%s: %d bytes are taken, by %d files", what, s.taken(), len(parts(t, s)))
		}
	}
	begin(t, s, id1, dpo.sealed(1))
	if _, err := Open(Config{Dir: "/other", Disk: sys, PartBytes: MaxPart + 1}); err == nil {
		t.Error("a part may be endless")
	}
}

// TestDiskFills: the piece that cannot be kept is not to be forwarded, nor any after it.
func TestDiskFills(t *testing.T) {
	dpo := newReviewer(t)
	sys := &disktest.Faulty{System: disktest.NewMemory()}
	s := opened(t, sys, nil)
	c := begin(t, s, id1, dpo.sealed(1))
	chunk := bytes.Repeat([]byte("x"), 2*ageChunk)
	if err := c.Request(chunk); err != nil {
		t.Fatal(err)
	}
	sys.Set(disktest.Faults{Write: true, Halfway: true, Err: syscall.ENOSPC})
	if err := c.Request(chunk); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the disk is full, and it says %v", err)
	}
	sys.Set(disktest.Faults{})
	if err := c.Request([]byte("y")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("what comes behind a gap is taken: %v", err)
	}
	if err := c.Answer([]byte(answer)); err != nil {
		t.Errorf("the other part: %v", err)
	}
	if sum := c.Close(); !sum.Request.Broken || sum.Answer.Broken {
		t.Errorf("it says %+v", sum)
	}
	s.settle()
	if all := parts(t, s); len(all) != 2 || all[id1+".egress.request.broken"] == nil {
		t.Errorf("it has %d files", len(all))
	}
}

// TestNil: a crossing of which nothing is kept costs nothing.
func TestNil(t *testing.T) {
	var c *Content
	p := []byte(prompt)
	if n := testing.AllocsPerRun(100, func() {
		if c.Request(p) != nil || c.Answer(p) != nil || c.Close() != (Summary{}) {
			t.Error("nothing is something")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestSteadyState: a piece of a content that is sealed allocates nothing.
func TestSteadyState(t *testing.T) {
	dpo, p := newReviewer(t), []byte(prompt)
	s := opened(t, nil, func(c *Config) { c.Dir, c.Disk = t.TempDir(), nil })
	for _, what := range []kept.Content{dpo.sealed(1), {How: kept.Hash, Days: 1}} {
		c := begin(t, s, id1, what)
		if n := testing.AllocsPerRun(1000, func() {
			if err := c.Request(p); err != nil {
				t.Error(err)
			}
		}); n >= 1 {
			t.Errorf("%s: %v allocations for each piece", what.How, n)
		}
		c.Close()
	}
}

// TestEndedBefore: what was open when the process ended is taken over, as broken off, and
// what is there of it can be read.
func TestEndedBefore(t *testing.T) {
	memory, dpo := disktest.NewMemory(), newReviewer(t)
	first := opened(t, memory, nil)
	keep(t, first, id1, dpo.sealed(1), prompt, answer)
	first.settle()
	c := begin(t, first, id2, dpo.sealed(1))
	half := strings.Repeat("x", 3*ageChunk)
	if err := c.Request([]byte(half)); err != nil {
		t.Fatal(err)
	}
	beside := opened(t, memory, nil)
	if n := len(parts(t, beside)); n != 0 {
		t.Errorf("%d files of a process that runs were taken", n)
	}
	second := opened(t, memory.Kill(), nil)
	all := parts(t, second)
	if len(all) != 4 || dpo.reads(t, all[id1+".egress.request.whole"]) != prompt {
		t.Fatalf("it took over %d files", len(all))
	}
	clear, err := age.Decrypt(bytes.NewReader(all[id2+".egress.request.broken"]), dpo)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(clear)
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(text) != 2*ageChunk {
		t.Errorf("of what broke off %d bytes are read, %v", len(text), err)
	}
	runs, err := second.sys.List(second.root)
	if err != nil || len(runs) != 1 {
		t.Errorf("there are %v, %v", runs, err)
	}
	var sizes int64
	files, _ := second.sys.List(second.dir)
	for _, f := range files {
		sizes += f.Size
	}
	if second.taken() != sizes {
		t.Errorf("%d bytes are taken, want %d", second.taken(), sizes)
	}
}

// TestPowerIsCut: what was settled is there, whatever the disk made of the rest.
func TestPowerIsCut(t *testing.T) {
	for name, choose := range map[string]disktest.Choice{"nothing": disktest.Nothing, "everything": disktest.Everything} {
		memory, dpo := disktest.NewMemory(), newReviewer(t)
		if err := errors.Join(memory.MakeDir("/state"), memory.SyncDir("/")); err != nil {
			t.Fatal(err)
		}
		first := opened(t, memory, nil)
		keep(t, first, id1, dpo.sealed(1), prompt, answer)
		first.settle()
		begin(t, first, id2, dpo.sealed(1))
		second := opened(t, memory.Cut(choose), nil)
		if all := parts(t, second); dpo.reads(t, all[id1+".egress.request.whole"]) != prompt {
			t.Errorf("%s: it has %d files", name, len(all))
		}
	}
}

// fakePlane is a control plane that takes parts, or says why not.
type fakePlane struct {
	controlv1.SealedServiceClient

	mu    sync.Mutex // guards what follows
	err   error
	taken []*controlv1.SealedPart
	bytes map[string][]byte
}

func (f *fakePlane) UploadSealed(ctx context.Context, _ ...grpc.CallOption) (grpc.ClientStreamingClient[controlv1.UploadSealedRequest, controlv1.UploadSealedResponse], error) {
	return &fakeUpload{of: f}, ctx.Err()
}

type fakeUpload struct {
	grpc.ClientStreamingClient[controlv1.UploadSealedRequest, controlv1.UploadSealedResponse]
	of   *fakePlane
	part *controlv1.SealedPart
	text []byte
}

func (u *fakeUpload) Send(r *controlv1.UploadSealedRequest) error {
	if r.GetPart() != nil {
		u.part = r.GetPart()
	}
	u.text = append(u.text, r.GetData()...)
	return nil
}

func (u *fakeUpload) CloseAndRecv() (*controlv1.UploadSealedResponse, error) {
	u.of.mu.Lock()
	defer u.of.mu.Unlock()
	if u.of.err != nil {
		return nil, u.of.err
	}
	u.of.taken = append(u.of.taken, u.part)
	u.of.bytes[u.part.GetCrossing()+"."+u.part.GetPart().String()] = u.text
	return &controlv1.UploadSealedResponse{}, nil
}

func (f *fakePlane) say(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// TestDelivered: what the control plane has is not kept here any more, and what it has not
// is tried again.
func TestDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dpo, plane := newReviewer(t), &fakePlane{bytes: map[string][]byte{}, err: status.Error(codes.ResourceExhausted, "full")}
		s := opened(t, disktest.NewMemory(), func(c *Config) {
			c.PartBytes = 1000
			c.Connect = func(context.Context) (controlv1.SealedServiceClient, error) { return plane, nil }
		})
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() { defer close(ran); s.Run(ctx) }()
		sum := keep(t, s, id1, dpo.sealed(7), prompt, strings.Repeat(answer, 100))
		synctest.Wait()
		if n := len(parts(t, s)); n != 2 {
			t.Fatalf("%d files while the control plane takes none", n)
		}
		plane.say(nil)
		time.Sleep(every) //nolint:forbidigo // in a bubble
		synctest.Wait()
		if len(parts(t, s)) != 0 || s.taken() != 0 {
			t.Errorf("%d files and %d bytes are left", len(parts(t, s)), s.taken())
		}
		if len(plane.taken) != 2 {
			t.Fatalf("the control plane has %v", plane.taken)
		}
		for _, p := range plane.taken {
			sealed := plane.bytes[id1+"."+p.GetPart().String()]
			want := map[controlv1.SealedPart_Part]Kept{controlv1.SealedPart_REQUEST: sum.Request, controlv1.SealedPart_ANSWER: sum.Answer}[p.GetPart()]
			if "sha256:"+p.GetSha256() != want.Digest || p.GetCut() != want.Cut || p.GetBytes() != uint64(len(sealed)) || p.GetSha256() != sha(sealed) ||
				p.GetGateway() != gw || p.GetIntent() != "plan" || p.GetReviewer() != "dpo" || p.GetKey() != dpo.Recipient().String() ||
				p.GetRetentionDays() != 7 || p.GetSide() != crossingv1.Side_EGRESS || p.GetBroken() {
				t.Errorf("the control plane has %v", p)
			}
		}
		plane.say(status.Error(codes.AlreadyExists, "another one"))
		keep(t, s, id2, dpo.sealed(1), prompt, "")
		synctest.Wait()
		if all := parts(t, s); len(all) != 1 || all[id2+".egress.request.refused"] == nil {
			t.Errorf("it has %v", all)
		}
		time.Sleep(25 * time.Hour) //nolint:forbidigo // in a bubble
		synctest.Wait()
		if n := len(parts(t, s)); n != 0 || s.taken() != 0 {
			t.Errorf("%d files are left after their retention, %d bytes are taken", n, s.taken())
		}
		cancel()
		<-ran
	})
}

// TestRetention: without a control plane, too.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dpo := newReviewer(t)
		s := opened(t, disktest.NewMemory(), nil)
		keep(t, s, id1, dpo.sealed(2), prompt, answer)
		c := begin(t, s, id2, dpo.sealed(1)) // which stays open
		s.settle()
		for _, step := range []struct {
			after time.Duration
			want  int
		}{{47 * time.Hour, 4}, {time.Hour, 2}} {
			time.Sleep(step.after) //nolint:forbidigo // in a bubble
			s.upkeep(time.Now())
			if n := len(parts(t, s)); n != step.want {
				t.Errorf("%d files, want %d", n, step.want)
			}
		}
		if err := c.Request([]byte(prompt)); err != nil {
			t.Error(err)
		}
		c.Close()
		s.settle()
		s.upkeep(time.Now())
		if n := len(parts(t, s)); n != 0 || s.taken() != 0 {
			t.Errorf("%d files, %d bytes", n, s.taken())
		}
	})
}

func TestNames(t *testing.T) {
	for text, want := range map[string]bool{
		id1 + ".egress.request.1795000000.whole": true, id1 + ".egress.request.1795000000.": true,
		"lock": false, id1 + ".egress.request.x.whole": false, id1 + ".egress.request.+1.whole": false, id1 + ".egress.request.1.whole.new": false,
	} {
		if n, ok := parseName(text); ok != want || ok && n.String() != text {
			t.Errorf("parseName(%q) = %v, %v", text, n, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 2, 10, 0, 'x'})
	f.Add([]byte{255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, text []byte) {
		meta, sealed, err := parse(text)
		if err == nil && (meta == nil || len(sealed) > len(text)-4) {
			t.Errorf("parse(%x) = %v, %x", text, meta, sealed)
		}
	})
}

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// BenchmarkKeep: what a crossing with an answer of 4 KiB pays for being kept.
func BenchmarkKeep(b *testing.B) {
	dpo := newReviewer(b)
	text := strings.Repeat("token ", 700)
	for _, what := range []kept.Content{dpo.sealed(1), {How: kept.Hash, Days: 1}} {
		b.Run(what.How, func(b *testing.B) {
			s := opened(b, nil, func(c *Config) { c.Dir, c.Disk = b.TempDir(), nil })
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				keep(b, s, fmt.Sprint(i), what, prompt, text)
				if i%100 == 0 {
					b.StopTimer()
					s.settle()
					b.StartTimer()
				}
			}
		})
	}
}
