package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/report"
)

const statusLong = `status shows each Factory: what is applied and who signed it, what was refused
and what would mend it, what drifted and who did it. The exit code is 0 when all
of them are Ready, 3 when one was refused, 1 otherwise.`

func newStatusCommand(a *app) *cobra.Command {
	var (
		c   cluster
		out output
	)
	cmd := &cobra.Command{
		Use: "status [FACTORY]", Short: "Show what is applied, refused and drifted", Long: statusLong, Args: cobra.MaximumNArgs(1),
		Example: "  millwright status\n  millwright status factory -n millwright-system -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, k, err := c.connect()
			if err != nil {
				return err
			}
			var list v1alpha1.FactoryList
			if err := k.List(cmd.Context(), &list, client.InNamespace(c.namespace)); err != nil {
				return fmt.Errorf("listing the Factories: %w", err)
			}
			if len(args) == 1 {
				list.Items = slices.DeleteFunc(list.Items, func(f v1alpha1.Factory) bool { return f.Name != args[0] })
			}
			if len(list.Items) == 0 {
				return fmt.Errorf("there is no such Factory in namespace %s", c.namespace)
			}
			if err := a.print(out, list.Items, func() string { return statusText(list.Items) }); err != nil {
				return err
			}
			return statusAnswer(list.Items)
		},
	}
	c.add(cmd)
	out.add(cmd)
	return cmd
}

func statusAnswer(factories []v1alpha1.Factory) error {
	for _, f := range factories {
		if f.Status.Refused != nil {
			return errNo
		}
	}
	for _, f := range factories {
		if ready := condition(f, v1alpha1.ConditionReady); ready == nil || ready.Status != metav1.ConditionTrue {
			return fmt.Errorf("factory %s is not ready", f.Name)
		}
	}
	return nil
}

func condition(f v1alpha1.Factory, name string) *metav1.Condition {
	i := slices.IndexFunc(f.Status.Conditions, func(c metav1.Condition) bool { return c.Type == name })
	if i < 0 {
		return nil
	}
	return &f.Status.Conditions[i]
}

func statusText(factories []v1alpha1.Factory) string {
	var b strings.Builder
	for i, f := range factories {
		if i > 0 {
			b.WriteByte('\n')
		}
		factoryText(&b, f)
	}
	return b.String()
}

func factoryText(b *strings.Builder, f v1alpha1.Factory) {
	fmt.Fprintf(b, "Factory %s/%s follows %s %s\n", f.Namespace, f.Name, report.OneLine(f.Spec.Source.URL), f.Spec.Source.Ref)
	if a := f.Status.Applied; a != nil {
		fmt.Fprintf(b, "  applied   %s, signed by %s: %d objects\n", a.Revision, a.Signer, a.Objects)
		fmt.Fprintf(b, "  record    %d  %s\n", a.Sequence, a.Attestation)
	} else {
		b.WriteString("  applied   nothing yet\n")
	}
	if r := f.Status.Refused; r != nil {
		fmt.Fprintf(b, "  refused   %s (%s) commit %s%s\n", r.Reason, r.Code, r.Commit, pathOf(r.Path))
		fmt.Fprintf(b, "            %s\n", report.OneLine(r.Detail))
		if needs := report.NeedsText(r.Needs); needs != "" {
			fmt.Fprintf(b, "            %s\n", needs)
		}
		fmt.Fprintf(b, "            to mend it: %s\n", report.OneLine(r.Hint))
	}
	fmt.Fprintf(b, "  drift     %d corrected\n", f.Status.Drift.Corrected)
	for _, d := range f.Status.Drift.Last {
		fmt.Fprintf(b, "            %s %s %s\n", d.Time.UTC().Format("15:04:05Z"), d.Object, report.Culprit(d))
	}
	for _, d := range f.Status.Drift.Open {
		fmt.Fprintf(b, "            open: %s %s %s\n", d.Reason, d.Object, report.Culprit(d.DriftRecord))
	}
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, c := range f.Status.Conditions {
		_, _ = fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", c.Type, c.Status, c.Reason, report.OneLine(c.Message))
	}
	_ = w.Flush()
}

func pathOf(path string) string {
	if path == "" {
		return ""
	}
	return " at " + report.OneLine(path)
}
