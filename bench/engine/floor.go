package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"millwright.dev/millwright/e2e/localfactory"
)

// floor is what the parties share: Sigstore, the registry, the Git server, and a
// factory repository whose commits alice signs.
type floor struct {
	site    *localfactory.Site
	alice   localfactory.Person
	corpus  corpus
	anchor  string
	remotes map[string]string
	// objects are what the repository declares, size their bytes as YAML.
	size    int
	objects []*unstructured.Unstructured
	// changed and broken are what the limit program need not find out.
	changed, broken []*unstructured.Unstructured
	// root is the millwright repository.
	root string
}

// newFloor starts the servers and makes the repository with the corpus in it, of
// which each of the named parties has a copy.
func newFloor(ctx context.Context, o localfactory.Options, c corpus, parties []string) (*floor, error) {
	o.WithoutCluster = true
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	site, err := localfactory.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	f := &floor{site: site, corpus: c, remotes: map[string]string{}, root: o.Root}
	if err := f.fill(ctx, parties); err != nil {
		site.Stop()
		return nil, err
	}
	return f, nil
}

func (f *floor) fill(ctx context.Context, parties []string) error {
	var err error
	if f.alice, err = f.site.Person(ctx, "alice"); err != nil {
		return err
	}
	if err := f.site.Write("factory-config/trust/policy.yaml", f.site.Policy(1, f.alice)); err != nil {
		return err
	}
	if f.anchor, err = f.site.Repository(ctx, f.alice); err != nil {
		return err
	}
	for _, name := range parties {
		url := f.site.RepoURL
		if name != millwright {
			if url, err = f.site.Git.Create(ctx, name); err != nil {
				return err
			}
		}
		f.remotes[name] = url
	}
	if err := f.write(ctx); err != nil {
		return err
	}
	commit, err := f.commit(ctx, "the factory")
	if err != nil {
		return err
	}
	for _, name := range parties {
		if err := f.push(ctx, name, commit); err != nil {
			return err
		}
	}
	return f.declare(ctx)
}

func (f *floor) remote(party string) string { return f.remotes[party] }

// write fills the work tree.
func (f *floor) write(ctx context.Context) error {
	components := f.corpus.components()
	config := smallFactory + f.corpus.factoryYAML()
	if f.corpus.factory {
		if err := f.site.CopyFactory(nil); err != nil {
			return err
		}
		settings, err := f.site.GoEnvironment(ctx)
		if err != nil {
			return err
		}
		if _, err := f.site.Must(ctx, f.alice.With(settings...), "millwright", "vendor"); err != nil {
			return err
		}
		data, err := os.ReadFile(f.tree("factory-config", "factory.yaml"))
		if err != nil {
			return err
		}
		if config, err = only(data, common, f.corpus.factoryYAML()); err != nil {
			return err
		}
		components = append(slices.Clone(common), components...)
	}
	files := f.corpus.files()
	files["factory-config/factory.yaml"] = config
	// What the peers apply: everything at once.
	files[local+"/kustomization.yaml"] = kustomization(components)
	for name, content := range files {
		if err := f.site.Write(name, content); err != nil {
			return err
		}
	}
	return nil
}

// common are the components of the project's own factory that everybody applies. The
// others are about who may write them, which the peers would be kept out by, or are of
// a node, which there is none of.
var common = []string{"namespaces", "admission", "spire", "kyverno", "kyverno-policies", "tekton-pipelines", "tekton-chains"}

// only is a factory.yaml with some of its components and with more, so that everybody
// has as many objects to apply.
func only(data []byte, components []string, more string) (string, error) {
	var config struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       struct {
			Environments []any            `json:"environments"`
			Components   []map[string]any `json:"components"`
		} `json:"spec"`
	}
	if err := yaml.UnmarshalStrict(data, &config); err != nil {
		return "", fmt.Errorf("reading factory.yaml: %w", err)
	}
	var added []map[string]any
	if err := yaml.Unmarshal([]byte(more), &added); err != nil {
		return "", fmt.Errorf("reading the components of the corpus: %w", err)
	}
	left := func(name any) bool { return !slices.Contains(components, fmt.Sprint(name)) }
	config.Spec.Components = slices.DeleteFunc(config.Spec.Components, func(c map[string]any) bool { return left(c["name"]) })
	for _, c := range config.Spec.Components {
		if needs, ok := c["dependsOn"].([]any); ok {
			c["dependsOn"] = slices.DeleteFunc(needs, left)
		}
	}
	config.Spec.Components = append(config.Spec.Components, added...)
	out, err := yaml.Marshal(config)
	return string(out), err
}

func (f *floor) tree(parts ...string) string {
	return filepath.Join(append([]string{f.site.Path("factory")}, parts...)...)
}

// commit signs everything that was changed.
func (f *floor) commit(ctx context.Context, message string) (string, error) {
	for _, args := range [][]string{{"git", "add", "--all"}, {"git", "commit", "--quiet", "-S", "-m", message}} {
		if _, err := f.site.Must(ctx, f.alice, args...); err != nil {
			return "", err
		}
	}
	return f.site.Head(ctx, f.alice)
}

// push gives a party a commit.
func (f *floor) push(ctx context.Context, party, commit string) error {
	_, err := f.site.Must(ctx, f.alice, "git", "push", "--quiet", f.remotes[party], commit+":refs/heads/main")
	return err
}

// setImage gives apps another image: what a commit of W3 and W7 changes.
func (f *floor) setImage(version int, apps ...int) error {
	f.changed = nil
	for _, app := range apps {
		manifest := appManifest(app, version)
		if err := f.site.Write(local+"/"+appDir(app)+"/app.yaml", manifest); err != nil {
			return err
		}
		objects, err := objectsOf(manifest)
		if err != nil {
			return err
		}
		for _, o := range objects {
			if o.GetKind() == "Deployment" {
				f.changed = append(f.changed, o)
			}
		}
	}
	return nil
}

// declare reads what the work tree declares, as kubectl renders it.
func (f *floor) declare(ctx context.Context) error {
	out, err := f.site.Must(ctx, f.site.Operator(), "kubectl", "kustomize", "factory/"+local)
	if err != nil {
		return err
	}
	f.size = len(out)
	f.objects, err = objectsOf(out)
	return err
}

func objectsOf(documents string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for d := yamlutil.NewYAMLOrJSONDecoder(strings.NewReader(documents), 1<<16); ; {
		var u unstructured.Unstructured
		err := d.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading what kubectl rendered: %w", err)
		}
		if len(u.Object) > 0 {
			objects = append(objects, &u)
		}
	}
}
