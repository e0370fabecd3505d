// Sample is what the factory's own demonstration builds: a program of the
// standard library alone, that says what it was built from.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	fmt.Println(greeting())
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, os.Interrupt)
	<-ended
}

func greeting() string { return "built by the factory with " + runtime.Version() }
