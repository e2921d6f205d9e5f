package witness

import (
	"net/http"
	"strings"
	"testing"
)

// TestRun serves over a network, and gives the directory free when it ends.
func TestRun(t *testing.T) {
	t.Parallel()
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

// TestRunFails holds that the directory is not another's while a witness that failed
// may still be writing to it.
func TestRunFails(t *testing.T) {
	t.Parallel()
	w := open(t, testConfig(t, newLog(t, testOrigin)))
	w.listener.Close()
	if err := w.Run(t.Context()); err == nil {
		t.Error("it ran without a listener")
	}
	if another, err := New(w.cfg); err == nil || !strings.Contains(err.Error(), "used by another witness") {
		t.Errorf("New = %v, %v", another, err)
	}
}
