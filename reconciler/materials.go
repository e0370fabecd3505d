package reconciler

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/render"
)

// vendored is the directory of a base that holds what other projects wrote.
const vendored = "/upstream/"

// byDigest is a reference to an image by its digest.
var byDigest = regexp.MustCompile(`^([^@\s]+)@(sha256:[0-9a-f]{64})$`)

// materials are what the manifests of a revision were made of: the commit, each
// vendored file that rendering looked at, and each image by digest.
func (p *pass) materials(v gitverify.Verification, tree fs.FS, r rendered) ([]attest.Descriptor, error) {
	out := []attest.Descriptor{{
		URI: "git+" + v.Repository() + "@" + v.Ref(), Digest: &attest.DigestSet{GitCommit: string(v.Commit())},
	}}
	paths, err := p.plant.renderer.Closure(tree, r.environment.Overlay, render.DefaultLimits())
	if err != nil {
		return nil, at(v1alpha1.ConditionPolicyPassed, report.ReasonRenderUnknown, fmt.Errorf("working out what %s is made of: %w", r.environment.Overlay, err))
	}
	for _, path := range paths {
		if !strings.Contains(path, vendored) {
			continue
		}
		data, err := fs.ReadFile(tree, path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // looked for, and not there
		}
		if info, isDir := fs.Stat(tree, path); isDir == nil && info.IsDir() {
			continue
		}
		if err != nil {
			return nil, at(v1alpha1.ConditionPolicyPassed, report.ReasonRenderUnknown, fmt.Errorf("reading %s: %w", path, err))
		}
		out = append(out, attest.NewDescriptor("git+"+v.Repository()+"#"+path, attest.Digest(data)))
	}
	images, err := imagesOf(r.manifests)
	return append(out, images...), err
}

// imagesOf are the images that manifests name by digest, wherever a field of
// that name stands. One without a digest has nothing to resolve to; policies of
// the factory refuse it.
func imagesOf(m render.Manifests) ([]attest.Descriptor, error) {
	found := map[string]string{}
	for _, o := range m.Objects() {
		var doc any
		if err := json.Unmarshal(o.JSON(), &doc); err != nil {
			return nil, fmt.Errorf("reading %s: %w", o.ID(), err)
		}
		images(doc, found)
	}
	var out []attest.Descriptor
	for _, ref := range slices.Sorted(maps.Keys(found)) {
		out = append(out, attest.NewDescriptor("oci://"+ref, found[ref]))
	}
	return out, nil
}

func images(doc any, found map[string]string) {
	switch v := doc.(type) {
	case map[string]any:
		for key, value := range v {
			if text, ok := value.(string); ok && key == "image" {
				if m := byDigest.FindStringSubmatch(text); m != nil {
					found[text] = m[2]
				}
			}
			images(value, found)
		}
	case []any:
		for _, value := range v {
			images(value, found)
		}
	}
}
