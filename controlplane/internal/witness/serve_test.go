package witness

import (
	"net/http"
	"testing"
)

// TestRun serves over a network, and gives the directory free when it ends.
func TestRun(t *testing.T) {
	l := newLog(t, testOrigin)
	l.grow(3)
	cfg := testConfig(t, l)
	for _, want := range []int{http.StatusOK, http.StatusConflict} {
		w, stop := serve(t, cfg)
		if got := ask(t, "http://"+w.Addr().String(), l.request(0, 3)); got.code != want {
			t.Errorf("add-checkpoint = %+v, want %d", got, want)
		}
		stop()
	}
}
