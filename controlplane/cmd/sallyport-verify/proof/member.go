package proof

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/frame"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/merkle"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/message"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/spiffe"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/statement"
	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport-verify/wire"
)

// members holds that the frames are of one crossing, and that the statements are over
// them: each statement over one of them at least.
func (c *Crossing) members(e *wire.Message) error {
	if len(e.Subs("members")) == 0 {
		return errors.New("it has no frame of the crossing")
	}
	used := make([]bool, len(c.Statements))
	for at, m := range e.Subs("members") {
		of := m.Uint("statement")
		if of >= uint64(len(c.Statements)) {
			return fmt.Errorf("frame %d: there is no statement %d", at+1, of)
		}
		used[of] = true
		if err := c.member(m, &c.Statements[of]); err != nil {
			return fmt.Errorf("frame %d: %w", at+1, err)
		}
	}
	if at := slices.Index(used, false); at >= 0 {
		return fmt.Errorf("entry %d: it is over no frame of the proof", c.Statements[at].Index)
	}
	return nil
}

func (c *Crossing) member(m *wire.Message, of *Logged) error {
	f, err := frame.Read(m.Bytes("frame"))
	if err != nil {
		return err
	}
	p, is, err := frame.PlaceOf(f)
	if err == nil && !is {
		err = errors.New("it has neither an opening nor an end")
	}
	if err == nil {
		err = p.Speaks()
	}
	if err == nil {
		err = c.take(&p)
	}
	if err != nil {
		return err
	}
	at, size, want, err := place(&p, of.Statement)
	if err != nil {
		return err
	}
	path, err := merkle.Path(m.Bytes("path"))
	if err != nil {
		return err
	}
	root, err := merkle.Root(merkle.Leaf(m.Bytes("frame")), at, size, path)
	if err != nil {
		return err
	}
	if root != want {
		return fmt.Errorf("the frame of %s is not what it stated of number %d in epoch %d: with its path it comes to another root",
			spiffe.Name(f.Text("gateway")), p.Number, of.Epoch)
	}
	return nil
}

// take takes a frame up as a part of the one crossing.
func (c *Crossing) take(p *frame.Place) error {
	chain := statement.Chain{Egress: string(p.Egress), Ingress: string(p.Ingress), Run: string(p.Run)}
	switch {
	case chain != c.Chain:
		return errors.New("it is of another chain than its statement")
	case c.ID == "":
		c.ID, c.Number = string(p.ID), p.Number
	case c.ID != string(p.ID) || c.Number != p.Number:
		return errors.New("it is of another crossing than the frame before")
	}
	a := &c.Egress
	if p.Side == message.Ingress {
		a = &c.Ingress
	}
	at := &a.Open
	if p.Ending {
		at = &a.Close
	}
	if *at != nil {
		return errors.New("the same is there twice")
	}
	*at = p.Of
	return nil
}

// place is a frame's place in its list, how long that is, and its root.
func place(p *frame.Place, s *statement.Statement) (at, size uint64, root merkle.Hash, err error) {
	roots := s.Roots
	if p.Side == message.Ingress {
		if s.Answer == nil {
			return 0, 0, root, errors.New("its gateway has not answered the claim")
		}
		roots = s.Answer.Roots
	}
	if !p.Ending {
		if p.Number < s.First || p.Number >= s.Next {
			return 0, 0, root, fmt.Errorf("number %d did not open in epoch %d", p.Number, s.Epoch)
		}
		return p.Number - s.First, s.Next - s.First, roots.Opened, nil
	}
	i, found := slices.BinarySearch(s.Closed, p.Number)
	if !found {
		return 0, 0, root, fmt.Errorf("number %d did not end in epoch %d", p.Number, s.Epoch)
	}
	return uint64(i), uint64(len(s.Closed)), roots.Closed, nil
}

// Differences are those that both gateways have signed of the crossing.
func (c *Crossing) Differences() (all []statement.Difference) {
	for _, s := range c.Statements {
		all = append(all, s.Differs(c.Number)...)
	}
	return all
}
