package carrier_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-mesh/sallyport/gateway/internal/tunnel/carrier"
)

func TestVolume(t *testing.T) {
	tests := []struct {
		name  string
		piece int
		every time.Duration
		times int
		want  bool
	}{
		{"tokens for hours", 200, 20 * time.Millisecond, 200_000, false},
		{"a model", 32 << 10, time.Millisecond, 32, true},
		{"the limit, too slowly", 64 << 10, time.Second, 64, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := carrier.NewVolume()
				bulk := false
				for range tt.times {
					bulk = v.Add(tt.piece) || bulk
					<-time.After(tt.every)
				}
				if bulk != tt.want {
					t.Errorf("bulk is %v, want %v", bulk, tt.want)
				}
			})
		})
	}
}
