// Command build builds programs of the local factory and prints where they are:
//
//	go run ./tools/assets/build [-list] [NAME…]
//
// Without names it builds all that the tests and the demonstration run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"millwright.dev/millwright/tools/assets"
)

func main() {
	list := flag.Bool("list", false, "print the names there are, and stop")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *list, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, list bool, names []string) error {
	if list {
		for _, name := range assets.Names() {
			fmt.Println(name)
		}
		return nil
	}
	if len(names) == 0 {
		names = assets.Usual()
	}
	for _, name := range names { // one by one, so that what is done is printed
		bin, err := assets.Ensure(ctx, os.Stderr, name)
		if err != nil {
			return err
		}
		fmt.Println(bin.Path(name))
	}
	return nil
}
