package apply

import (
	"fmt"
	"net/http"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/transport"

	"millwright.dev/millwright/reconciler/rights"
	"millwright.dev/millwright/render"
)

// clients reach the API server as somebody.
type clients struct {
	metadata metadata.Interface
	dynamic  dynamic.Interface
}

func (e *Engine) clientsOver(client *http.Client) (c clients, err error) {
	if c.metadata, err = metadata.NewForConfigAndClient(metadata.ConfigFor(e.cfg), client); err != nil {
		return clients{}, err
	}
	c.dynamic, err = dynamic.NewForConfigAndClient(e.cfg, client)
	return c, err
}

// as are the clients for the objects of a component. All share the engine's
// connections: what differs is the header that names the account.
func (e *Engine) as(component string) (clients, error) {
	if e.opts.AccountPrefix == "" {
		return clients{e.metadata, e.dynamic}, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if c, made := e.accounts[component]; made {
		return c, nil
	}
	user := "system:serviceaccount:" + e.opts.Namespace + ":" + e.opts.AccountPrefix + component
	c, err := e.clientsOver(&http.Client{
		Timeout:   e.http.Timeout,
		Transport: transport.NewImpersonatingRoundTripper(transport.ImpersonationConfig{UserName: user}, e.http.Transport),
	})
	if err != nil {
		return clients{}, fmt.Errorf("preparing clients for the account of %s: %w", component, err)
	}
	e.accounts[component] = c
	return c, nil
}

func (e *Engine) metadataOf(component string, r Resource, id render.ID) (metadata.ResourceInterface, error) {
	c, err := e.as(component)
	if err != nil {
		return nil, err
	}
	if r.Namespaced {
		return c.metadata.Resource(r.GroupVersionResource).Namespace(id.Namespace), nil
	}
	return c.metadata.Resource(r.GroupVersionResource), nil
}

func (e *Engine) objectOf(component string, r Resource, id render.ID) (dynamic.ResourceInterface, error) {
	c, err := e.as(component)
	if err != nil {
		return nil, err
	}
	if r.Namespaced {
		return c.dynamic.Resource(r.GroupVersionResource).Namespace(id.Namespace), nil
	}
	return c.dynamic.Resource(r.GroupVersionResource), nil
}

// keyOf says with which list an object is looked for: one of its kind, or, where
// components have accounts and the engine has no more rights than it needs, one
// of its kind where it is.
func (e *Engine) keyOf(apiVersion string, id render.ID) kindKey {
	k := kindKey{apiVersion: apiVersion, kind: id.Kind}
	if e.opts.AccountPrefix != "" {
		k.namespace, k.name = rights.Look(id)
	}
	return k
}
