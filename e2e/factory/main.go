// Factory brings up the whole secure software factory on this machine:
// `make factory`, and `make factory-down` for its end. It needs root and Linux,
// and no Docker, no registry and no account.
//
//	factory up      start it in the background, and tell what happens until it is ready
//	factory restart end the node as if its machine had lost power, and start it again
//	factory down    end it and remove its data
//	factory exec    run a command inside the node's namespaces
//
// What is in the background is one process (`factory serve`), with everything
// else below it. Its steps are in serve.go; up and down only talk about it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"millwright.dev/millwright/e2e/node"
)

// options are the flags of all commands.
type options struct {
	root string // the millwright repository
	dir  string // data and logs
	keep bool   // down: leave the data
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == node.Inside {
		os.Exit(node.Main(os.Args[2]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log.SetLogger(logr.Discard()) // the client library's
	var o options
	flags := flag.NewFlagSet("factory", flag.ExitOnError)
	flags.StringVar(&o.root, "root", ".", "`folder` of the millwright repository")
	flags.StringVar(&o.dir, "dir", ".factory", "`folder` for data and logs")
	flags.BoolVar(&o.keep, "keep", false, "down: leave the data there")
	if len(os.Args) < 2 {
		usage()
	}
	_ = flags.Parse(os.Args[2:])
	err := o.locate()
	if err == nil {
		err = o.command(ctx, os.Args[1], flags.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "factory:", err)
		if len(node.Refusals(err)) > 0 {
			os.Exit(3) // no, as the project's other programs say it
		}
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: factory up|restart|down|exec [-root DIR] [-dir DIR] [-keep] [-- COMMAND]")
	os.Exit(2)
}

func (o options) command(ctx context.Context, name string, args []string) error {
	switch name {
	case "up":
		return up(ctx, o)
	case "serve":
		err := serve(ctx, o)
		if err != nil {
			fmt.Println("factory:", err) // to whoever follows the progress
		}
		return err
	case "restart":
		return restart(ctx, o)
	case "down":
		return down(ctx, o)
	case "exec":
		return enter(o, args)
	}
	usage()
	return nil
}

func (o *options) locate() error {
	var err error
	if o.root, err = filepath.Abs(o.root); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(o.root, "go.mod")); err != nil {
		return fmt.Errorf("%s is not the millwright repository: run make factory in it", o.root)
	}
	o.dir, err = filepath.Abs(o.dir)
	return err
}

// path is a file of the factory's folder.
func (o options) path(parts ...string) string {
	return filepath.Join(append([]string{o.dir}, parts...)...)
}
