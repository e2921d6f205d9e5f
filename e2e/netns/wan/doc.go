// Package wan makes network namespaces and joins two of them by an emulated
// wide-area path: delay, random loss, a rate and a queue. It stands in for
// netem, which many kernels lack, with two TUN devices and a relay in this
// process. It needs root, Linux and iproute2, and leaves nothing behind: a
// namespace has no name and goes with the last that holds it.
//
// The invariant: a packet is delivered whole, once, in order and never early,
// or it is dropped and counted.
package wan
