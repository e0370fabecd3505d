// Command build builds programs of the local factory and prints where they are:
//
//	go run ./tools/assets/build [-list] [-group usual|factory] [NAME…]
//
// Without names it builds a group: "usual" is all that the tests and the
// demonstration run, "factory" is all that the factory on one machine is made of.
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
	group := flag.String("group", "usual", "`group` of programs to build when no name is given: usual or factory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *list, *group, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, list bool, group string, names []string) error {
	if list {
		for _, name := range assets.Names() {
			fmt.Println(name)
		}
		return nil
	}
	if len(names) == 0 {
		var err error
		if names, err = members(group); err != nil {
			return err
		}
	}
	bin, err := assets.Ensure(ctx, os.Stderr, names...)
	if err != nil {
		return err
	}
	for _, name := range names {
		fmt.Println(bin.Path(name))
	}
	return nil
}

func members(group string) ([]string, error) {
	switch group {
	case "usual":
		return assets.Usual(), nil
	case "factory":
		return assets.Factory(), nil
	default:
		return nil, fmt.Errorf("there is no group %q; there are usual and factory", group)
	}
}
