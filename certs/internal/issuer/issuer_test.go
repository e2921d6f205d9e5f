package issuer

import (
	"bytes"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

var td = spiffeid.RequireTrustDomainFromString("aws.example")

func TestMarshalParse(t *testing.T) {
	i, err := New(td, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := i.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(td, text)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Bundle().Equal(i.Bundle()) {
		t.Error("the bundle changed")
	}
	id := spiffeid.RequireFromPath(td, "/agent")
	svid, err := again.X509SVID(id, nil, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := x509svid.Verify(svid.Certificates, i.Bundle()); err != nil || got != id {
		t.Errorf("Verify = %v, %v", got, err)
	}
	token, err := again.JWTSVID(id, []string{"one"}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := jwtsvid.ParseAndValidate(token, i.Bundle(), []string{"one"}); err != nil || got.ID != id {
		t.Errorf("ParseAndValidate = %v, %v", got, err)
	}
	if _, err := Parse(spiffeid.RequireTrustDomainFromString("azure.example"), text); err == nil {
		t.Error("keys of another trust domain were taken")
	}
	if _, err := Parse(td, append(text, text...)); err == nil {
		t.Error("two authorities in one file were taken")
	}
	other, err := New(td, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	mixed := *i
	mixed.key = other.key
	if text, err = mixed.Marshal(); err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(td, text); err == nil {
		t.Error("a root with another key was taken")
	}
}

func TestSVIDEndsWithRoot(t *testing.T) {
	now := time.Now()
	i, err := New(td, now)
	if err != nil {
		t.Fatal(err)
	}
	svid, err := i.X509SVID(spiffeid.RequireFromPath(td, "/agent"), nil, now, 2*rootLife)
	if err != nil {
		t.Fatal(err)
	}
	if got := svid.Certificates[0].NotAfter; !got.Equal(i.root.NotAfter) {
		t.Errorf("SVID ends %v, its root %v", got, i.root.NotAfter)
	}
}

func FuzzParse(f *testing.F) {
	i, err := New(td, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	text, err := i.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		i, err := Parse(td, text)
		if err != nil {
			return
		}
		out, err := i.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Parse(td, out); err != nil || !bytes.Equal(again.root.Raw, i.root.Raw) {
			t.Errorf("Parse after Marshal: %v", err)
		}
	})
}
