package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"millwright.dev/millwright/reconciler/audit"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/reconciler/source"
)

const exportLong = `export writes all that a factory left behind into one file: the records with their
bundles, the commits with their trees as a git bundle, and of the newest record the
manifests and lists that the registry has. 'millwright audit
--export' reads it on a machine without network, and so do tar, cosign, jq and git
(docs/auditing.md).

An export proves nothing by itself: what is in it is judged when it is audited.
Note down beside it what the last line says, anchor and head: an auditor who knows
them can tell that nothing was cut off.`

const exportExample = `  millwright export factory --to factory.tar.gz
  millwright export factory --to factory.tar.gz --repo ../factory`

type exporting struct {
	gathering

	to string
}

func newExportCommand(a *app) *cobra.Command {
	var v exporting
	cmd := &cobra.Command{
		Use: "export FACTORY", Short: "Write all evidence of a factory into one file", Long: exportLong, Example: exportExample, Args: exactly("the FACTORY"),
		RunE: func(cmd *cobra.Command, args []string) error { return v.run(cmd.Context(), a, args[0]) },
	}
	v.add(cmd)
	cmd.Flags().StringVar(&v.to, "to", "", "`file` to write")
	_ = cmd.MarkFlagRequired("to")
	return cmd
}

func (v *exporting) run(ctx context.Context, a *app, name string) error {
	dir, err := os.MkdirTemp("", "millwright-export-*")
	if err != nil {
		return fmt.Errorf("making a temporary directory: %w", err)
	}
	defer os.RemoveAll(dir)
	e, err := v.gather(ctx, dir, name)
	if err != nil {
		return err
	}
	contents := audit.Contents{}
	if contents.Manifests, contents.Lists, err = v.newest(ctx, e); err != nil {
		a.say("warning: the export goes without some manifests or lists of the newest record: %s\n", report.OneLine(err.Error()))
	}
	if store, ok := e.Objects.(*source.Store); ok {
		contents.History = store
	}
	if err := replaceFile(v.to, func(w io.Writer) error { return audit.Write(ctx, w, e, contents) }); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%d records of factory %s in cluster %s: --anchor %s --head %s\n", len(e.Records), e.Factory, e.ClusterUID, e.Anchor, e.Head)
	return err
}

// replaceFile writes a file that is there as a whole or not at all.
func replaceFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".millwright-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	if err := write(f); err != nil {
		_ = f.Close()
		return err
	}
	if err := errors.Join(f.Sync(), f.Close(), os.Rename(f.Name(), path)); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
