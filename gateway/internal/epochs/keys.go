package epochs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/gateway/statement"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

const (
	// keptKeys is how many keys of peers are known without being verified again.
	keptKeys = 256
	// keyTrust is for how long they are: a trust domain's bundle may change.
	keyTrust = time.Minute
)

var errNoKey = errors.New("the key was not announced")

// keys signs what this gateway says of its chains, and verifies what its peers do.
type keys struct {
	self   spiffeid.ID
	source *certs.Source
	now    func() time.Time
	signer *statement.Signer

	mu      sync.Mutex // guards what follows
	leaf    *x509.Certificate
	current *crossingv1.Announcement                    // of the signer's key; nil before the first
	own     map[statement.Hash]*crossingv1.Announcement // of this gateway's keys, those of earlier runs too
	known   map[statement.Hash]known                    // of peers, by their announcements
}

// known is a key that was verified.
type known struct {
	*statement.Key
	until time.Time
}

func newKeys(cfg *Config) *keys {
	return &keys{
		self: cfg.Self, source: cfg.Source, now: cfg.Now, signer: statement.NewSigner(),
		own: map[statement.Hash]*crossingv1.Announcement{}, known: map[statement.Hash]known{},
	}
}

// announce has peers know this gateway's key under the SVID of now, unless they do. It
// is in the spool before anything is said with it.
func (k *Keeper) announce() {
	a, leaf, err := k.keys.renew(k.run, k.cfg.Now())
	if err == nil && a != nil {
		if err = k.recorder.Say(&crossingv1.Frame{Announcement: a}, true); err == nil {
			k.keys.use(a, leaf)
		}
	}
	if err != nil {
		k.cfg.Log.Error("key of statements not announced", zap.Error(err))
	}
}

// renew makes an announcement under the SVID of now; nil if there is one.
func (k *keys) renew(run string, now time.Time) (*crossingv1.Announcement, *x509.Certificate, error) {
	svid, err := k.source.GetX509SVID()
	if err != nil {
		return nil, nil, err
	}
	leaf := svid.Certificates[0]
	k.mu.Lock()
	same := k.leaf != nil && k.leaf.Equal(leaf)
	k.mu.Unlock()
	if same {
		return nil, nil, nil
	}
	a, err := k.signer.Announce(k.self.String(), run, certs.Certificate(svid).Certificate, svid.PrivateKey, now)
	return a, leaf, err
}

// use makes an announcement the one that peers are given.
func (k *keys) use(a *crossingv1.Announcement, leaf *x509.Certificate) {
	k.remember(a)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current, k.leaf = a, leaf
}

// remember keeps the announcement of one of this gateway's keys. The last one of a key
// is the one that is good for longest.
func (k *keys) remember(a *crossingv1.Announcement) {
	key, err := k.trustOwn(a)
	if err != nil {
		return // peers would refuse it too
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.own[key.ID] = a
}

// trustOwn gives a key that this gateway's own spool has announced.
func (k *keys) trustOwn(a *crossingv1.Announcement) (*statement.Key, error) {
	return statement.VerifyAnnouncement(a, k.self.String(), func([]*x509.Certificate, time.Time) error { return nil })
}

// ready says that this gateway's key is announced.
func (k *keys) ready() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current != nil
}

// announcement is of the key of this gateway that made a signature.
func (k *keys) announcement(by *crossingv1.Signature) (*crossingv1.Announcement, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(by.GetKey()) == len(statement.Hash{}) {
		if a := k.own[statement.Hash(by.GetKey())]; a != nil {
			return a, nil
		}
	}
	return nil, errNoKey
}

// ofOwn is the key of this gateway that made a signature.
func (k *keys) ofOwn(by *crossingv1.Signature) (*statement.Key, error) {
	a, err := k.announcement(by)
	if err != nil {
		return nil, err
	}
	return k.trustOwn(a)
}

// of gives the key that a peer announces, if it is one. A signature of an earlier run
// may have come by an SVID that has expired since: what counts is when it was
// announced, and who shows it is known by the tunnel.
func (k *keys) of(peer spiffeid.ID, a *crossingv1.Announcement) (*statement.Key, error) {
	hash, now := statement.HashAnnouncement(a), k.now()
	k.mu.Lock()
	had := k.known[hash]
	k.mu.Unlock()
	if now.Before(had.until) && had.Gateway == peer.String() {
		return had.Key, nil
	}
	key, err := statement.VerifyAnnouncement(a, peer.String(), func(chain []*x509.Certificate, at time.Time) error {
		_, err := certs.VerifyAt(k.source, chain, at, certs.AuthorizeID(peer))
		return err
	})
	if err != nil {
		return nil, faulty(unsigned, fmt.Errorf("announcement of a key: %w", err))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for old := range k.known {
		if len(k.known) < keptKeys {
			break
		}
		delete(k.known, old)
	}
	k.known[hash] = known{key, now.Add(keyTrust)}
	return key, nil
}
