package listener

import (
	"bufio"
	"context"
	"strings"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// TestProof: what the head has as a proof or a label is out of its fields whoever
// calls, and never that of the request before.
func TestProof(t *testing.T) {
	heads := make(chan l7.RequestHead, 1)
	f := start(t, func(_ context.Context, req *Request, resp Response) {
		heads <- l7.RequestHead{Proof: req.Head.Proof, Label: req.Head.Label, Fields: append(l7.Fields{}, req.Head.Fields...)}
		_ = resp.WriteHead(&l7.ResponseHead{Status: 200}, true)
	})
	for _, tt := range []struct {
		name, fields, want string
	}{
		{"none", "", ""},
		{"one", "Sallyport-Proof: eyA.e30.x\r\n", "eyA.e30.x"},
		{"none any more", "", ""},
		{"two", "sallyport-proof: a\r\nX: y\r\nSALLYPORT-PROOF: b\r\n", "a, b"},
		{"as CGI names it", "sallyport_proof: a\r\n", ""},
		{"of this connection alone", "Connection: sallyport-proof\r\nsallyport-proof: a\r\n", "a"},
	} {
		for _, byJWT := range []bool{false, true} {
			c := f.dialLoopback()
			credential := "Authorization: Bearer " + f.jwt() + "\r\n"
			if !byJWT {
				c, credential = f.dial(), ""
			}
			br := bufio.NewReader(c)
			send(t, c, br, "GET / HTTP/1.1\r\nHost: h\r\n"+credential+"sallyport-proof: of the one before\r\nsallyport-label: likewise\r\n\r\n", "GET")
			<-heads
			labels := strings.NewReplacer("proof", "label", "PROOF", "LABEL", "Proof", "Label").Replace(tt.fields)
			send(t, c, br, "GET / HTTP/1.1\r\nHost: h\r\n"+credential+tt.fields+labels+"\r\n", "GET")
			h := <-heads
			if h.Label != tt.want || h.Fields.Has("sallyport-label") || h.Fields.Has("sallyport_label") {
				t.Errorf("%s, by JWT %t: label %q, fields %v", tt.name, byJWT, h.Label, h.Fields)
			}
			if h.Proof != tt.want || h.Fields.Has("sallyport-proof") || h.Fields.Has("sallyport_proof") {
				t.Errorf("%s, by JWT %t: proof %q, fields %v", tt.name, byJWT, h.Proof, h.Fields)
			}
		}
	}
	for version := 1; version <= 2; version++ {
		if _, err := f.client(version).Do(newRequest(t, "GET", nil, "sallyport-proof", "a.b.c", "sallyport-label", "d.e.f")); err != nil {
			t.Fatal(err)
		}
		if h := <-heads; h.Proof != "a.b.c" || h.Label != "d.e.f" || h.Fields.Has("sallyport-proof") || h.Fields.Has("sallyport-label") {
			t.Errorf("HTTP/%d: proof %q, label %q, fields %v", version, h.Proof, h.Label, h.Fields)
		}
	}
}
