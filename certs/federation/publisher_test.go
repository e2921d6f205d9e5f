package federation

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

func TestPublisherSignsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, aws)
		p, err := NewPublisher(a, nil)
		if err != nil {
			t.Fatal(err)
		}
		background(t, p.Run)
		synctest.Wait()
		signed, changed := p.Latest()
		start := time.Now()
		<-changed
		if took := time.Since(start); took != a.hint {
			t.Errorf("signed again after %s, want %s", took, a.hint)
		}
		again, changed := p.Latest()
		if again.GetSignatures()[0].GetSignedAt() <= signed.GetSignatures()[0].GetSignedAt() {
			t.Error("it is as old as the first")
		}
		start = time.Now()
		a.add(a.newRoot())
		<-changed
		if took := time.Since(start); took > 0 {
			t.Errorf("a change waited for %s", took)
		}
		if both, _ := p.Latest(); len(both.GetSignatures()) != 2 {
			t.Errorf("%d signatures", len(both.GetSignatures()))
		}
		a.drop()
		synctest.Wait()
		if n := len(p.SVIDs()); n != 2 {
			t.Errorf("%d SVIDs after a root was retired, want its last one too", n)
		}
		k := keeper(t, "", a)
		c, err := p.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.Certificate[0], p.SVIDs()[1].Certificates[0].Raw) || !trusts(k, p.SVIDs()[1]) {
			t.Error("the endpoint shows a root that is gone")
		}
		<-time.After(time.Hour + time.Minute)
		if n := len(p.SVIDs()); n != 1 {
			t.Errorf("%d SVIDs an hour later", n)
		}
	})
}

// TestShortSVIDs: a signature does not outlive the SVID, so it is made again in time.
func TestShortSVIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, aws)
		a.hint = time.Hour
		a.newest().TTL = 20 * time.Second
		p, err := NewPublisher(a, nil)
		if err != nil {
			t.Fatal(err)
		}
		background(t, p.Run)
		k := keeper(t, "", a)
		for range 10 {
			<-time.After(7 * time.Second)
			signed, _ := p.Latest()
			if err := k.Accept(signed); err != nil {
				t.Error(err)
			}
		}
	})
}

// failing is an authority that has lost its keys.
type failing struct{ *fakeAuthority }

func (failing) OwnSVIDs() ([]*x509svid.SVID, error) { return nil, errors.New("no key") }

func TestPublisherNeedsKeys(t *testing.T) {
	if _, err := NewPublisher(failing{newAuthority(t, aws)}, nil); err == nil {
		t.Error("a publisher without keys was made")
	}
}
