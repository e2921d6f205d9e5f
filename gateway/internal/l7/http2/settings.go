package http2

import "encoding/binary"

const settingLen = 6

// settingID names a parameter (RFC 9113 6.5.2).
type settingID uint16

const (
	setTableSize  settingID = 0x1
	setPush       settingID = 0x2
	setMaxStreams settingID = 0x3
	setWindow     settingID = 0x4
	setFrameSize  settingID = 0x5
	setHeadList   settingID = 0x6
)

type setting struct {
	id    settingID
	value uint32
}

// firstStreams is how many streams a client opens before its peer has said how
// many it takes; RFC 9113 6.5.2 advises nobody to take fewer.
const firstStreams = 100

// peerSettings is what the peer has told, as far as it matters here.
type peerSettings struct {
	streams uint32
	window  int64
	frame   int // the longest payload to send
}

func newPeerSettings() peerSettings {
	return peerSettings{streams: firstStreams, window: firstWindow, frame: frameSize}
}

// announce is what this end says first.
func (c *Conn) announce() {
	out := c.out.pending
	first := setting{setMaxStreams, c.cfg.MaxStreams}
	if !c.server {
		out = append(out, preface...)
		first = setting{setPush, 0}
	}
	out = appendSettings(out, first,
		setting{setWindow, c.cfg.StreamWindow},
		setting{setHeadList, uint32(c.cfg.MaxHead)}) //nolint:gosec // the default or a caller's constant
	if more := c.cfg.ConnWindow - firstWindow; more > 0 {
		out = appendWindow(out, 0, more)
	}
	c.out.pending = out
}

// settings takes a SETTINGS frame.
func (c *Conn) settings(h header, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case h.stream != 0:
		return broken(ProtocolError, "SETTINGS on stream %d", h.stream)
	case h.has(flagAck) && h.length != 0, h.length%settingLen != 0:
		return broken(FrameSizeError, "SETTINGS of %d bytes", h.length)
	case h.has(flagAck) && c.acked:
		return broken(ProtocolError, "SETTINGS were acknowledged twice")
	case h.has(flagAck):
		c.acked = true
		for _, s := range c.streams {
			s.recv.credit -= unannounced(c.cfg.StreamWindow)
		}
		return nil
	}
	first := !c.greeted
	c.greeted = true
	if first {
		c.peer.streams = maxStream // unless it says less
	}
	for ; len(p) > 0; p = p[settingLen:] {
		s := setting{settingID(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:])}
		if err := c.set(s); err != nil {
			return err
		}
	}
	c.answer(appendSettingsAck(c.out.pending))
	c.fill() // windows may have grown
	return c.overrun()
}

// unannounced is what a peer that has not heard of a smaller window may send on a
// stream beyond it (RFC 9113 6.9.3).
func unannounced(window uint32) int64 { return max(0, firstWindow-int64(window)) }

// set takes one parameter. The caller holds mu.
func (c *Conn) set(s setting) error {
	switch s.id {
	case setTableSize:
		c.out.fields.Resize(s.value)
	case setPush:
		if s.value > 1 || !c.server && s.value != 0 {
			return broken(ProtocolError, "ENABLE_PUSH is %d", s.value)
		}
	case setMaxStreams:
		c.peer.streams = s.value
	case setWindow:
		return c.rewindow(s.value)
	case setFrameSize:
		if s.value < frameSize || s.value > 1<<24-1 {
			return broken(ProtocolError, "MAX_FRAME_SIZE is %d", s.value)
		}
		c.peer.frame = int(min(s.value, largeFrame))
	case setHeadList: // advice: a head that is too long is refused by the peer itself
	}
	return nil
}

// rewindow changes what may be sent on each stream that is open, which may
// become less than nothing (RFC 9113 6.9.2). The caller holds mu.
func (c *Conn) rewindow(size uint32) error {
	if size > maxWindow {
		return broken(FlowControlError, "INITIAL_WINDOW_SIZE is %d", size)
	}
	more := int64(size) - c.peer.window
	c.peer.window = int64(size)
	for _, s := range c.streams {
		if s.send += more; s.send > maxWindow {
			return broken(FlowControlError, "INITIAL_WINDOW_SIZE of %d makes a window of %d", size, s.send)
		}
		c.credited(s)
	}
	return nil
}
