// Command pause is the first process of every pod: it holds the pod's
// namespaces, buries the orphans of its process namespace, and ends when it is
// told to.
//
// It takes no input but signals, opens nothing and prints nothing.
package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 16)
	// The kernel gives the first process of a namespace only those signals that
	// it has asked for: without this, SIGTERM would be lost.
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	pause(signals)
}

// pause returns at the first signal that is not about a child.
func pause(signals <-chan os.Signal) {
	reap() // those that died before we listened
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		reap()
	}
}

// reap buries all children that are dead: one signal may stand for several.
func reap() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}
