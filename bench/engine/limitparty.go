package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"millwright.dev/millwright/tools/process"
)

// limitParty talks to the limit program.
type limitParty struct {
	*bed
	listen string
}

// install renders everything beforehand and starts the program.
func (l *limitParty) install(ctx context.Context) error {
	all, err := l.shipments(l.floor.objects)
	if err != nil {
		return err
	}
	data, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := os.WriteFile(l.path("objects.json"), data, 0o600); err != nil {
		return err
	}
	if _, err := l.command(ctx, l.environment(), "git", "clone", "--quiet", "--bare", l.remote, "clone.git"); err != nil {
		return err
	}
	l.spent, l.peak = 0, 0
	return l.launch(ctx)
}

// shipments are the objects with the paths that they are sent to.
func (l *limitParty) shipments(objects []*unstructured.Unstructured) ([]shipment, error) {
	places, err := l.places(objects)
	if err != nil {
		return nil, err
	}
	out := []shipment{}
	for _, o := range objects {
		body, err := json.Marshal(o.Object)
		if err != nil {
			return nil, err
		}
		p := places[o.GroupVersionKind()]
		s := shipment{Path: pathOf(p, namespaceOf(o, p), o.GetName()), Wave: 2, Body: body}
		switch o.GetKind() {
		case "CustomResourceDefinition":
			s.Wave = 0
		case "Namespace":
			s.Wave = 1
		}
		out = append(out, s)
	}
	return out, nil
}

func pathOf(p place, namespace, name string) string {
	path := "/apis/" + p.resource.Group + "/" + p.resource.Version
	if p.resource.Group == "" {
		path = "/api/" + p.resource.Version
	}
	if p.namespaced {
		path += "/namespaces/" + namespace
	}
	return path + "/" + p.resource.Resource + "/" + name
}

func (l *limitParty) launch(ctx context.Context) error {
	ports, err := process.Ports(1)
	if err != nil {
		return err
	}
	l.listen = process.Addr(ports[0])
	task, err := json.Marshal(limitTask{
		Kubeconfig: l.cluster.Kubeconfig, Objects: l.path("objects.json"), Clone: l.path("clone.git"), Remote: l.remote, Listen: l.listen,
	})
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p, err := l.start(process.Spec{Name: limit, Path: self, Args: []string{"-child", string(task)}, Env: l.environment()})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return p.Wait(ctx, func(ctx context.Context) error { return l.order(ctx, order{}) })
}

func (l *limitParty) order(ctx context.Context, o order) error {
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.listen, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		return fmt.Errorf("telling the limit program what to do: %w", err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New("the limit program: " + strings.TrimSpace(string(said)))
	}
	return nil
}

func (l *limitParty) begin(ctx context.Context, _ string) error {
	return l.order(ctx, order{Do: "all"})
}

func (l *limitParty) again(ctx context.Context) error { return l.order(ctx, order{Do: "look"}) }

// follow fetches, and sends what the commit changed, which it is told.
func (l *limitParty) follow(ctx context.Context, _ string) error {
	return l.send(ctx, "fetch", l.floor.changed)
}

// repair sends what was broken, which it is told.
func (l *limitParty) repair(ctx context.Context) error { return l.send(ctx, "send", l.floor.broken) }

func (l *limitParty) send(ctx context.Context, do string, objects []*unstructured.Unstructured) error {
	all, err := l.shipments(objects)
	if err != nil {
		return err
	}
	return l.order(ctx, order{Do: do, Send: all})
}
