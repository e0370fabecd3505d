package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// patience is how long all components may take until they are healthy.
const patience = 10 * time.Minute

var errNodeEnded = errors.New("the node has ended: node/node.log says why")

// healthy waits until the Factory is, and tells what it waits for.
func (f *floor) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	told := ""
	for {
		var factory v1alpha1.Factory
		err := f.api.Get(ctx, client.ObjectKey{Namespace: localfactory.Namespace, Name: localfactory.Name}, &factory)
		if err == nil && ready(&factory) {
			return nil
		}
		if now := summary(&factory); err == nil && now != "" && now != told {
			told = now
			f.tell("  %s", now)
		}
		select {
		case <-f.node.Done():
			return errNodeEnded
		case <-ctx.Done():
			return fmt.Errorf("not healthy after %s: %s", patience, told)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// running waits until every container that is to run was started after that time,
// and its pod is ready.
func (f *floor) running(ctx context.Context, after time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var pods corev1.PodList
		err := f.api.List(ctx, &pods)
		if err == nil {
			err = notRunning(pods.Items, after)
		}
		if err == nil {
			return nil
		}
		select {
		case <-f.node.Done():
			return errNodeEnded
		case <-ctx.Done():
			return fmt.Errorf("not after %s: %w", patience, err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func notRunning(pods []corev1.Pod, after time.Time) error {
	for _, p := range pods {
		if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		if len(p.Status.ContainerStatuses) != len(p.Spec.Containers) {
			return fmt.Errorf("pod %s/%s has not started", p.Namespace, p.Name)
		}
		for _, c := range p.Status.ContainerStatuses {
			// The API server keeps whole seconds.
			if c.State.Running == nil || !c.Ready || c.State.Running.StartedAt.Time.Before(after.Truncate(time.Second)) {
				return fmt.Errorf("container %s of pod %s/%s is not ready", c.Name, p.Namespace, p.Name)
			}
		}
	}
	return nil
}

func ready(factory *v1alpha1.Factory) bool {
	for _, c := range factory.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == metav1.ConditionTrue && c.ObservedGeneration == factory.Generation
		}
	}
	return false
}

// summary is what is still to come or wrong, in a line; nothing while changes are
// being made.
func summary(factory *v1alpha1.Factory) string {
	const line = 160
	for _, c := range factory.Status.Conditions {
		if c.Type != "Ready" || c.Status == metav1.ConditionTrue || c.Reason == "Progressing" {
			continue
		}
		text := c.Reason + ": " + c.Message
		if _, waits, found := strings.Cut(c.Message, "HealthGateClosed waits "); found {
			text, _, _ = strings.Cut("waits "+waits, "; to mend it")
		}
		if len(text) > line {
			text = text[:line] + "…"
		}
		return text
	}
	return ""
}

// condition is the summary of the Factory as it is now.
func (f *floor) condition(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var factory v1alpha1.Factory
	if err := f.api.Get(ctx, client.ObjectKey{Namespace: localfactory.Namespace, Name: localfactory.Name}, &factory); err != nil {
		return err.Error()
	}
	return summary(&factory)
}
