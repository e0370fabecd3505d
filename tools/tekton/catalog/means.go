package main

import (
	"fmt"
	"regexp"

	pipelinev1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
)

// means says whether a signature of the resource is one of all that it has run. An
// image without digest is another one tomorrow, and Tekton verifies what a resolver
// fetches and nothing else.
func means(s signable) error {
	switch r := s.resource.(type) {
	case *pipelinev1.Task:
		return whole(r.Name, &r.Spec)
	case *pipelinev1.Pipeline:
		for _, tasks := range [][]pipelinev1.PipelineTask{r.Spec.Tasks, r.Spec.Finally} {
			for i := range tasks {
				if err := resolved(r.Name, &tasks[i]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func resolved(pipeline string, t *pipelinev1.PipelineTask) error {
	where := fmt.Sprintf("task %q of Pipeline %q", t.Name, pipeline)
	const hint = "refer to it by a resolver"
	switch {
	case t.TaskSpec != nil && (t.TaskSpec.APIVersion != "" || t.TaskSpec.Kind != ""):
		return refuse("catalog/reference", "have it run a Task", "%s is worked on by somebody else than Tekton", where)
	case t.TaskSpec != nil:
		return whole(where, &t.TaskSpec.TaskSpec)
	case t.TaskRef != nil && t.TaskRef.Resolver == "":
		return refuse("catalog/reference", hint, "%s is whatever Task %q there is in the namespace of the run", where, t.TaskRef.Name)
	case t.PipelineRef != nil && t.PipelineRef.Resolver == "":
		return refuse("catalog/reference", hint, "%s is whatever Pipeline %q there is in the namespace of the run", where, t.PipelineRef.Name)
	}
	return nil
}

var pinned = regexp.MustCompile(`^[^$@\s]+@sha256:[0-9a-f]{64}$`)

func whole(where string, spec *pipelinev1.TaskSpec) error {
	usual := ""
	if spec.StepTemplate != nil {
		usual = spec.StepTemplate.Image
	}
	images := map[string]string{}
	for i, step := range spec.Steps {
		name := fmt.Sprintf("step %d (%s)", i, step.Name)
		if step.Ref != nil {
			return refuse("catalog/reference", "write the step out", "%s: %s is a reference, which Tekton does not verify", where, name)
		}
		if images[name] = step.Image; step.Image == "" {
			images[name] = usual
		}
	}
	for i, sidecar := range spec.Sidecars {
		images[fmt.Sprintf("sidecar %d (%s)", i, sidecar.Name)] = sidecar.Image
	}
	for name, image := range images {
		if !pinned.MatchString(image) {
			return refuse("catalog/image", "name the image by its digest, and then sign", "%s: %s runs %q", where, name, image)
		}
	}
	return nil
}
