// Hostile is a program whose tests attack the build that runs them. It tries what an
// attacker would whose commit is built: to find something that is of use (a token, a
// socket, a way out, a process of somebody else), to write where others read, and to
// leave something behind. It passes when it has found nothing, and says of each
// attempt what came of it:
//
//	hostile: NAME: nothing|found|left: TEXT
//
// "left" is what somebody else has to look for: that a result was written is no harm
// yet; that somebody believes it would be.
//
// The same attempts outside of a build, where there is something to be found, are the
// program itself (the twin). Whatever succeeds does no harm: what is mounted is
// unmounted, what is opened is neither read nor written. No secret is printed.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"time"
)

func main() {
	child()
	factory := flag.Bool("in-the-factory", false, "this is a pod of the local factory, and nothing else")
	listen := flag.String("listen", "", "be somebody with an abstract socket of that name, for a minute")
	flag.Parse()
	switch {
	case *listen != "":
		lis, err := net.Listen("unix", "@"+*listen)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		defer lis.Close()
		time.Sleep(time.Minute)
	case *factory:
		companion()
		for _, r := range tryAll() {
			fmt.Println(r)
		}
		fmt.Println("hostile: that was all")
	default:
		fmt.Fprintln(os.Stderr, "it knocks at addresses of the local factory: start it nowhere else")
		os.Exit(2)
	}
}

// companion waits for the other container of the pod, which is there to be found.
func companion() {
	for range 300 {
		if outcome, _ := namedSockets(); outcome == found {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// child is what the program starts itself for.
func child() {
	switch os.Getenv("HOSTILE_CHILD") {
	case "nothing":
		os.Exit(0)
	case "stay":
		time.Sleep(time.Hour)
		os.Exit(0)
	}
}
