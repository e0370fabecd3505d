package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"millwright.dev/millwright/render/upstream"
)

const vendorLong = `vendor writes the manifests of other projects to bases/<component>/upstream/, as
bases/<component>/upstream.lock pins them: Go module, version, h1: sums, and each
file with its SHA-256 digest. It gets the modules with your go command.

Whatever differs from the lock is refused (exit code 3), and nothing changes.
Files that are there already with their digests are left alone.

With --update it pins anew instead, with the checksum database as the witness, and
shows which digests moved. Read what moved before you commit the lock.`

const vendorExample = `  millwright vendor
  millwright vendor kyverno spire
  millwright vendor --update tekton-chains=v0.28.2`

func newVendorCommand(a *app) *cobra.Command {
	var (
		root, goCommand, output string
		update                  bool
	)
	cmd := &cobra.Command{
		Use:     "vendor [COMPONENT[=VERSION] ...]",
		Short:   "Materialise upstream manifests, checked against their locks",
		Long:    vendorLong,
		Example: vendorExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			get := upstream.Go(goCommand)
			if !update {
				done, err := upstream.Materialise(cmd.Context(), root, args, get)
				if err != nil {
					return err
				}
				return printVendored(a.out, output, done)
			}
			versions := make(map[string]string, len(args))
			for _, arg := range args {
				name, version, _ := strings.Cut(arg, "=")
				versions[name] = version
			}
			changes, err := upstream.Update(cmd.Context(), root, versions, get)
			if err != nil {
				return err
			}
			return printPinned(a.out, output, changes)
		},
	}
	cmd.Flags().StringVar(&root, "root", ".", "the tree that holds bases/")
	cmd.Flags().StringVar(&goCommand, "go", "go", "the go command to get modules with")
	cmd.Flags().BoolVar(&update, "update", false, "pin the locks anew instead of checking against them")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func printVendored(w io.Writer, output string, done []upstream.Component) error {
	if output == "json" {
		return json.NewEncoder(w).Encode(done)
	}
	for _, c := range done {
		if _, err := fmt.Fprintf(w, "%-18s %-8s %3d files %8d bytes  %s@%s %s\n",
			c.Name, c.State, c.Files, c.Bytes, c.Module, c.Version, c.Sum); err != nil {
			return err
		}
	}
	return nil
}

func printPinned(w io.Writer, output string, changes []upstream.Change) error {
	if output == "json" {
		return json.NewEncoder(w).Encode(changes)
	}
	if len(changes) == 0 {
		_, err := fmt.Fprintln(w, "nothing moved")
		return err
	}
	for _, c := range changes {
		place := c.Component
		if c.File != "" {
			place += " " + c.File
		}
		line := fmt.Sprintf("%s\n  - %s\n  + %s\n", place, c.Old, c.New)
		if c.Note != "" {
			line = fmt.Sprintf("%s: %s\n", place, c.Note)
		}
		if _, err := io.WriteString(w, line); err != nil {
			return err
		}
	}
	return nil
}
