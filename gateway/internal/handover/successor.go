package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"time"
)

// ErrNotReady says that a successor did not become ready in time.
var ErrNotReady = errors.New("the successor is not ready")

// Successor is the process that took this one's place.
type Successor struct {
	// PID is its process id.
	PID int
	// Ended gives how it has ended, once it has.
	Ended <-chan error
}

// Start starts cmd as the successor of a process of a generation, with files by
// their names, and waits until it says that it is ready. If it ends before that,
// or is not ready when the bound has passed or the context ends, nothing of it
// is left and the error says why. The files stay the caller's.
func Start(ctx context.Context, cmd *exec.Cmd, generation uint16, files map[string]*os.File, bound time.Duration) (*Successor, error) {
	hear, say, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start successor: %w", err)
	}
	defer hear.Close()
	if err = bequeath(cmd, generation, files, say); err == nil {
		err = cmd.Start()
	}
	say.Close() // the successor has it, or nobody
	if err != nil {
		return nil, fmt.Errorf("start successor: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := await(ctx, hear, bound); err != nil {
		cmd.Process.Kill() //nolint:errcheck // it may have ended by itself
		if end := <-ended; errors.Is(err, io.EOF) {
			err = fmt.Errorf("it ended: %w", or(end, err))
		}
		return nil, fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	return &Successor{PID: cmd.Process.Pid, Ended: ended}, nil
}

func or(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// bequeath tells cmd of the files by its environment.
func bequeath(cmd *exec.Cmd, generation uint16, files map[string]*os.File, say *os.File) error {
	left := legacy{Generation: generation + 1, Files: map[string]int{}}
	add := func(name string, f *os.File) {
		left.Files[name] = firstFile + len(cmd.ExtraFiles)
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name == readyFile {
			return fmt.Errorf("a file is named %q", name)
		}
		add(name, files[name])
	}
	add(readyFile, say)
	text, err := json.Marshal(left)
	if err != nil {
		return err
	}
	cmd.Env = append(cmd.Environ(), Variable+"="+string(text))
	return nil
}

// await waits for the successor's byte. io.EOF says that it has closed its end,
// so that it has ended.
func await(ctx context.Context, hear *os.File, bound time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	defer context.AfterFunc(ctx, func() { hear.SetReadDeadline(time.Unix(1, 0)) })() //nolint:errcheck // reading says what is wrong
	_, err := io.ReadFull(hear, make([]byte, 1))
	if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return ctx.Err()
	}
	return err
}
