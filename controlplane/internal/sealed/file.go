package sealed

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const (
	// dayForm is how a day is written as a directory.
	dayForm = "20060102"
	// unfinished is at the end of the name of a file that is being written.
	unfinished = ".new"
	// maxHead bounds what is said of a part.
	maxHead = 4 << 10
)

// path is where a part is. Nothing of it is more than Check has accepted.
func (s *Store) path(p *controlv1.SealedPart) string {
	td, name := "unknown", "unknown"
	if id, err := spiffeid.FromString(p.GetGateway()); err == nil {
		td, name = id.TrustDomain().Name(), filepath.Base(id.Path())
	}
	return filepath.Join(s.dir, td, name, Until(p).UTC().Format(dayForm),
		p.GetCrossing()+"."+strings.ToLower(p.GetSide().String())+"."+strings.ToLower(p.GetPart().String()))
}

// head is what stands before a part's bytes: the length of what is said of it, and that.
func head(p *controlv1.SealedPart) []byte {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return nil // no part of ours, whose texts came as UTF-8
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...) //nolint:gosec // bounded by Check
}

func fileSize(p *controlv1.SealedPart) int64 { return int64(len(head(p))) + int64(p.GetBytes()) } //nolint:gosec // bounded by Check

// write writes a file as a whole, on stable storage, or nothing.
func (s *Store) write(path string, p *controlv1.SealedPart, next func() ([]byte, error)) error {
	if err := makeDirs(s.dir, filepath.Dir(path)); err != nil {
		return err
	}
	f, err := os.OpenFile(path+unfinished, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(head(p))
	if err == nil {
		err = take(f, p, next)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(path+unfinished, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path+unfinished))
	}
	return syncDir(filepath.Dir(path))
}

// take writes what next gives, and refuses other bytes than a part is said to have.
func take(w io.Writer, p *controlv1.SealedPart, next func() ([]byte, error)) error {
	sum, left := sha256.New(), p.GetBytes()
	for {
		piece, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if uint64(len(piece)) > left {
			return fmt.Errorf("%w: it has more than %d bytes", ErrInvalid, p.GetBytes())
		}
		left -= uint64(len(piece))
		sum.Write(piece)
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	if left > 0 || hex.EncodeToString(sum.Sum(nil)) != p.GetSha256() {
		return fmt.Errorf("%w: its bytes are not those that it is said to have", ErrInvalid)
	}
	return nil
}

// makeDirs makes a directory below another one, all names on stable storage.
func makeDirs(root, dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for ; len(dir) > len(root); dir = filepath.Dir(dir) {
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openPart opens a part's file where its bytes begin.
func openPart(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if _, err := parseHead(f); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return f, nil
}

// readHead is what a file says of its part.
func readHead(path string) (*controlv1.SealedPart, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := parseHead(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// parseHead reads what stands before a part's bytes.
func parseHead(r io.Reader) (*controlv1.SealedPart, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxHead {
		return nil, fmt.Errorf("it says %d bytes of its part", n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, err
	}
	p := &controlv1.SealedPart{}
	return p, proto.Unmarshal(text, p)
}
