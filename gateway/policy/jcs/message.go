package jcs

import (
	"bytes"
	"encoding/json"
	"errors"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// ErrNotCanonical says that bytes are not the canonical form of what they say.
var ErrNotCanonical = errors.New("not in canonical form")

// Marshal is a message in protobuf's JSON, canonical, with empty fields left out. It
// fails if a text is not UTF-8, or a number no integer.
func Marshal(m proto.Message) ([]byte, error) {
	text, err := (protojson.MarshalOptions{}).Marshal(m)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return Append(make([]byte, 0, len(text)), v)
}

// Unmarshal reads a message from its canonical bytes; any others are refused.
func Unmarshal(canonical []byte, m proto.Message) error {
	if err := (protojson.UnmarshalOptions{}).Unmarshal(canonical, m); err != nil {
		return err
	}
	again, err := Marshal(m)
	if err == nil && !bytes.Equal(again, canonical) {
		err = ErrNotCanonical
	}
	return err
}
