package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// patience is how long a party may take for one thing.
const patience = 10 * time.Minute

// target names one object.
type target struct {
	resource        schema.GroupVersionResource
	namespace, name string
}

func (t target) in(api dynamic.Interface) dynamic.ResourceInterface {
	if t.namespace == "" {
		return api.Resource(t.resource)
	}
	return api.Resource(t.resource).Namespace(t.namespace)
}

// moment is when something was seen.
type moment struct {
	at  time.Time
	err error
}

// expect begins to watch an object, and tells when it was seen as it shall be;
// nil means that it is not there. The watch is open when expect returns.
func (b *bed) expect(ctx context.Context, t target, fits func(*unstructured.Unstructured) (bool, error)) (<-chan moment, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	w, err := t.in(b.api).Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", t.name).String()})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("watching %s: %w", t.name, err)
	}
	out := make(chan moment, 1)
	go func() {
		defer cancel()
		defer w.Stop()
		for event := range w.ResultChan() {
			o, ok := event.Object.(*unstructured.Unstructured)
			if !ok || event.Type == watch.Error {
				out <- moment{err: fmt.Errorf("watching %s: %v", t.name, event.Object)}
				return
			}
			if event.Type == watch.Deleted {
				o = nil
			}
			if done, err := fits(o); done || err != nil {
				out <- moment{time.Now(), err}
				return
			}
		}
		out <- moment{err: fmt.Errorf("%s did not become what was expected: the watch ended", t.name)}
	}()
	return out, nil
}

// until does something and waits until an object is as it shall be.
func (b *bed) until(ctx context.Context, t target, fits func(*unstructured.Unstructured) (bool, error), do func() error) error {
	seen, err := b.expect(ctx, t, fits)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return (<-seen).err
}
