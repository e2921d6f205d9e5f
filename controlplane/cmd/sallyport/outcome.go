package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
)

// The exit codes.
const (
	yes         = 0
	refused     = 1
	couldNotSay = 2
)

// outcome is an answer that is not a plain yes. Its text goes to stderr; an
// empty text means that everything is said already.
type outcome struct {
	code  int
	text  string
	cause error
}

// Error is the text.
func (o *outcome) Error() string { return o.text }

// Unwrap is what it came from, if anything.
func (o *outcome) Unwrap() error { return o.cause }

// no is the answer no.
func no(format string, args ...any) error {
	return &outcome{code: refused, text: fmt.Sprintf(format, args...)}
}

// usage is a question that was not understood.
func usage(format string, args ...any) error {
	return &outcome{code: couldNotSay, text: fmt.Sprintf(format, args...)}
}

// quiet is an exit code for an answer that is on stdout or stderr already.
func quiet(code int) error { return &outcome{code: code} }

// found turns an empty list into the answer no.
func found(n int, what string) error {
	if n == 0 {
		return no("no %s found", what)
	}
	return nil
}

// report says what came of a command and gives its exit code. Errors of unknown
// kind mean that it could not tell: a no is only said by those who know it.
func (a *app) report(cmd *cobra.Command, err error) int {
	if err == nil {
		return yes
	}
	code, text := couldNotSay, err.Error()
	if errors.Is(err, context.Canceled) {
		text = "interrupted before the answer came"
	} else if o, ok := errors.AsType[*outcome](err); ok {
		code = o.code
		if o.text == "" {
			return code
		}
	} else if isUsage(text) {
		text += fmt.Sprintf("; see %s --help", cmd.CommandPath())
	}
	for line := range strings.Lines(text) {
		fmt.Fprintln(a.stderr, "sallyport: "+render.Printable(strings.TrimRight(line, "\n")))
	}
	return code
}

// isUsage recognises cobra's own complaints, which have no type.
func isUsage(text string) bool {
	for _, sign := range []string{"unknown command", "unknown flag", "unknown shorthand", "arg(s)", "invalid argument", "flag needs an argument", "required flag"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// answered turns an answer of the control API into an outcome. doing is what was
// asked for, as in "list crossings".
func answered(doing string, c *connection, err error) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	switch s.Code() {
	case codes.Canceled:
		return fmt.Errorf("%s: %w", doing, context.Canceled)
	case codes.NotFound:
		return &outcome{code: refused, text: doing + ": " + s.Message(), cause: err}
	case codes.Unavailable:
		return &outcome{code: couldNotSay, text: fmt.Sprintf("%s: %s does not answer: %s", doing, c.Name, s.Message()), cause: err}
	case codes.DeadlineExceeded:
		return &outcome{code: couldNotSay, text: fmt.Sprintf("%s: %s did not answer in time; it may still have done it", doing, c.Name), cause: err}
	case codes.PermissionDenied:
		text := fmt.Sprintf("%s: %s does not let %s do this; its configuration names the operators", doing, c.Name, c.As)
		return &outcome{code: couldNotSay, text: text, cause: err}
	}
	return &outcome{code: couldNotSay, text: doing + ": " + s.Message(), cause: err}
}
