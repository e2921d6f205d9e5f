package seal

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk"
	"github.com/sallyport-mesh/sallyport/gateway/policy/kept"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// ageChunk is what age encrypts as a whole, and ageTag what each adds (age's
	// specification, "Payload").
	ageChunk, ageTag = 64 << 10, 16
	// overhead bounds what a file has beside chunks: what it is of, and age's header.
	overhead = 4 << 10
)

// sealedSize is the most that a part of so many bytes has as a file.
func sealedSize(content int) int64 {
	return int64(content) + int64(content/ageChunk+1)*ageTag + overhead
}

// Room is how much room so many parts of a size take at most; 0 is the default size.
func Room(partBytes uint64, parts int) uint64 {
	part := int(min(cmp.Or(partBytes, defaultPart), MaxPart)) //nolint:gosec // bounded
	return uint64(parts) * uint64(sealedSize(part))           //nolint:gosec // never negative
}

// part is a request or an answer that is sealed.
type part struct {
	of   *Sealer
	path name
	file *sink
	out  io.WriteCloser // seals into file
	left int            // bytes that it has room for
	some bool           // something passed
	cut  bool
}

// seal makes the two parts of a crossing, with room for both.
func (s *Sealer) seal(c *Content, id string, side crossingv1.Side, now time.Time, what kept.Content) error {
	to, err := age.ParseX25519Recipient(what.Key)
	if err != nil {
		return err
	}
	each := sealedSize(s.part)
	s.mu.Lock()
	ok := s.room.take(2 * each)
	s.mu.Unlock()
	if !ok {
		return ErrFull
	}
	meta := &controlv1.SealedPart{
		Crossing: id, Gateway: s.gateway, Side: side, Intent: what.Intent, Reviewer: what.Reviewer, Key: what.Key,
		Created: timestamppb.New(now), RetentionDays: uint32(what.Days), //nolint:gosec // at most kept.MaxDays
		Part: controlv1.SealedPart_REQUEST,
	}
	request, err := s.newPart(meta, to)
	if err != nil {
		s.free(2 * each)
		return err
	}
	meta.Part = controlv1.SealedPart_ANSWER
	answer, err := s.newPart(meta, to)
	if err != nil {
		request.end(true)
		s.free(each)
		return err
	}
	c.request.into, c.answer.into = request, answer
	return nil
}

func (s *Sealer) free(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room.free(n)
}

// newPart makes a part's file, up to where its content begins.
func (s *Sealer) newPart(meta *controlv1.SealedPart, to age.Recipient) (*part, error) {
	n := nameOf(meta)
	file, err := s.sys.Open(n.in(s.dir), os.O_CREATE|os.O_EXCL|os.O_RDWR)
	if err != nil {
		return nil, err
	}
	p := &part{of: s, path: n, file: &sink{file: file, sum: sha256.New()}, left: s.part}
	if err = p.file.header(meta); err == nil {
		p.out, err = age.Encrypt(p.file, to)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close(), s.sys.Remove(n.in(s.dir)))
	}
	return p, nil
}

// take implements what Content asks of a piece. It writes to a file, and never waits for
// stable storage.
func (p *part) take(b []byte) error {
	p.some = true
	if len(b) > p.left {
		b, p.cut = b[:p.left], true
	}
	p.left -= len(b)
	if len(b) == 0 {
		return nil
	}
	if _, err := p.out.Write(b); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return nil
}

// end gives the file to Run, which puts it on stable storage.
func (p *part) end(broken bool) (k Kept) {
	if err := p.out.Close(); err != nil {
		broken = true
	}
	k.Cut, k.Broken = p.cut, broken
	f := finished{name: p.path, file: p.file.file, state: whole, size: p.file.at}
	switch {
	case !p.some:
		f.state, k.Broken = none, false
	case broken:
		f.state = brokenOff
	case p.cut:
		f.state = cut
	}
	if p.some {
		k.Digest = "sha256:" + hex.EncodeToString(p.file.sum.Sum(nil))
	}
	s := p.of
	s.mu.Lock()
	s.room.free(sealedSize(s.part) - p.file.at)
	s.finished = append(s.finished, f)
	s.mu.Unlock()
	s.tell()
	return k
}

// sink writes a file, and hashes what is sealed.
type sink struct {
	file disk.File
	at   int64
	sum  hash.Hash
}

// header writes what the file is of, with its length before it.
func (s *sink) header(meta *controlv1.SealedPart) error {
	text, err := proto.Marshal(meta)
	if err != nil {
		return err
	}
	n, err := s.file.WriteAt(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...), 0) //nolint:gosec // a few hundred
	s.at = int64(n)
	return err
}

// Write implements io.Writer.
func (s *sink) Write(p []byte) (int, error) {
	n, err := s.file.WriteAt(p, s.at)
	s.at += int64(n)
	s.sum.Write(p[:n])
	return n, err
}

// parse reads a file: what it is of, and what was sealed.
func parse(text []byte) (*controlv1.SealedPart, []byte, error) {
	if len(text) < 4 || uint64(len(text)-4) < uint64(binary.BigEndian.Uint32(text)) {
		return nil, nil, errors.New("a file that is cut short")
	}
	n := 4 + binary.BigEndian.Uint32(text)
	meta := &controlv1.SealedPart{}
	if err := proto.Unmarshal(text[4:n], meta); err != nil {
		return nil, nil, err
	}
	return meta, text[n:], nil
}

func (n name) in(dir string) string { return filepath.Join(dir, n.String()) }
