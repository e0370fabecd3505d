package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/policy"
)

const renderLong = `render builds the manifests of an environment from a directory, exactly as the
controller does from a verified commit: in memory, without network, plugins,
links or anything outside of the directory.

What is rendered from a directory was not verified. It is a preview.
With --policy-engine the factory's own policies are tested too.`

func newRenderCommand(a *app) *cobra.Command {
	var root, environment, engine, format string
	cmd := &cobra.Command{
		Use: "render", Short: "Build the manifests of an environment from a directory", Long: renderLong,
		Example: "  millwright render --environment local -o digest\n  millwright render --root ../factory --policy-engine /usr/local/bin/millwright-policy",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := os.OpenRoot(root)
			if err != nil {
				return fmt.Errorf("opening the tree: %w", err)
			}
			defer dir.Close()
			rendered, err := reconciler.Render(&render.Renderer{}, dir.FS(), environment)
			if err != nil {
				return err
			}
			if engine != "" {
				verdict, err := reconciler.Test(cmd.Context(), &policy.Tester{}, policy.Runner{Path: engine}, rendered.Manifests())
				if err != nil {
					return err
				}
				a.say("policy test: %d policies allow %d objects\n", len(verdict.Policies), verdict.Objects)
			}
			return a.printManifests(rendered.Manifests(), format)
		},
	}
	cmd.Flags().StringVar(&root, "root", ".", "`directory` that holds factory-config/, bases/ and overlays/")
	cmd.Flags().StringVar(&environment, "environment", "local", "environment of factory-config/factory.yaml")
	cmd.Flags().StringVar(&engine, "policy-engine", "", "absolute path of the millwright-policy `program`")
	cmd.Flags().StringVarP(&format, "output", "o", "yaml", "yaml, json, or digest (a line per object)")
	return cmd
}

func (a *app) printManifests(m render.Manifests, format string) error {
	var b strings.Builder
	for _, o := range m.Objects() {
		switch format {
		case "json":
			b.Write(o.JSON())
			b.WriteByte('\n')
		case "yaml":
			text, err := yaml.JSONToYAML(o.JSON())
			if err != nil {
				return fmt.Errorf("printing an object: %w", err)
			}
			b.WriteString("---\n")
			b.Write(text)
		case "digest":
			id := o.ID()
			fmt.Fprintf(&b, "%s  %-18s %s/%s %s/%s\n", o.Digest(), o.Component(), id.Group, id.Kind, id.Namespace, id.Name)
		default:
			return usageError{fmt.Errorf("-o must be yaml, json or digest, not %q", format)}
		}
	}
	if format == "digest" {
		fmt.Fprintf(&b, "%s  all %d objects\n", m.Digest(), len(m.Objects()))
	}
	_, err := fmt.Fprint(a.out, b.String())
	return err
}
