// Package bench measures what the README claims. Times are compared with a
// named peer, or with a bound, in the same run. It holds tests only.
package bench
