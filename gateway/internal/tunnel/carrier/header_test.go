package carrier

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sallyport-mesh/sallyport/gateway/mux"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

func TestHeaderRoundTrip(t *testing.T) {
	want := &crossingv1.Header{Id: "x", Sequence: 7, Source: "spiffe://aws.demo/payments/agent"}
	b, err := AppendHeader([]byte("before"), want)
	if err != nil || string(b[:6]) != "before" {
		t.Fatalf("AppendHeader = %q, %v", b, err)
	}
	got, err := DecodeHeader(1, b[6:])
	if err != nil || !proto.Equal(got, want) {
		t.Errorf("DecodeHeader = %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{strings.Repeat("x", mux.MaxHeader), "\xff"} {
		if b, err := AppendHeader([]byte("before"), &crossingv1.Header{Tracestate: bad}); err == nil || string(b) != "before" {
			t.Errorf("AppendHeader of a header that cannot be sent: %d bytes, %v", len(b), err)
		}
	}
	var fault *mux.FaultError
	if _, err := DecodeHeader(1, []byte{0xff}); !errors.As(err, &fault) || fault.Reason != mux.BadHeader {
		t.Errorf("DecodeHeader of rubbish: %v, want fault %d", err, mux.BadHeader)
	}
}

func TestBuffersAreEmpty(t *testing.T) {
	for range 3 {
		b := NewBuffer()
		if len(b.B) != 0 {
			t.Errorf("a new buffer holds %q", b.B)
		}
		b.B = append(b.B, "used"...)
		b.Free()
	}
}
