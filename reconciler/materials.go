package reconciler

import (
	"encoding/json"
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
	files, err := p.plant.renderer.Files(tree, r.environment.Overlay, render.DefaultLimits())
	if err != nil {
		return nil, at(v1alpha1.ConditionPolicyPassed, report.ReasonRenderUnknown, fmt.Errorf("working out what %s is made of: %w", r.environment.Overlay, err))
	}
	for _, f := range files {
		if strings.Contains(f.Path, vendored) {
			out = append(out, attest.NewDescriptor("git+"+v.Repository()+"#"+f.Path, f.Digest))
		}
	}
	images, err := p.plant.images.of(r.manifests)
	return append(out, images...), err
}

// named remembers which images objects name, by the objects' digests. It holds
// those of the manifests that were asked about last, and is cache.
type named struct{ images map[string][]string }

// of are the images that manifests name by digest, wherever a field of that name
// stands. One without a digest has nothing to resolve to; policies of the factory
// refuse it.
func (n *named) of(m render.Manifests) ([]attest.Descriptor, error) {
	objects := m.Objects()
	known, found := make(map[string][]string, len(objects)), map[string]string{}
	for _, o := range objects {
		refs, asked := n.images[o.Digest()]
		if !asked {
			var err error
			if refs, err = imagesOf(o); err != nil {
				return nil, err
			}
		}
		known[o.Digest()] = refs
		for _, ref := range refs {
			found[ref] = byDigest.FindStringSubmatch(ref)[2]
		}
	}
	n.images = known
	var out []attest.Descriptor
	for _, ref := range slices.Sorted(maps.Keys(found)) {
		out = append(out, attest.NewDescriptor("oci://"+ref, found[ref]))
	}
	return out, nil
}

func imagesOf(o render.Object) ([]string, error) {
	var doc any
	if err := json.Unmarshal(o.JSON(), &doc); err != nil {
		return nil, fmt.Errorf("reading %s: %w", o.ID(), err)
	}
	found := map[string]bool{}
	images(doc, found)
	return slices.Sorted(maps.Keys(found)), nil
}

func images(doc any, found map[string]bool) {
	switch v := doc.(type) {
	case map[string]any:
		for key, value := range v {
			if text, ok := value.(string); ok && key == "image" {
				if byDigest.MatchString(text) {
					found[text] = true
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
