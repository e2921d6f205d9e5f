package tunnel

var _ Buffered = (*unsettled)(nil)

// Buffered implements Buffered, where the stream is settled as it was opened: of
// any other one it does not know.
func (u *unsettled) Buffered() int {
	if !u.settled.Load() || u.chosen != &u.first {
		return 0
	}
	if b, ok := u.chosen.stream.(Buffered); ok {
		return b.Buffered()
	}
	return 0
}
