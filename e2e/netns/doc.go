// Package netns runs the deployment of deploy/hosts as its README says, with a
// network namespace for each host and the real programs in them, and takes the
// network away from under it. It is the home of tests that need several hosts
// or a network that fails, and no way to run anything but tests.
//
// A Network is a router and the hosts around it. A Mesh is the deployment on one.
// Everything needs root, iproute2 and nftables; Require says so. Nothing outside
// the namespaces and a temporary directory is touched: each program sees /etc,
// /var/lib, /run and /root of its own host. Whatever a test does, its processes
// and namespaces are gone when it ends, and what a killed run left is swept away
// by the next one.
package netns
