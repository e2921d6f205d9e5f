package main

import (
	"fmt"
	"net"
	"os"
)

// notifyReady tells the service manager that this role is up, where there is
// one that wants to know (sd_notify(3)): what is ordered after this unit may
// count on it.
func notifyReady() error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		return fmt.Errorf("tell the service manager that all is ready: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("READY=1")); err != nil {
		return fmt.Errorf("tell the service manager that all is ready: %w", err)
	}
	return nil
}
