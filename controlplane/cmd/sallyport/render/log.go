package render

import (
	"fmt"
	"io"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

// Checkpoints writes the logs' last checkpoints as they were signed, and what is wrong
// with a log.
func Checkpoints(w io.Writer, logs []*controlv1.LogStatus) error {
	for i, l := range logs {
		if i > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		text := l.GetCheckpoint()
		if text == "" {
			text = fmt.Sprintf("The log of %s has no checkpoint yet.\n", l.GetTrustDomain())
		}
		if l.GetFailed() != "" {
			text += fmt.Sprintf("FAILED: %s\n", l.GetFailed())
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return nil
}
