package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/plan"
)

// culprit is the field manager under which mallory edits.
const culprit = "mallory-kubectl"

// repairHandEdit has mallory weaken the factory behind its back.
func (d *demo) repairHandEdit(ctx context.Context) error {
	d.screen.act("A hand edit in the cluster is put back, and the culprit named")
	if err := d.sabotageDrift(ctx); err != nil {
		return err
	}
	if err := d.handEdit(ctx, "repair", "coschedule", "disabled"); err != nil {
		return err
	}
	return d.do(ctx, d.operator, words("millwright status"), "  drift   ", culprit)
}

// handEdit changes one key of Tekton's feature flags, and proves that the
// factory has it back and that the change is on record.
func (d *demo) handEdit(ctx context.Context, timing, key, value string) error {
	declared, err := d.flags(ctx)
	if err != nil {
		return err
	}
	corrected, err := d.corrected(ctx)
	if err != nil {
		return err
	}
	patch := fmt.Sprintf(`{"data":{%q:%q}}`, key, value)
	args := append(words("kubectl patch configmap feature-flags -n tekton-pipelines --type=merge --field-manager="+culprit+" -p"), patch)
	began := time.Now()
	if err := d.do(ctx, d.operator, args); err != nil {
		return err
	}
	err = d.putBack(ctx, key, declared.Data[key])
	took := time.Since(began)
	d.times.took(timing, took)
	if err := d.screen.claim(err, "%s is %q again, %.1f s after the command was given, and only the factory owns the field", key, declared.Data[key], took.Seconds()); err != nil {
		return err
	}
	_, err = localfactory.Await(ctx, d.api, 10*time.Second, func(f *v1alpha1.Factory) error {
		if f.Status.Drift.Corrected <= corrected || len(f.Status.Drift.Last) == 0 || f.Status.Drift.Last[0].Manager != culprit {
			return fmt.Errorf("the status says: %+v", f.Status.Drift)
		}
		return nil
	})
	return d.screen.claim(err, "the status names %s and the field", culprit)
}

// putBack waits until the key has its value again and belongs to the factory
// alone.
func (d *demo) putBack(ctx context.Context, key, value string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	last := errors.New("it was not read")
	for {
		flags, err := d.flags(ctx)
		if err == nil {
			err = ownedByTheFactory(flags, key)
			if flags.Data[key] != value {
				err = fmt.Errorf("%s is %q", key, flags.Data[key])
			}
		}
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after 20 s: %w", last)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (d *demo) flags(ctx context.Context) (*corev1.ConfigMap, error) {
	var c corev1.ConfigMap
	if err := d.api.Get(ctx, client.ObjectKey{Namespace: "tekton-pipelines", Name: "feature-flags"}, &c); err != nil {
		return nil, fmt.Errorf("reading the feature flags: %w", err)
	}
	return &c, nil
}

func (d *demo) corrected(ctx context.Context) (int64, error) {
	f, err := localfactory.GetFactory(ctx, d.api)
	if err != nil {
		return 0, err
	}
	return f.Status.Drift.Corrected, nil
}

// ownedByTheFactory says whether exactly the component's field manager owns the
// key of a ConfigMap.
func ownedByTheFactory(c *corev1.ConfigMap, key string) error {
	var owners []string
	for _, m := range c.ManagedFields {
		var fields struct {
			Data map[string]json.RawMessage `json:"f:data"`
		}
		if m.FieldsV1 == nil {
			continue
		}
		if err := json.Unmarshal(m.FieldsV1.GetRawBytes(), &fields); err != nil {
			return fmt.Errorf("reading the field managers: %w", err)
		}
		if _, owns := fields.Data["f:"+key]; owns {
			owners = append(owners, m.Manager)
		}
	}
	if !slices.Equal(owners, []string{plan.FieldManager("millwright-system/factory", "tekton-pipelines")}) {
		return fmt.Errorf("%s is owned by %v", key, owners)
	}
	return nil
}
