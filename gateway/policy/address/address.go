// Package address reads how a policy writes where something is: ports, hosts and names.
//
// The one invariant: what it accepts has one way to be written.
package address

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Port reads a port in decimal, without sign or leading zero.
func Port(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16) // which takes no sign
	if err != nil || text[0] == '0' {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", text)
	}
	return uint16(n), nil
}

// CheckHost accepts nothing, an IP address or a DNS name.
func CheckHost(host string) error {
	if host == "" {
		return nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if len(host) > 253 {
		return fmt.Errorf("host %q is longer than 253 characters", host)
	}
	for label := range strings.SplitSeq(host, ".") {
		if !IsLabel(label) {
			return fmt.Errorf("host %q is neither an IP address nor a DNS name", host)
		}
	}
	return nil
}

// CheckHostPort accepts HOST:PORT with both present.
func CheckHostPort(text string) error {
	i := strings.LastIndexByte(text, ':')
	if i <= 0 {
		return fmt.Errorf("%q is not HOST:PORT", text)
	}
	if _, err := Port(text[i+1:]); err != nil {
		return err
	}
	host := text[:i]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	} else if strings.Contains(host, ":") {
		return fmt.Errorf("%q: an IPv6 address stands in brackets", text)
	}
	if host == "" {
		return fmt.Errorf("%q is not HOST:PORT", text)
	}
	return CheckHost(host)
}

// IsLabel says whether a name is a DNS label in lower case (RFC 1123 2.1).
func IsLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
