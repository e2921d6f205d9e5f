package federation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs/durable"
)

const (
	filePrefix, fileSuffix = "bundle-", ".json"
	// maxFile is the most that is read of a kept file: a document, escaped.
	maxFile = 8 * maxDocument
	// saveEvery is how often a bundle that has not changed is written again, for
	// the time when it was last confirmed.
	saveEvery = time.Minute
)

// kept is what is on disk of a trust domain: the last good bundle, and how it was
// come by. It is an anchor of trust, as good as the directory is private.
type kept struct {
	TrustDomain string    `json:"trustDomain"`
	Document    string    `json:"document"` // as it came
	Digest      string    `json:"sha256"`   // of the document, in hex
	Origin      string    `json:"origin"`
	Refreshed   time.Time `json:"refreshed"`
	File        string    `json:"file,omitempty"`   // digest of the operator's file that was last taken
	Anchor      string    `json:"anchor,omitempty"` // digest of the anchor as it was last seen
}

// save writes what is held, if it must be. What is in force is in force though
// the disk fails: a root that was removed is not trusted because of that. It is
// tried again with the next confirmation. The caller holds mu.
func (k *Keeper) save(td spiffeid.TrustDomain, h *held) {
	if k.dir == "" || !h.saved.IsZero() && h.Refreshed.Sub(h.saved) < saveEvery {
		return
	}
	sum := sha256.Sum256([]byte(h.Document))
	h.TrustDomain, h.Digest = td.Name(), hex.EncodeToString(sum[:])
	text, err := json.Marshal(h.kept)
	if err == nil {
		err = durable.Replace(filepath.Join(k.dir, filePrefix+td.Name()+fileSuffix), append(text, '\n'), 0o600)
	}
	if err != nil {
		k.log.Error("bundle not kept on disk", zap.Stringer("trust_domain", td), zap.Error(err))
		return
	}
	h.saved = h.Refreshed
}

func (k *Keeper) load(now time.Time) error {
	if k.dir == "" {
		return nil
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("keep bundles: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(k.dir, filePrefix+"*"+fileSuffix))
	if err != nil {
		return fmt.Errorf("keep bundles: %w", err)
	}
	for _, path := range files {
		td, h, err := read(path, now)
		if err != nil {
			k.log.Error("kept bundle is not good", zap.String("file", path), zap.Error(err))
			continue
		}
		k.entries[td] = &entry{held: h}
	}
	return nil
}

// read judges a kept file as if it came from a stranger, but for its dates. A
// bundle whose roots have all ended verifies nobody; without it, an anchor from
// before it would count again.
func read(path string, now time.Time) (spiffeid.TrustDomain, *held, error) {
	f, err := os.Open(path)
	if err != nil {
		return spiffeid.TrustDomain{}, nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return spiffeid.TrustDomain{}, nil, err
	}
	if len(text) > maxFile {
		return spiffeid.TrustDomain{}, nil, fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	td, h, err := decode(text, now)
	if name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), filePrefix), fileSuffix); err == nil && name != td.Name() {
		err = fmt.Errorf("it is of %s", td)
	}
	return td, h, err
}

func decode(text []byte, now time.Time) (spiffeid.TrustDomain, *held, error) {
	var k kept
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&k); err != nil {
		return spiffeid.TrustDomain{}, nil, err
	}
	td, err := spiffeid.TrustDomainFromString(k.TrustDomain)
	if err != nil {
		return td, nil, err
	}
	if sum := sha256.Sum256([]byte(k.Document)); hex.EncodeToString(sum[:]) != k.Digest {
		return td, nil, errors.New("its digest is another: the file was cut or changed")
	}
	b, err := parseAny(td, []byte(k.Document))
	if err != nil {
		return td, nil, err
	}
	k.Refreshed = earlier(k.Refreshed, now) // the clock was set back
	return td, &held{kept: k, bundle: b, x509: b.X509Bundle(), jwt: b.JWTBundle(), saved: k.Refreshed}, nil
}
