package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/render/policy"
)

const planLong = `plan goes through the stages up to the plan for a Factory in a cluster, and shows
what a pass would write now. It writes nothing itself; dry-runs are asked of the
API server for objects that may differ. Exit code 3 means that there is
something to write, or that the revision is refused.`

type preview struct {
	cluster
	out                            output
	trustedRoot, engine, data, key string
}

func newPlanCommand(a *app) *cobra.Command {
	var v preview
	cmd := &cobra.Command{
		Use: "plan FACTORY", Short: "Show what a pass would change in the cluster", Long: planLong, Args: exactly("the FACTORY"),
		Example: "  millwright plan factory --trusted-root trusted_root.json --policy-engine /usr/local/bin/millwright-policy",
		RunE:    func(cmd *cobra.Command, args []string) error { return v.run(cmd.Context(), a, args[0]) },
	}
	v.add(cmd)
	v.out.add(cmd)
	f := cmd.Flags()
	f.StringVar(&v.trustedRoot, "trusted-root", "", trustedRootUsage)
	f.StringVar(&v.engine, "policy-engine", "", "path of the millwright-policy `program`")
	f.StringVar(&v.data, "data-dir", "", "`directory` of the object store (default: a temporary one)")
	f.StringVar(&v.key, "key", "", "PEM `file` with the public key, for a factory whose records a key signs")
	_ = cmd.MarkFlagRequired("trusted-root")
	_ = cmd.MarkFlagRequired("policy-engine")
	return cmd
}

func (v *preview) run(ctx context.Context, a *app, name string) error {
	if v.data == "" {
		data, err := os.MkdirTemp("", "millwright-plan-*")
		if err != nil {
			return fmt.Errorf("making a temporary directory: %w", err)
		}
		defer os.RemoveAll(data)
		v.data = data
	}
	setup, err := v.setup(a)
	if err != nil {
		return err
	}
	todo, err := reconciler.Preview(ctx, setup, client.ObjectKey{Namespace: v.namespace, Name: name})
	if err != nil {
		return err
	}
	if err := a.print(v.out, todo, todo.Text); err != nil {
		return err
	}
	if !todo.Empty() {
		return errNo
	}
	return nil
}

// setup is that of a controller that only looks.
func (v *preview) setup(a *app) (*reconciler.Setup, error) {
	cfg, k, err := v.connect()
	if err != nil {
		return nil, err
	}
	engine, err := filepath.Abs(v.engine)
	if err != nil {
		return nil, fmt.Errorf("resolving --policy-engine: %w", err)
	}
	metrics, err := report.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	versions, err := reconciler.Versions(cfg)
	if err != nil {
		return nil, err
	}
	public, err := readPublicKey(v.key)
	if err != nil {
		return nil, err
	}
	return &reconciler.Setup{
		Client: k, Reader: k, REST: cfg, DataDir: v.data, Trust: a.trustSource(v.trustedRoot), Public: public,
		Policy: policy.Runner{Path: engine}, Release: version, Clock: a.now, Version: versions, Metrics: metrics,
	}, nil
}
