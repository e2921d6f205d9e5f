package certs_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/certs"
	"github.com/sallyport-mesh/sallyport/certs/certstest"
)

// signalled says whether a channel holds a signal, and takes it.
func signalled(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestOwnSVIDOutsideItsDates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := certstest.Mesh(t, "aws.example")["aws.example"]
		s := d.Source("/agent")
		if _, err := s.GetX509SVID(); err != nil {
			t.Fatalf("a fresh SVID: %v", err)
		}
		<-time.After(3 * time.Hour)
		_, err := s.GetX509SVID()
		var dates *certs.DatesError
		if !errors.Is(err, certs.ErrExpired) || !errors.As(err, &dates) || dates.NotYet() {
			t.Errorf("after three hours: %v, want an expired one", err)
		}
		if want := "expired 2h0m0s ago, at 2000-01-01T01:00:00Z"; !strings.HasSuffix(err.Error(), want) {
			t.Errorf("error = %q, want it to end in %q", err, want)
		}

		d.NotBefore = 2 * time.Hour
		d.Rotate(s)
		_, err = s.GetX509SVID()
		if !errors.Is(err, certs.ErrExpired) || !errors.As(err, &dates) || !dates.NotYet() {
			t.Errorf("issuer two hours ahead: %v, want one that is not yet valid", err)
		}
		if !strings.Contains(err.Error(), "not yet valid") || !strings.Contains(err.Error(), "check the clocks") {
			t.Errorf("error = %q, want it to say what to do", err)
		}
	})
}

func TestUpdated(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.example", "azure.example")
	d := mesh["aws.example"]
	s := d.Source("/agent")
	one, stop := s.Subscribe()
	two, stopTwo := s.Subscribe()
	defer stopTwo()
	if signalled(s.Updated()) || signalled(one) {
		t.Error("signal before any change")
	}
	d.Rotate(s)
	d.Rotate(s)
	for name, ch := range map[string]<-chan struct{}{"Updated": s.Updated(), "one": one, "two": two} {
		if !signalled(ch) {
			t.Errorf("%s: no signal after a rotation", name)
		}
		if signalled(ch) {
			t.Errorf("%s: a second signal is held", name)
		}
	}
	stop()
	d.Distrust("azure.example")
	if !signalled(s.Updated()) || !signalled(two) {
		t.Error("no signal after a bundle changed")
	}
	if signalled(one) {
		t.Error("signal after the subscription ended")
	}
}

func TestRefreshKeepsID(t *testing.T) {
	d := certstest.Mesh(t, "aws.example")["aws.example"]
	s := d.Source("/agent")
	other, err := d.Source("/other").GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Refresh(other); err == nil {
		t.Error("a source took over another ID's SVID")
	}
	svid, err := s.GetX509SVID()
	if err != nil || svid.ID != s.ID() {
		t.Errorf("GetX509SVID = %v, %v, want the one of %v", svid.ID, err, s.ID())
	}
	if signalled(s.Updated()) {
		t.Error("signal though nothing changed")
	}
}

func TestBundles(t *testing.T) {
	mesh := certstest.Mesh(t, "aws.example", "azure.example")
	s := mesh["aws.example"].Source("/agent")
	azure := mesh["azure.example"].TrustDomain()
	if b, err := s.GetX509BundleForTrustDomain(azure); err != nil || !b.Equal(mesh["azure.example"].Bundle().X509Bundle()) {
		t.Errorf("X.509 bundle of %v: %v", azure, err)
	}
	if b, err := s.GetJWTBundleForTrustDomain(azure); err != nil || !b.Equal(mesh["azure.example"].Bundle().JWTBundle()) {
		t.Errorf("JWT bundle of %v: %v", azure, err)
	}
	nobody := spiffeid.RequireTrustDomainFromString("nobody.example")
	if _, err := s.GetX509BundleForTrustDomain(nobody); !errors.Is(err, certs.ErrUntrusted) {
		t.Errorf("X.509 bundle of nobody: %v, want %v", err, certs.ErrUntrusted)
	}
	if _, err := s.GetJWTBundleForTrustDomain(nobody); !errors.Is(err, certs.ErrUntrusted) {
		t.Errorf("JWT bundle of nobody: %v, want %v", err, certs.ErrUntrusted)
	}
}

func TestClosed(t *testing.T) {
	d := certstest.Mesh(t, "aws.example")["aws.example"]
	s := d.Source("/agent")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if _, err := s.GetX509SVID(); !errors.Is(err, certs.ErrClosed) {
		t.Errorf("GetX509SVID = %v, want %v", err, certs.ErrClosed)
	}
	if _, err := s.GetX509BundleForTrustDomain(d.TrustDomain()); !errors.Is(err, certs.ErrClosed) {
		t.Errorf("GetX509BundleForTrustDomain = %v, want %v", err, certs.ErrClosed)
	}
	if _, err := s.GetJWTBundleForTrustDomain(d.TrustDomain()); !errors.Is(err, certs.ErrClosed) {
		t.Errorf("GetJWTBundleForTrustDomain = %v, want %v", err, certs.ErrClosed)
	}
}
