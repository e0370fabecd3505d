package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/tektoncd/pipeline/pkg/apis/config"
	tektonv1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	tektonv1alpha1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1alpha1"
	tektonv1beta1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/webhook/resourcesemantics"

	"millwright.dev/millwright/cmd/millwright-policy/internal/policy"
)

const tektonGroup = "tekton.dev"

// tektonKind makes an empty object of one of the kinds that Tekton's webhook
// validates; nil for a kind that it would not take.
func tektonKind(kind schema.GroupVersionKind) resourcesemantics.GenericCRD {
	switch kind.Version + "/" + kind.Kind {
	case "v1/Task":
		return &tektonv1.Task{}
	case "v1/Pipeline":
		return &tektonv1.Pipeline{}
	case "v1/TaskRun":
		return &tektonv1.TaskRun{}
	case "v1/PipelineRun":
		return &tektonv1.PipelineRun{}
	case "v1beta1/Task":
		return &tektonv1beta1.Task{}
	case "v1beta1/Pipeline":
		return &tektonv1beta1.Pipeline{}
	case "v1beta1/TaskRun":
		return &tektonv1beta1.TaskRun{}
	case "v1beta1/PipelineRun":
		return &tektonv1beta1.PipelineRun{}
	case "v1beta1/CustomRun":
		return &tektonv1beta1.CustomRun{}
	case "v1beta1/StepAction":
		return &tektonv1beta1.StepAction{}
	case "v1alpha1/StepAction":
		return &tektonv1alpha1.StepAction{}
	case "v1alpha1/VerificationPolicy":
		return &tektonv1alpha1.VerificationPolicy{}
	default:
		return nil
	}
}

// validateTekton does to every Tekton object what Tekton's webhook would do,
// under the feature flags that are rendered beside them.
func validateTekton(ctx context.Context, set objects) ([]policy.Violation, error) {
	ctx, violations := tektonConfig(apis.WithinCreate(ctx), set)
	for _, o := range set.list {
		if o.ref.Group != tektonGroup {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if problem := tektonProblem(ctx, o); problem != "" {
			violations = append(violations, tektonViolation(o, problem))
		}
	}
	return violations, nil
}

// tektonProblem is what Tekton's webhook would say, empty for nothing.
func tektonProblem(ctx context.Context, o object) string {
	into := tektonKind(o.kind)
	if into == nil {
		return fmt.Sprintf("%s is not a kind of this version of Tekton", o.kind)
	}
	d := json.NewDecoder(bytes.NewReader(o.raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err.Error()
	}
	into.SetDefaults(ctx)
	if err := into.Validate(ctx); err != nil {
		return err.Error()
	}
	return ""
}

// tektonConfig takes the feature flags and defaults that the manifests give to
// Tekton: which fields are allowed depends on them. Flags that Tekton would not
// start with are violations themselves.
func tektonConfig(ctx context.Context, set objects) (context.Context, []policy.Violation) {
	var violations []policy.Violation
	c := config.FromContextOrDefaults(ctx)
	for _, o := range set.list {
		if o.ref.Group != "" || o.ref.Kind != "ConfigMap" || o.content.GetLabels()["app.kubernetes.io/part-of"] != "tekton-pipelines" {
			continue
		}
		data, _, err := unstructured.NestedStringMap(o.content.Object, "data")
		if err == nil {
			err = takeConfig(c, o.ref.Name, data)
		}
		if err != nil {
			violations = append(violations, tektonViolation(o, err.Error()))
		}
	}
	return config.ToContext(ctx, c), violations
}

func takeConfig(c *config.Config, name string, data map[string]string) error {
	switch name {
	case config.GetFeatureFlagsConfigName():
		flags, err := config.NewFeatureFlagsFromMap(data)
		if err != nil {
			return err
		}
		c.FeatureFlags = flags
	case config.GetDefaultsConfigName():
		defaults, err := config.NewDefaultsFromMap(data)
		if err != nil {
			return err
		}
		c.Defaults = defaults
	}
	return nil
}

func tektonViolation(o object, message string) policy.Violation {
	return policy.Violation{
		Policy: policy.TektonPolicy, Rule: policy.TektonRule,
		Object: o.ref, Message: policy.Printable(message),
	}
}
