package tunnel

import (
	"errors"
	"net"
	"testing"
)

func TestResetErrors(t *testing.T) {
	tests := []struct {
		err  *ResetError
		want string
	}{
		{&ResetError{Code: TunnelClosed}, "stream reset here: tunnel closed"},
		{&ResetError{Code: CallerGone, Remote: true}, "stream reset by the peer: caller gone"},
		{&ResetError{Code: DestinationGone}, "stream reset here: destination gone"},
		{&ResetError{Code: ProtocolError}, "stream reset here: protocol error"},
		{&ResetError{Code: Refused}, "stream reset here: refused"},
		{&ResetError{Code: Stopped}, "stream reset here: gateway stopping"},
		{&ResetError{Code: 77}, "stream reset here: reset code 77"},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("Error() = %q, want %q", got, tt.want)
		}
		if !errors.Is(tt.err, net.ErrClosed) {
			t.Errorf("%v is not net.ErrClosed", tt.err)
		}
	}
}
