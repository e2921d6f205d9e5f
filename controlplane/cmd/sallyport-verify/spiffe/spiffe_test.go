package spiffe

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

var ids = []string{
	"spiffe://a.example", "spiffe://a.example/x", "spiffe://a.example/x/y-Z_0.1", "spiffe://a_b-c.0/...",
	"", "spiffe://", "spiffe:///x", "a.example/x", "SPIFFE://a.example/x", "spiffe://A.example/x", "spiffe://a.example/", "spiffe://a.example//x",
	"spiffe://a.example/x/", "spiffe://a.example/.", "spiffe://a.example/../x", "spiffe://a.example/x y", "spiffe://a.example/ü", "spiffe://a.example:1/x",
	"spiffe://u@a.example/x", "spiffe://a.example/x?y", "spiffe://a.example/x#y", "spiffe://a.example/%41", "spiffe://a.ex\xff/x",
}

// TestLikeGoSPIFFE: an ID is one where go-spiffe says so, of the same trust domain.
func TestLikeGoSPIFFE(t *testing.T) {
	for _, id := range ids {
		same(t, id)
	}
	if Name("spiffe://a.example/x/near-1") != "near-1" {
		t.Error("the name is another")
	}
}

func same(t *testing.T, id string) {
	t.Helper()
	want, wantErr := spiffeid.FromString(id)
	got, err := TrustDomain(id)
	if (err == nil) != (wantErr == nil) || err == nil && got != want.TrustDomain().Name() {
		t.Errorf("%q: %q, %v, want %q, %v", id, got, err, want.TrustDomain(), wantErr)
	}
}

// FuzzTrustDomain: the same of any text.
func FuzzTrustDomain(f *testing.F) {
	for _, id := range ids {
		f.Add(id)
	}
	f.Fuzz(same)
}
