package digest

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sallyport-mesh/sallyport/gateway/crossing"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/transfer"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestRecord(t *testing.T) {
	sum := Sum{SHA256: sha256.Sum256([]byte("x")), Bytes: 1}
	other := Declared{By: "content-digest", SHA256: sha256.Sum256([]byte("y")), Known: true}
	id := transfer.ID{1, 2, 3}
	for name, c := range map[string]struct {
		t        transfer.Transfer
		sum      Sum
		declared []Declared
		want     *crossingv1.Transfer
	}{
		"a range": {
			transfer.Transfer{Direction: transfer.Download, Object: "/k", Extent: transfer.Range, First: 4, Length: 1, Size: 9, ID: id},
			sum, nil,
			&crossingv1.Transfer{Id: id.String(), Direction: crossingv1.Transfer_DOWNLOAD, Object: "/k", Extent: crossingv1.Transfer_RANGE, First: 4, Length: 1, Size: 9},
		},
		"nothing told": {
			transfer.Transfer{Direction: transfer.Download, Object: "/k", First: -1, Length: -1, Size: -1, Anonymous: transfer.NoValidator, Coded: true},
			sum, nil,
			&crossingv1.Transfer{Direction: crossingv1.Transfer_DOWNLOAD, Object: "/k", Anonymous: crossingv1.Transfer_NO_VALIDATOR, Coded: true},
		},
		"a part": {
			transfer.Transfer{Direction: transfer.Upload, Object: "/k", Extent: transfer.Part, First: -1, Length: -1, Size: -1, Part: 7, ID: id},
			sum, nil,
			&crossingv1.Transfer{Id: id.String(), Direction: crossingv1.Transfer_UPLOAD, Object: "/k", Extent: crossingv1.Transfer_PART, Part: 7},
		},
		"a mismatch": {
			transfer.Transfer{Direction: transfer.Download, Object: "/k", Extent: transfer.Whole, Length: 1, Size: 1, ID: id},
			sum,
			[]Declared{other},
			&crossingv1.Transfer{
				Id: id.String(), Direction: crossingv1.Transfer_DOWNLOAD, Object: "/k", Extent: crossingv1.Transfer_WHOLE, Length: 1, Size: 1,
				Declared: crossingv1.Transfer_MISMATCH, DeclaredBy: "content-digest", DeclaredSha256: hexOf("y"),
			},
		},
		"broken off": {
			transfer.Transfer{Direction: transfer.Download, Object: "/k", Extent: transfer.Whole, Length: 2, Size: 2, ID: id},
			sum,
			[]Declared{other},
			&crossingv1.Transfer{
				Id: id.String(), Direction: crossingv1.Transfer_DOWNLOAD, Object: "/k", Extent: crossingv1.Transfer_WHOLE, Length: 2, Size: 2, Partial: true,
				Declared: crossingv1.Transfer_NOT_COMPARABLE, DeclaredBy: "content-digest", DeclaredSha256: hexOf("y"),
			},
		},
		"a match": {
			transfer.Transfer{Direction: transfer.Download, Object: "/k", Extent: transfer.Whole, Length: 1, Size: 1, ID: id},
			sum,
			[]Declared{{By: "name", SHA256: sum.SHA256, Known: true}, {By: "repr-digest"}},
			&crossingv1.Transfer{
				Id: id.String(), Direction: crossingv1.Transfer_DOWNLOAD, Object: "/k", Extent: crossingv1.Transfer_WHOLE, Length: 1, Size: 1,
				Declared: crossingv1.Transfer_MATCH, DeclaredBy: "name",
			},
		},
	} {
		c.want.ContentSha256, c.want.Digested = hexOf("x"), 1
		if d := cmp.Diff(c.want, c.sum.Record(&c.t, c.declared), protocmp.Transform()); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// TestNamesAreTheSame: the schema's names of what the packages know are theirs.
func TestNamesAreTheSame(t *testing.T) {
	for a := transfer.Identified; a <= transfer.BadRange; a++ {
		if int(anonymous(a)) != int(a) {
			t.Errorf("%q is %s", a, anonymous(a))
		}
	}
	for e := transfer.Unclear; e <= transfer.None; e++ {
		if int(extent(e)) != int(e) {
			t.Errorf("extent %d is %s", e, extent(e))
		}
	}
	for v := NothingDeclared; v <= Mismatch; v++ {
		if int(judged(v)) != int(v) {
			t.Errorf("%s is %s", v, judged(v))
		}
	}
}

// FuzzRecord: whatever a caller and a destination say, the record of it is one that
// the control plane takes: a frame that it rejects is an end that nobody is told.
func FuzzRecord(f *testing.F) {
	f.Add(uint8(0), "/b/k?versionId=1", "range", "bytes=1-", 206, "content-range", "bytes 1-2/3", []byte("xy"), false)
	f.Add(uint8(1), "/v2/m/blobs/uploads/u?digest=sha256:"+hexOf("x"), "content-range", "0-0", 201, "range", "0-0", []byte("x"), false)
	f.Add(uint8(1), "/k?partNumber=65535&uploadId=%zz", "x-amz-content-sha256", hexOf("y"), 200, "etag", `"a"`, []byte("x"), true)
	f.Add(uint8(0), "/\xff", "if-range", "x", 200, "content-digest", "sha-256=:"+contentBase64+":", []byte(content), false)
	gateway := spiffeid.RequireFromString("spiffe://near.test/sallyport/gateway/near-1")
	f.Fuzz(func(t *testing.T, method uint8, path, reqName, reqValue string, status int, ansName, ansValue string, body []byte, brokenOff bool) {
		methods := []string{"GET", "PUT", "POST", "PATCH"}
		req := &l7.RequestHead{Method: methods[int(method)%len(methods)], Authority: "a", Path: path, Fields: fields(reqName, reqValue)}
		ans := &l7.ResponseHead{Status: status, Fields: fields(ansName, ansValue, "etag", `"v"`)}
		if req.Check() != nil || ans.Check() != nil {
			return
		}
		for _, answer := range []*l7.ResponseHead{nil, ans} {
			tr, ok := transfer.Of(transfer.Parties{Protocol: "oci"}, req, answer)
			if !ok {
				continue
			}
			var c Content
			c.Write(body)
			sum := c.Finish()
			sum.Partial = brokenOff
			all := append(Declarations(&tr, req, answer), InTrailers(&tr, fields(ansName, ansValue))...)
			frame := &crossingv1.Frame{Gateway: gateway.String(), Run: strings.Repeat("1", 32), Close: &crossingv1.Close{
				Id: "01a207e6-e4d8-7d3e-9a54-1f0e6b7c2d88", Side: crossingv1.Side_EGRESS, Cause: crossingv1.Cause_DONE,
				Key:      &crossingv1.Key{Egress: gateway.String(), Ingress: "spiffe://far.test/gw", Run: strings.Repeat("1", 32), Sequence: 1},
				Transfer: sum.Record(&tr, all),
			}}
			if _, err := crossing.MarshalFrame(frame); err != nil {
				t.Errorf("%v: %v", frame, err)
			}
			if err := crossing.CheckFrame(frame, gateway); err != nil {
				t.Errorf("%v: %v", frame, err)
			}
		}
	})
}
