package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/controlplane/internal/inventory"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/join"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/records"
	"github.com/sallyport-mesh/sallyport/controlplane/internal/store"
)

func TestStatusOf(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("open /secret/path: %w", err) }
	tests := []struct {
		name string
		err  error
		want codes.Code
		told bool
	}{
		{"invalid", invalid("bad"), codes.InvalidArgument, true},
		{"precondition", precondition("bad"), codes.FailedPrecondition, true},
		{"missing", missing("bad"), codes.NotFound, true},
		{"denied", denied("bad"), codes.PermissionDenied, true},
		{"a status of ours", status.Error(codes.Aborted, "replaced"), codes.Aborted, true},
		{"another server's status", wrap(status.Error(codes.NotFound, "secret")), codes.Internal, false},
		{"unidentified", wrap(errUnidentified), codes.Unauthenticated, false},
		{"stopping", errStopping, codes.Unavailable, true},
		{"cancelled", wrap(context.Canceled), codes.Canceled, true},
		{"too long", wrap(context.DeadlineExceeded), codes.DeadlineExceeded, true},
		{"slow follower", wrap(join.ErrSlow), codes.ResourceExhausted, true},
		{"store conflict", wrap(store.ErrConflict), codes.FailedPrecondition, true},
		{"store has not", wrap(store.ErrNotFound), codes.NotFound, true},
		{"store fails", wrap(store.ErrUnavailable), codes.Unavailable, false},
		{"records' store is asked for nonsense", wrap(records.ErrInvalid), codes.InvalidArgument, true},
		{"records' store fails", wrap(records.ErrFull), codes.Unavailable, false},
		{"anything", wrap(errors.New("x")), codes.Internal, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st, told := statusOf(tt.err)
			if st.Code() != tt.want || told != tt.told {
				t.Errorf("statusOf(%v) = %v, %v, want %v, %v", tt.err, st.Code(), told, tt.want, tt.told)
			}
			if strings.Contains(st.Message(), "secret") {
				t.Errorf("statusOf(%v) tells %q", tt.err, st.Message())
			}
		})
	}
}

func TestStatusOfInventory(t *testing.T) {
	for err, want := range map[error]codes.Code{
		inventory.ErrInvalid:         codes.InvalidArgument,
		inventory.ErrUnknownWorkload: codes.NotFound,
		inventory.ErrNotAllowed:      codes.PermissionDenied,
	} {
		st, told := statusOf(fmt.Errorf("register workload %q: %w", "llm", err))
		if st.Code() != want || !told || !strings.Contains(st.Message(), "llm") {
			t.Errorf("statusOf(%v) = %v %q, want %v with the words", err, st.Code(), st.Message(), want)
		}
	}
}

func TestWordsAreClipped(t *testing.T) {
	for _, tt := range []struct{ name, words, want string }{
		{"short", "no", "no"},
		{"just as long as may be", strings.Repeat("a", 16), strings.Repeat("a", 16)},
		{"too long", strings.Repeat("a", 17), strings.Repeat("a", 12) + " ..."},
		{"cut inside a letter", strings.Repeat("a", 11) + "\u00e9 and more", strings.Repeat("a", 11) + " ..."},
		{"no text", "a\xff", "a?"},
	} {
		if got := clip(tt.words, 16); got != tt.want {
			t.Errorf("%s: clip(%q) = %q, want %q", tt.name, tt.words, got, tt.want)
		}
	}
	if n := len(invalid("%s", strings.Repeat("a", 1<<20)).Error()); n > maxWords {
		t.Errorf("a caller is told %d bytes", n)
	}
}
