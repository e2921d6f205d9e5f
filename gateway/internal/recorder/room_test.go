package recorder

import (
	"context"
	"errors"
	"testing"

	"github.com/sallyport-mesh/sallyport/gateway/internal/recorder/disk/disktest"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// TestDiskThatFills: while there is little room left on the disk, whoever took it,
// crossings are refused, and what ends them or makes room is written still; when there
// is room again, they are recorded again.
func TestDiskThatFills(t *testing.T) {
	sys := &disktest.Faulty{System: disktest.NewMemory()}
	r, err := New(Config{
		System: sys, Dir: "/spool", Gateway: self,
		Connect: func(context.Context) (controlv1.CrossingServiceClient, error) {
			return nil, errors.New("nobody is there")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.CloseSpool()
	_, size, err := sys.Room("/spool")
	if err != nil {
		t.Fatal(err)
	}
	open := func() (*crossingv1.Half, error) {
		h := half(r.RunID(), r.Next(peer.String()))
		return h, r.Open(h, true, false)
	}
	first, err := open()
	if err != nil {
		t.Fatal(err)
	}
	sys.Set(disktest.Faults{Taken: size - 1<<20})
	for n := 0; ; n++ {
		if _, err = open(); err != nil {
			break
		}
		if n == 10_000 {
			t.Fatal("nobody saw that the disk is nearly full")
		}
	}
	if !errors.Is(err, ErrFull) || r.Outage().GetCause() != crossingv1.Outage_FULL {
		t.Errorf("Open = %v, outage %v", err, r.Outage())
	}
	if err := r.Close(closeOf(first)); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := r.Say(&crossingv1.Frame{Statement: &crossingv1.Statement{Claim: []byte("claim")}}, true); err != nil {
		t.Errorf("a statement is not written: %v", err)
	}
	r.endOutage()
	if r.Outage() == nil {
		t.Error("the outage has ended, and there is no more room")
	}
	sys.Set(disktest.Faults{})
	r.endOutage()
	if _, err := open(); err != nil || r.Outage() != nil {
		t.Errorf("Open = %v, outage %v", err, r.Outage())
	}
}
