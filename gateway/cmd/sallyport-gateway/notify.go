package main

import (
	"fmt"
	"net"
	"os"
)

// notify tells the service manager of this process, where there is one that wants
// to know (sd_notify(3)): that it is up, so that what is ordered after its unit may
// count on it, or which process has taken its place.
func notify(state string) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}
