package gateway

import (
	"cmp"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sallyport-mesh/sallyport/gateway/internal/exchange"
	"github.com/sallyport-mesh/sallyport/gateway/internal/hold"
	"github.com/sallyport-mesh/sallyport/gateway/internal/quota"
)

const (
	// defaultPerCaller is what one caller may have under way unless the bootstrap
	// file says otherwise: far more than honest callers need, so that one which
	// loops cannot take all of a gateway.
	defaultPerCaller = 20_000
	// defaultHeld is how much of contents is held at one time, in bytes.
	defaultHeld = 256 << 20
	// longest is the longest time of a limit: records bound durations so.
	longest = 366 * 24 * time.Hour
)

func (b *bootstrap) checkLimits() error {
	l := b.GetLimits()
	var faults []error
	for _, d := range [...]struct {
		field string
		value *durationpb.Duration
	}{{"head", l.GetHead()}, {"idle", l.GetIdle()}, {"silence", l.GetSilence()}, {"total", l.GetTotal()}} {
		if d.value == nil {
			continue
		}
		if t := d.value.AsDuration(); d.value.CheckValid() != nil || t < time.Millisecond || t > longest {
			faults = append(faults, fault("limits."+d.field, "want 1 ms to 366 days, not %s", t))
		}
	}
	return errors.Join(faults...)
}

// quota is what each caller may have under way, in either direction.
func (b *bootstrap) quota() *quota.Quota {
	return quota.New(cmp.Or(int(b.GetLimits().GetExchangesPerCaller()), defaultPerCaller))
}

// store is the room for contents that are held.
func (b *bootstrap) store() *hold.Store {
	return hold.NewStore(int64(min(cmp.Or(b.GetLimits().GetHeldBytes(), defaultHeld), 1<<62)))
}

// limits of each crossing.
func (b *bootstrap) limits() exchange.Limits {
	l := b.GetLimits()
	return exchange.Limits{
		RequestBytes: l.GetRequestBytes(),
		Silence:      l.GetSilence().AsDuration(),
		Total:        l.GetTotal().AsDuration(),
	}
}
