// Package hostile holds black-box tests of the mesh in bad hands: forged identities
// and records, stolen keys, malformed bytes, wrong clocks. It holds tests only.
package hostile
