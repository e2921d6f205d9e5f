//go:build !race

package pack

// raceEnabled says that the race detector is on, under which all takes many times as long.
const raceEnabled = false
