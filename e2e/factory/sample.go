package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// makeSample puts the sample into a repository of its own.
func (f *floor) makeSample(ctx context.Context) error {
	url, err := f.site.Git.Create(ctx, "sample")
	if err != nil {
		return err
	}
	dir := f.site.Path("sample")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"go.mod", "main.go", "main_test.go"} {
		if err := duplicate(filepath.Join(f.options.root, "e2e", "sample", name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"init", "--quiet"}, {"add", "--all"}, {"commit", "--quiet", "-S", "--message", "a program"}, {"push", "--quiet", url, "main"},
	} {
		if _, err := f.site.Must(ctx, f.alice, append([]string{"git", "-C", dir}, args...)...); err != nil {
			return err
		}
	}
	f.sample, err = f.site.Must(ctx, f.alice, "git", "-C", dir, "rev-parse", "HEAD")
	return err
}

// image is what the run has built, as the node names it.
func (f *floor) image(ctx context.Context, name string) (string, error) {
	run, err := f.run(ctx, name)
	if err != nil {
		return "", err
	}
	results, _, err := unstructured.NestedSlice(run.Object, "status", "results")
	if err != nil {
		return "", err
	}
	found := map[string]string{}
	for _, r := range results {
		if result, ok := r.(map[string]any); ok {
			found[fmt.Sprint(result["name"])] = fmt.Sprint(result["value"])
		}
	}
	if found["IMAGE_URL"] == "" || found["IMAGE_DIGEST"] == "" {
		return "", fmt.Errorf("the run %s tells of no image", name)
	}
	return found["IMAGE_URL"] + "@" + found["IMAGE_DIGEST"], nil
}

func (f *floor) run(ctx context.Context, name string) (*unstructured.Unstructured, error) {
	var run unstructured.Unstructured
	run.SetAPIVersion("tekton.dev/v1")
	run.SetKind("PipelineRun")
	err := f.api.Get(ctx, client.ObjectKey{Namespace: "build-sample", Name: name}, &run)
	return &run, err
}

// build starts a run of the catalog's pipeline for the sample and waits until it
// has succeeded.
func (f *floor) build(ctx context.Context, name string) error {
	run, err := os.ReadFile(filepath.Join(f.options.root, "e2e", "factory", "runs", "build.yaml"))
	if err != nil {
		return err
	}
	run = bytes.ReplaceAll(bytes.ReplaceAll(run, []byte("NAME"), []byte(name)), []byte("COMMIT"), []byte(f.sample))
	file := f.options.path("run.yaml")
	if err := os.WriteFile(file, run, 0o600); err != nil {
		return err
	}
	if err := f.kubectl(ctx, "create", "-f", file); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		over, err := f.ended(ctx, name)
		if over || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New("the build has not ended within 5 minutes")
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// ended says whether a run is over; an error says why it failed.
func (f *floor) ended(ctx context.Context, name string) (bool, error) {
	run, err := f.run(ctx, name)
	if err != nil {
		return false, err
	}
	conditions, _, err := unstructured.NestedSlice(run.Object, "status", "conditions")
	if err != nil {
		return false, err
	}
	for _, c := range conditions {
		condition, _ := c.(map[string]any)
		if condition["type"] != "Succeeded" {
			continue
		}
		switch condition["status"] {
		case string(metav1.ConditionTrue):
			return true, nil
		case string(metav1.ConditionFalse):
			return true, fmt.Errorf("the build failed: %v: %v", condition["reason"], condition["message"])
		}
	}
	return false, nil
}
