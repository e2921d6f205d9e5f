package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	configv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/config/v1"
)

// maxBootstrap is far more than any bundle needs, in bytes.
const maxBootstrap = 1 << 20

// readBootstrap reads a bootstrap file. Unknown and duplicate fields are refused;
// an error names file, line, column and field.
func readBootstrap(path string) (*configv1.Bootstrap, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read bootstrap file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBootstrap+1))
	if err != nil {
		return nil, fmt.Errorf("read bootstrap file: %w", err)
	}
	if len(text) > maxBootstrap {
		return nil, fmt.Errorf("%s: larger than %d bytes: this is no bootstrap file", path, maxBootstrap)
	}
	b, err := parseBootstrap(text)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	return b, nil
}

// parseBootstrap parses a bootstrap file. An error begins with "LINE:COLUMN: ".
func parseBootstrap(text []byte) (*configv1.Bootstrap, error) {
	b := new(configv1.Bootstrap)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: false}).Unmarshal(text, b); err != nil {
		return nil, positioned(err, text)
	}
	return b, nil
}

// positioned turns protojson's `proto: syntax error (line 3:5): unknown field "x"`
// into `3:5: unknown field "x"`. An error without a position is one of a file that
// ends too early.
func positioned(err error, text []byte) error {
	// protojson varies its spaces on purpose, so that nobody compares the text.
	said := strings.TrimSpace(strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto:"))
	m := regexp.MustCompile(`^(?:syntax error )?\(line (\d+):(\d+)\): (.*)$`).FindStringSubmatch(said)
	if m == nil {
		return fmt.Errorf("%d:1: %s", 1+strings.Count(string(text), "\n"), said)
	}
	return errors.New(m[1] + ":" + m[2] + ": " + m[3])
}
