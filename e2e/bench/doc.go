// Package bench measures what the README claims. Times are compared with a
// named peer, or with a bound, in the same run. It holds tests only; the load
// generator, the accounting and the bare pairs are in the packages below.
package bench
