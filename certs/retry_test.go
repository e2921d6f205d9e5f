package certs

import (
	"testing"
	"time"
)

func TestRetries(t *testing.T) {
	r := retries{}.NewBackoff()
	for range 3 {
		bound := firstRetry
		for i := range 20 {
			if d := r.Next(); d < bound/2 || d > bound {
				t.Errorf("wait %d = %v, want from %v to %v", i, d, bound/2, bound)
			}
			bound = min(2*bound, lastRetry)
		}
		r.Reset()
	}
	if lastRetry > 10*time.Second {
		t.Errorf("waits grow to %v, longer than a short SVID lasts", lastRetry)
	}
}
