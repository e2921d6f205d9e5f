package network

import (
	"net/netip"
	"testing"

	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

func TestCheck(t *testing.T) {
	n := Of(&policyv1.Policy{Environments: map[string]*policyv1.Environment{
		"aws":   {Networks: []string{"10.1.0.0/16", "127.2.0.0/16", "not a network"}},
		"azure": {Networks: []string{"10.2.0.0/16", "fd00:2::/64"}},
		"open":  {},
	}})
	for _, c := range []struct {
		environment, address, want string
	}{
		{"aws", "10.1.2.3", ""},
		{"azure", "fd00:2::1", ""},
		{"azure", "::ffff:10.2.0.1", ""},
		{"azure", "10.1.2.3", "10.1.2.3 is in network 10.1.0.0/16 of environment aws, not in azure"},
		{"azure", "10.9.2.3", "10.9.2.3 is in none of the networks of environment azure"},
		{"azure", "127.0.0.1", ""},
		{"azure", "127.2.0.1", "127.2.0.1 is in network 127.2.0.0/16 of environment aws, not in azure"},
		{"open", "10.9.2.3", ""},
		{"open", "10.1.2.3", "10.1.2.3 is in network 10.1.0.0/16 of environment aws, not in open"},
	} {
		got := ""
		if err := n.Check(c.environment, netip.MustParseAddr(c.address)); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("Check(%s, %s) = %q, want %q", c.environment, c.address, got, c.want)
		}
	}
}
