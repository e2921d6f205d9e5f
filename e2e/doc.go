// Package e2e holds black-box tests of the mesh: real gateways, a real control
// plane and clients that others wrote. It holds tests only.
package e2e
