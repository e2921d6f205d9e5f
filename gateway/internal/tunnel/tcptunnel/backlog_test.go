package tcptunnel

import "testing"

// TestBacklog: streams come out in the order in which they came, and what was taken
// out takes no room for long.
func TestBacklog(t *testing.T) {
	var b backlog
	in, out := 0, 0
	push := func() { b.push(&stream{sending: sending{bytes: in}}); in++ }
	pop := func() {
		if s := b.pop(); s.bytes != out {
			t.Fatalf("stream %d came out as number %d", s.bytes, out)
		}
		out++
	}
	for n := range 1000 { // it is never empty
		push()
		push()
		pop()
		for n%100 == 0 && b.len() > 1 {
			pop()
		}
	}
	if most := cap(b.streams); most > 400 {
		t.Errorf("room for %d, and never more than 101 were in", most)
	}
	for b.len() > 0 {
		pop()
	}
	if in != out || cap(b.streams) > usualBacklog {
		t.Errorf("%d in, %d out, room for %d kept", in, out, cap(b.streams))
	}
}
