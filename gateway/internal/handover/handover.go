// Package handover lets one process of a gateway take the place of another
// without a connection that is refused meanwhile: the one that runs starts its
// successor and hands it open files, above all its listening sockets, and goes
// on until the successor says that it is ready. It knows nothing of what the
// files are for.
//
// The successor finds them by one environment variable, a JSON object: how many
// handovers there were since a process began without one, and the number of each
// file by its name. One file is a pipe on which it says one byte when it is ready.
package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
)

// Variable is the environment variable that a successor is told by.
const Variable = "SALLYPORT_HANDOVER"

// readyFile is the name of the pipe's end that the successor writes to.
const readyFile = "ready"

// firstFile is the number of the first file beyond the standard ones.
const firstFile = 3

// legacy is what the environment variable says.
type legacy struct {
	Generation uint16         `json:"generation"`
	Files      map[string]int `json:"files"`
}

// Inheritance is what a process was handed by the one before it. A nil one is
// that of a process that was started by somebody else.
type Inheritance struct {
	generation uint16
	ready      *os.File

	mu    sync.Mutex // guards files
	files map[string]*os.File
}

// Receive takes what the environment variable's value speaks of; "" gives nil. The
// variable says nothing to anybody else, and should be unset.
func Receive(value string) (*Inheritance, error) {
	if value == "" {
		return nil, nil
	}
	var left legacy
	if err := json.Unmarshal([]byte(value), &left); err != nil {
		return nil, fmt.Errorf("read %s: %w", Variable, err)
	}
	i := &Inheritance{generation: left.Generation, files: map[string]*os.File{}}
	for name, number := range left.Files {
		if number < firstFile {
			return nil, fmt.Errorf("read %s: %q is file %d", Variable, name, number)
		}
		i.files[name] = os.NewFile(uintptr(number), name)
	}
	if i.ready = i.Take(readyFile); i.ready == nil {
		return nil, fmt.Errorf("read %s: nobody waits until this process is ready", Variable)
	}
	return i, nil
}

// Generation is how many handovers there were since a process began without
// one, modulo 65,536.
func (i *Inheritance) Generation() uint16 {
	if i == nil {
		return 0
	}
	return i.generation
}

// Take gives a file, which is the caller's from then on; nil if there is none of
// that name.
func (i *Inheritance) Take(name string) *os.File {
	if i == nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	f := i.files[name]
	delete(i.files, name)
	return f
}

// Accept tells the process before this one that it is not needed any more, and
// closes files that nobody took. That nobody is there to be told is no error:
// then it has ended already.
func (i *Inheritance) Accept() error {
	if i == nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	left := i.files
	i.files = nil
	i.ready.Write([]byte{1}) //nolint:errcheck // a predecessor that has gone needs no word
	return errors.Join(CloseAll(left), i.ready.Close())
}
