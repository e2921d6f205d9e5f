// Package protocols knows which package reads what a service speaks.
package protocols

import (
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/anthropic"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/kserve"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/mcp"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/oci"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/openai"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/s3"
)

// Of gives what reads a protocol, by its name in the policy; nil if its content says
// nothing that a policy could ask for, and its callers expect no refusal of its own.
func Of(protocol string) inspect.Protocol {
	switch protocol {
	case "openai":
		return openai.Protocol{}
	case "anthropic":
		return anthropic.Protocol{}
	case "mcp":
		return mcp.Protocol{}
	case "kserve":
		return kserve.Protocol{}
	case "oci":
		return oci.Protocol{}
	case "s3":
		return s3.Protocol{}
	}
	return nil
}
