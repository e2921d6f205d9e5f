// Package spiffe reads SPIFFE IDs, as the SPIFFE ID specification has them.
package spiffe

import (
	"fmt"
	"strings"
)

const scheme = "spiffe://"

// TrustDomain is the trust domain of an ID. It refuses what is no ID.
func TrustDomain(id string) (string, error) {
	rest, found := strings.CutPrefix(id, scheme)
	if !found {
		return "", fmt.Errorf("%.256q is no SPIFFE ID: it does not begin with %s", id, scheme)
	}
	td, path, has := strings.Cut(rest, "/")
	if !IsTrustDomain(td) {
		return "", fmt.Errorf("%.256q is no SPIFFE ID: its trust domain is none", id)
	}
	for segment := range strings.SplitSeq(path, "/") {
		if has && !isSegment(segment) {
			return "", fmt.Errorf("%.256q is no SPIFFE ID: its path is none", id)
		}
	}
	return td, nil
}

// IsTrustDomain says that it is the name of a trust domain.
func IsTrustDomain(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_", r))
	})
}

func isSegment(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_", r))
	})
}

// Name is the last segment of an ID's path: what people call a gateway.
func Name(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }
