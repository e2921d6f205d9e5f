package openai

import (
	"errors"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/jsonscan"
)

func unreadable(what string, cause error) error {
	return &inspect.Error{Kind: inspect.ErrUnreadable, What: what, Cause: cause}
}

func ambiguous(what string, cause error) error {
	return &inspect.Error{Kind: inspect.ErrAmbiguous, What: what, Cause: cause}
}

// scanned is what a scan ended with, as an *inspect.Error.
func scanned(err error) error {
	if told, ok := errors.AsType[*inspect.Error](err); ok {
		return told
	}
	if errors.Is(err, jsonscan.ErrAmbiguous) {
		return ambiguous(err.Error(), err)
	}
	return unreadable(err.Error(), err)
}
