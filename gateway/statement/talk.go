package statement

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// WriteTalk writes one message of an exchange: its length, four bytes big-endian,
// and its encoding, in one Write.
func WriteTalk(w io.Writer, t *crossingv1.Talk) error {
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(make([]byte, 4), t)
	if err == nil && len(b)-4 > MaxTalk {
		err = fmt.Errorf("%d bytes, the most is %d", len(b)-4, MaxTalk)
	}
	if err == nil {
		binary.BigEndian.PutUint32(b, uint32(len(b)-4))
		_, err = w.Write(b)
	}
	if err != nil {
		return fmt.Errorf("talk about statements: %w", err)
	}
	return nil
}

// ReadTalk reads one. It refuses more than MaxTalk bytes, and what has fields that
// are not known or says not exactly one thing. The end of the stream before the
// first byte is io.EOF.
func ReadTalk(r io.Reader) (*crossingv1.Talk, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("talk about statements: %w", err)
	}
	t, err := readTalk(r, binary.BigEndian.Uint32(head[:]))
	if err != nil {
		return nil, fmt.Errorf("talk about statements: %w", err)
	}
	return t, nil
}

func readTalk(r io.Reader, size uint32) (*crossingv1.Talk, error) {
	if size > MaxTalk {
		return nil, fmt.Errorf("%d bytes, the most is %d", size, MaxTalk)
	}
	var b bytes.Buffer // it grows as the bytes come, not as the peer says
	if _, err := io.CopyN(&b, r, int64(size)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	t := new(crossingv1.Talk)
	if err := decode(b.Bytes(), t); err != nil {
		return nil, err
	}
	said := 0
	for _, there := range [...]bool{
		t.GetClaimed() != nil, t.GetAsk() != nil, t.GetTold() != nil,
		t.GetAnswered() != nil, t.GetRefused() != nil, t.GetBeat() != nil,
	} {
		if there {
			said++
		}
	}
	if said != 1 {
		return nil, fmt.Errorf("it says %d things, want one", said)
	}
	return t, nil
}
