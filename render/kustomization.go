package render

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/types"
)

// parseKustomization reads a kustomization, whose YAML has been checked, as
// kustomize does.
func parseKustomization(at string, text []byte) (k *types.Kustomization, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = refuse(codePanic, at, "decoding panicked: %v", p)
		}
	}()
	k = &types.Kustomization{}
	if err := k.Unmarshal(text); err != nil {
		return nil, refuse(codeKustomization, at, "%v", err)
	}
	return k, allowed(at, k)
}

// allowed refuses what runs or fetches something (row D09), and what changes
// the meaning of everything else.
func allowed(at string, k *types.Kustomization) error {
	for _, plugin := range []struct {
		field string
		used  bool
	}{
		{"helmCharts", len(k.HelmCharts) > 0},
		{"helmGlobals", k.HelmGlobals != nil},
		{"helmChartInflationGenerator", len(k.HelmChartInflationGenerator) > 0},
		{"generators", len(k.Generators) > 0},
		{"transformers", len(k.Transformers) > 0},
		{"validators", len(k.Validators) > 0},
	} {
		if plugin.used {
			return refuse(codePlugin, at, "the field %s", plugin.field)
		}
	}
	if len(k.OpenAPI) > 0 {
		return refuse(codeUnsupported, at, "the field openapi replaces the schema of the whole process")
	}
	if len(k.Vars) > 0 {
		return refuse(codeUnsupported, at, "the field vars, which writes values to the log; replacements do the same")
	}
	if slices.Contains(k.BuildMetadata, types.ManagedByLabelOption) {
		return refuse(codeUnsupported, at, "buildMetadata: %s makes the result depend on the program", types.ManagedByLabelOption)
	}
	return nil
}

// follow reads everything that a kustomization names.
func (w *walk) follow(at, dir string, k *types.Kustomization) error {
	for _, ref := range slices.Concat(k.Resources, k.Bases) {
		if err := w.resource(at, dir, ref); err != nil {
			return err
		}
	}
	for _, ref := range k.Components {
		if err := w.directory(at, dir, ref); err != nil {
			return err
		}
	}
	for _, ref := range slices.Concat(k.Configurations, k.Crds) {
		if err := w.aside(at, dir, ref, true); err != nil {
			return err
		}
	}
	for _, r := range k.Replacements {
		if r.Path == "" {
			continue
		}
		if err := w.aside(at, dir, r.Path, true); err != nil {
			return err
		}
	}
	if err := w.patches(at, dir, k); err != nil {
		return err
	}
	return w.generated(at, dir, k)
}

// resource follows a file or a directory.
func (w *walk) resource(at, dir, ref string) error {
	name, err := resolve(at, dir, ref)
	if err != nil {
		return err
	}
	entry, err := w.lookup(at, name)
	if err != nil {
		return err
	}
	if entry.IsDir() {
		return w.enter(at, name)
	}
	w.resources[name] = true
	return w.file(at, dir, ref, true)
}

func (w *walk) directory(at, dir, ref string) error {
	name, err := resolve(at, dir, ref)
	if err != nil {
		return err
	}
	entry, err := w.lookup(at, name)
	if err != nil {
		return err
	}
	if !entry.IsDir() {
		return refuse(codeMissing, at, "%s is a file, where a directory is wanted", name)
	}
	return w.enter(at, name)
}

// patchesOf are the patches with a target of their own, or none.
func patchesOf(k *types.Kustomization) []types.Patch {
	return slices.Concat(k.Patches, k.PatchesJson6902)
}

// patches follows the files of patches and checks those that stand inline:
// they are YAML within YAML.
func (w *walk) patches(at, dir string, k *types.Kustomization) error {
	var inline []string
	files := make([]string, 0, len(k.Patches))
	for _, p := range patchesOf(k) {
		if p.Path != "" {
			files = append(files, p.Path)
		}
		inline = append(inline, p.Patch)
	}
	for _, p := range k.PatchesStrategicMerge {
		// kustomize tries an entry as YAML before it is a path.
		if inline = append(inline, string(p)); !multiline(string(p)) {
			files = append(files, string(p))
		}
	}
	for i, text := range inline {
		found, err := checkYAML(fmt.Sprintf("%s (inline patch %d)", at, i+1), []byte(text), w.limits)
		if err != nil {
			return err
		}
		w.touched = w.touched || found.defines || found.marked || found.instructs
	}
	for _, ref := range files {
		if err := w.aside(at, dir, ref, true); err != nil {
			return err
		}
	}
	return nil
}

// generated follows the sources of generators: content, not YAML (row D10).
func (w *walk) generated(at, dir string, k *types.Kustomization) error {
	var sources []types.KvPairSources
	for _, g := range k.ConfigMapGenerator {
		sources = append(sources, g.KvPairSources)
	}
	for _, g := range k.SecretGenerator {
		sources = append(sources, g.KvPairSources)
	}
	for _, s := range sources {
		refs := slices.Clone(s.EnvSources)
		if s.EnvSource != "" {
			refs = append(refs, s.EnvSource)
		}
		for _, f := range s.FileSources {
			refs = append(refs, fileOf(f))
		}
		for _, ref := range refs {
			if err := w.aside(at, dir, ref, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// fileOf takes the path from an entry of files, which is path or key=path.
func fileOf(source string) string {
	if _, file, found := strings.Cut(source, "="); found {
		return file
	}
	return source
}

func multiline(s string) bool { return strings.Contains(s, "\n") }
