package certs

import (
	"errors"
	"fmt"
	"strings"
)

// saidOfPeers is what crypto/tls says of a certificate that it refuses before this
// package is asked, in words only, and which of our errors that is.
var saidOfPeers = []struct {
	words string
	is    error
}{
	{"tls: failed to parse client certificate: ", ErrNotSPIFFE},
	{"tls: failed to parse certificate from server: ", ErrNotSPIFFE},
	{"exceeds maximum of 262144 bytes", ErrNotSPIFFE}, // a certificate message; others may have 64 KiB
	{"sent certificate containing RSA key larger than ", ErrUntrusted},
	{"certificate contains an unsupported ", ErrUntrusted},
	{"certificate used with invalid signature algorithm", ErrUntrusted},
	// The peer has shown what it has no key of.
	{"tls: invalid signature by the client certificate: ", ErrUntrusted},
	{"tls: invalid signature by the server certificate: ", ErrUntrusted},
}

// HandshakeError gives the error of a failed handshake its sentinel where it is
// about what the peer showed; any other it gives back as it is. It is for those
// who count why peers are refused.
func HandshakeError(err error) error {
	if err == nil || errors.Is(err, ErrExpired) || errors.Is(err, ErrUntrusted) || errors.Is(err, ErrNotSPIFFE) || errors.Is(err, ErrUnauthorized) {
		return err
	}
	text := err.Error()
	for _, said := range saidOfPeers {
		if strings.Contains(text, said.words) {
			return fmt.Errorf("%w: %w", said.is, err)
		}
	}
	return err
}
