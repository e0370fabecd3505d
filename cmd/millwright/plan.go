package main

import (
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

func newPlanCommand(a *app) *cobra.Command {
	var (
		c                              cluster
		out                            output
		trustedRoot, engine, data, key string
	)
	cmd := &cobra.Command{
		Use: "plan FACTORY", Short: "Show what a pass would change in the cluster", Long: planLong, Args: exactly("the FACTORY"),
		Example: "  millwright plan factory --trusted-root trusted_root.json --policy-engine /usr/local/bin/millwright-policy",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, k, err := c.connect()
			if err != nil {
				return err
			}
			if data == "" {
				if data, err = os.MkdirTemp("", "millwright-plan-*"); err != nil {
					return fmt.Errorf("making a temporary directory: %w", err)
				}
				defer os.RemoveAll(data)
			}
			if engine, err = filepath.Abs(engine); err != nil {
				return fmt.Errorf("resolving --policy-engine: %w", err)
			}
			metrics, err := report.NewMetrics(prometheus.NewRegistry())
			if err != nil {
				return err
			}
			versions, err := reconciler.Versions(cfg)
			if err != nil {
				return err
			}
			setup := &reconciler.Setup{
				Client: k, Reader: k, REST: cfg, DataDir: data, TrustedRoot: trustedRoot,
				Policy: policy.Runner{Path: engine}, Release: version, Clock: a.now, Version: versions, Metrics: metrics,
			}
			if setup.Public, err = readPublicKey(key); err != nil {
				return err
			}
			todo, err := reconciler.Preview(cmd.Context(), setup, client.ObjectKey{Namespace: c.namespace, Name: args[0]})
			if err != nil {
				return err
			}
			if err := a.print(out, todo, todo.Text); err != nil {
				return err
			}
			if !todo.Empty() {
				return errNo
			}
			return nil
		},
	}
	c.add(cmd)
	out.add(cmd)
	cmd.Flags().StringVar(&trustedRoot, "trusted-root", "", "Sigstore trusted_root.json `file`")
	cmd.Flags().StringVar(&engine, "policy-engine", "", "path of the millwright-policy `program`")
	cmd.Flags().StringVar(&data, "data-dir", "", "`directory` of the object store (default: a temporary one)")
	cmd.Flags().StringVar(&key, "key", "", "PEM `file` with the public key, for a factory whose records a key signs")
	_ = cmd.MarkFlagRequired("trusted-root")
	_ = cmd.MarkFlagRequired("policy-engine")
	return cmd
}
