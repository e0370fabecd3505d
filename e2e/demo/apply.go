package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// applySigned has alice sign what she forgot to sign.
func (d *demo) applySigned(ctx context.Context) error {
	d.screen.act("The same content, signed by alice: verified, rendered, tested, applied, attested")
	if err := d.do(ctx, d.alice, words("git commit --quiet --amend --no-edit --reset-author -S")); err != nil {
		return err
	}
	commit, err := d.site.Head(ctx, d.alice)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := d.push(ctx, d.alice); err != nil {
		return err
	}
	f, err := localfactory.Await(ctx, d.api, patience, localfactory.Applied(commit))
	took := time.Since(began)
	d.times.took("applied", took)
	if err := d.screen.claim(err, "commit %s is applied and attested, %.1f s after the push", commit[:12], took.Seconds()); err != nil {
		return err
	}
	if err := d.do(ctx, d.operator, words("kubectl get factory -n millwright-system")); err != nil {
		return err
	}
	if err := d.do(ctx, d.operator, words("millwright status"),
		"  applied   ", "  record   ", "  SourceVerified ", "  PolicyPassed ", "  Applied ", "  Healthy ", "  Attested "); err != nil {
		return err
	}
	if err := d.wholeFactory(ctx, f); err != nil {
		return err
	}
	return d.healthIsHonest(f)
}

// wholeFactory proves that what is in the cluster is what was declared.
func (d *demo) wholeFactory(ctx context.Context, f *v1alpha1.Factory) error {
	now, err := d.site.Snapshot(ctx)
	if err != nil {
		return err
	}
	if got, want := now.ManagedBy("millwright/"), int(f.Status.Applied.Objects); got != want {
		err = fmt.Errorf("%d objects have a field manager of the factory, declared are %d", got, want)
	}
	if err := d.screen.claim(err, "%d objects are there, each with its component as field manager", f.Status.Applied.Objects); err != nil {
		return err
	}
	established, err := d.definitions(ctx)
	return d.screen.claim(err, "%d resource definitions are Established", established)
}

// definitions counts the resource definitions, all of which must be Established.
func (d *demo) definitions(ctx context.Context) (int, error) {
	var list unstructured.UnstructuredList
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinitionList"})
	if err := d.api.List(ctx, &list); err != nil {
		return 0, err
	}
	for _, crd := range list.Items {
		conditions, _, err := unstructured.NestedSlice(crd.Object, "status", "conditions")
		if err != nil {
			return 0, err
		}
		established := false
		for _, c := range conditions {
			m, _ := c.(map[string]any)
			established = established || (m["type"] == "Established" && m["status"] == "True")
		}
		if !established {
			return 0, fmt.Errorf("%s is not", crd.GetName())
		}
	}
	return len(list.Items), nil
}

// healthIsHonest proves that nobody calls healthy what nobody has seen run.
func (d *demo) healthIsHonest(f *v1alpha1.Factory) error {
	c := localfactory.Condition(f, v1alpha1.ConditionHealthy)
	var err error
	if c.Status != metav1.ConditionUnknown {
		err = fmt.Errorf("it is %s: %s", c.Status, c.Message)
	}
	return d.screen.claim(err, "health is Unknown and says why; Ready rests on the other conditions")
}
