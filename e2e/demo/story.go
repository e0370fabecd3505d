package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/e2e/localfactory"
)

// demo is the story while it is told.
type demo struct {
	options options
	dir     string
	screen  *screen
	times   *timings

	site                          *localfactory.Site
	api                           client.Client
	operator, alice, bob, mallory localfactory.Person
	// anchor is the commit that the Factory pins.
	anchor string
	// before is the cluster before the Factory was there.
	before localfactory.Snapshot
}

// patience is how long the demonstration waits for the controller to do
// something; on an idle machine each of them takes seconds at most.
const patience = 90 * time.Second

// story is the acts in their order.
func (d *demo) story(ctx context.Context) error {
	began := time.Now()
	for _, act := range []func(context.Context) error{
		d.begin,
		d.refuseUnsigned, d.refuseStranger,
		d.applySigned,
		d.repairHandEdit,
		d.forbid,
		d.goForward,
		d.showEvidence,
	} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	d.times.took("demo", time.Since(began))
	return d.summary(ctx)
}

// stop ends what the story started.
func (d *demo) stop() {
	if d.site != nil {
		d.site.Stop()
	}
}

// do runs a command as somebody, shows both, and wants exit code 0. With words,
// only lines that contain one of them are shown.
func (d *demo) do(ctx context.Context, who localfactory.Person, args []string, words ...string) error {
	return d.doExit(ctx, who, 0, args, words...)
}

// doExit is do for commands whose answer is another exit code.
func (d *demo) doExit(ctx context.Context, who localfactory.Person, exit int, args []string, words ...string) error {
	d.screen.command(who.Name, args)
	r, err := d.site.Run(ctx, who, args...)
	if err != nil {
		return err
	}
	d.screen.output(r.Output, words)
	if r.Exit != exit {
		return fmt.Errorf("%s ended with exit code %d, expected was %d\n%s", args[0], r.Exit, exit, r.Output)
	}
	if exit != 0 {
		d.screen.print("    (exit code %d)\n", exit)
	}
	return nil
}

// push sends the branch to the Git server as it is, even backwards, and does
// what a forge's webhook would do: pokes the controller.
func (d *demo) push(ctx context.Context, who localfactory.Person) error {
	if err := d.do(ctx, who, words("git push --quiet --force origin main")); err != nil {
		return err
	}
	return d.site.Poke(ctx)
}

// progress shows that something is being built or waited for. It is not part of
// the story.
func (d *demo) progress() *os.File { return os.Stderr }
