package main

import (
	"context"
	"fmt"
	"os"
	"path"

	"millwright.dev/millwright/e2e/localfactory"
)

// summary is the short table at the end.
func (d *demo) summary(ctx context.Context) error {
	f, err := localfactory.GetFactory(ctx, d.api)
	if err != nil {
		return err
	}
	a := f.Status.Applied
	d.screen.print("\n")
	for _, row := range [][2]string{
		{"revision", a.Revision},
		{"signer", a.Signer},
		{"objects", fmt.Sprint(a.Objects)},
		{"drift corrected", fmt.Sprint(f.Status.Drift.Corrected)},
		{"attestation", fmt.Sprintf("%s (record %d)", a.Attestation, a.Sequence)},
	} {
		d.screen.print("%-16s %s\n", row[0], row[1])
	}
	for _, name := range d.times.names {
		fmt.Fprintf(os.Stderr, "%-22s %7.2f s\n", name, d.times.seconds[name])
	}
	return nil
}

// leaveRunning says what there is to try, and waits for Ctrl-C.
func (d *demo) leaveRunning(ctx context.Context) {
	bin := d.site.Path("bin")
	fmt.Printf(`
Everything is left running until you press Ctrl-C. In another terminal:

  export PATH=%s:$PATH KUBECONFIG=%s
  millwright status
  kubectl get factory,appliedrevisions -n millwright-system
  kubectl delete configmap feature-flags -n tekton-pipelines    # and look again
  curl -s %s | grep ^millwright_

To change the factory as alice (or as mallory, and see it refused):

  . %s
  cd %s
  git commit -S --allow-empty -m 'my change' && git push origin main
  curl -s -X POST %s                  # or wait ten seconds

`, bin, d.site.Cluster.Kubeconfig, d.site.MetricsURL(), path.Join(d.dir, "people", "alice", "env.sh"), d.site.Path("factory"), d.site.PokeURL())
	<-ctx.Done()
	fmt.Fprintln(os.Stderr, "ending everything")
}
