package render

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"sync"

	"golang.org/x/sync/semaphore"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

// Prepare has kustomize read the schema of Kubernetes, which whoever builds first waits
// for. kustomize keeps it in variables of the process, and builds look into them without
// a lock: two at a time may only be let in when it is there. It stays as it is after
// that: what would bring another is refused ([allowed]), and what each build says about
// it, that it is the one that comes with kustomize, is said under a lock and no news.
func Prepare() { prepare() }

var prepare = sync.OnceFunc(func() { openapi.Schema() })

// inKustomize bounds the bytes that kustomize works on, in all of the process: what it
// makes of them takes many times as much memory. The largest component is let in alone.
var inKustomize = semaphore.NewWeighted(largestBuild)

const largestBuild = 16 << 20

// build runs kustomize over a closure, in memory, without plugins. Everything
// that would make it leave the memory has been refused before. Instead are what
// it is given in place of some files.
func build(c Component, files closure, instead map[string][]byte) (objects resmap.ResMap, err error) {
	memory, size := filesys.MakeFsInMemory(), int64(0)
	for name := range files.files {
		content, err := files.content(name)
		if err != nil {
			return nil, err
		}
		if other, found := instead[name]; found {
			content = other
		}
		size += int64(len(content))
		if err := memory.WriteFile("/"+name, content); err != nil {
			return nil, fmt.Errorf("copying %q: %w", name, err)
		}
	}
	defer func() {
		if p := recover(); p != nil {
			objects, err = nil, refuse(codePanic, c.Path, "kustomize panicked: %s", files.speak(fmt.Sprint(p)))
		}
	}()
	Prepare()
	weight := min(size, largestBuild)
	_ = inKustomize.Acquire(context.Background(), weight) // it ends when another build does
	defer inKustomize.Release(weight)
	// The defaults are: files below their kustomization only, no plugins.
	objects, err = krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(memory, "/"+c.Path)
	if err != nil {
		return nil, refuse(codeBuild, c.Path, "%s", files.speak(err.Error()))
	}
	return objects, nil
}

// speak passes on what kustomize says. It quotes patches and whole objects, so
// it is not passed on where a Secret could be among them (row D25).
func (c closure) speak(said string) string {
	for name := range c.files {
		content, err := c.content(name)
		if err != nil {
			return "kustomize's message is withheld, because not all files of the component can be read"
		}
		if bytes.Contains(content, []byte("Secret")) || bytes.Contains(content, []byte("secretGenerator")) {
			return "kustomize's message is withheld, because the component has Secrets"
		}
	}
	return address.ReplaceAllString(said, "(address)")
}

// address is where kustomize keeps something, which it prints in some messages. A
// refusal of the same tree has the same words (row D33).
var address = regexp.MustCompile("0x[0-9a-f]{6,}")
