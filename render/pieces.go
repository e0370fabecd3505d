package render

import (
	"crypto/sha256"
	"errors"
	"path"
	"reflect"
	"slices"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"

	"millwright.dev/millwright/internal/parallel"
)

// A kustomization that only names resources puts together what they are by
// themselves. So kustomize may build each of them alone, and those that did not
// change not again. It would make a difference only
//
//   - where two resources have one name: kustomize refuses that;
//   - where an object refers to another one whose name, namespace or kind kustomize
//     changed: the reference follows. Prefixes, suffixes, namespaces, generators,
//     patches, replacements and configurations do that or may see other objects, so
//     nothing is taken apart where one of them is used;
//   - where an annotation tells kustomize what to do with an object, or pretends
//     that it had changed it;
//   - in what is said where something is wrong.
//
// Whatever it is, such a component is built as a whole.

// piece is a file or a directory that is built alone.
type piece struct {
	path string
	dir  bool
}

// pieces takes a component apart, if that makes no difference.
func (c closure) pieces(dir string) ([]piece, bool) {
	k := c.kustomizations[dir]
	if !joins(*k) {
		return nil, false
	}
	var out []piece
	for _, ref := range k.Resources {
		name, err := resolve(dir, dir, ref)
		if err != nil {
			return nil, false
		}
		inner, isDir := c.kustomizations[name]
		switch {
		case !isDir && c.files[name].instructs:
			return nil, false
		case !isDir:
			out = append(out, piece{path: name})
		case joins(*inner):
			more, ok := c.pieces(name)
			if !ok {
				return nil, false
			}
			out = append(out, more...)
		case !c.gentle(name):
			return nil, false
		default:
			out = append(out, piece{path: name, dir: true})
		}
	}
	return out, true
}

// joins says that a kustomization does nothing but put resources together.
func joins(k types.Kustomization) bool {
	some := len(k.Resources) > 0
	k.Resources = nil
	return some && ordinary(k)
}

// ordinary says that nothing is left of a kustomization but what it is.
func ordinary(k types.Kustomization) bool {
	if k.Kind != "" && k.Kind != types.KustomizationKind || k.APIVersion != "" && k.APIVersion != types.KustomizationVersion {
		return false
	}
	k.TypeMeta = types.TypeMeta{}
	return reflect.ValueOf(k).IsZero()
}

// gentle says that a directory changes its resources one by one, and no name of
// any: with labels, annotations, images and replicas.
func (c closure) gentle(dir string) bool {
	k := *c.kustomizations[dir]
	resources := k.Resources
	k.Resources, k.Labels, k.CommonAnnotations, k.Images, k.Replicas = nil, nil, nil, nil, nil
	if !ordinary(k) || c.instructed(dir) {
		return false
	}
	for _, ref := range resources {
		name, err := resolve(dir, dir, ref)
		if err != nil {
			return false
		}
		_, isDir := c.kustomizations[name]
		if isDir && !c.gentle(name) || !isDir && c.files[name].instructs {
			return false
		}
	}
	return true
}

// instructed looks for an annotation in the kustomization of a directory.
func (c closure) instructed(dir string) bool {
	return slices.ContainsFunc(konfig.RecognizedKustomizationFileNames(), func(name string) bool {
		f, found := c.files[path.Join(dir, name)]
		return found && f.instructs
	})
}

// assemble builds a component piece by piece, and only those that are not
// remembered. It is not ok where the component has to be built as a whole, be it
// to say what is wrong with it.
func (r *Renderer) assemble(c Component, files closure, limits Limits) (objects []Object, ok bool, err error) {
	pieces, ok := files.pieces(c.Path)
	if !ok {
		return nil, false, nil
	}
	built, errs := make([][]Object, len(pieces)), make([]error, len(pieces))
	parallel.Each(len(pieces), func(i int) { built[i], errs[i] = r.piece(c, pieces[i], files, limits) })
	for _, err := range errs {
		var no *Refusal
		if err != nil && !errors.As(err, &no) {
			return nil, false, err
		}
	}
	if slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		return nil, false, nil
	}
	objects = slices.Concat(built...)
	if len(objects) > limits.Objects || collide(objects) {
		return nil, false, nil
	}
	slices.SortFunc(objects, func(a, b Object) int { return a.id.Compare(b.id) })
	return objects, true, nil
}

// collide says whether two objects may be one to kustomize, whose view of that it
// takes: an object without a namespace is in the default one, and one of a kind
// that has none is the same in any.
func collide(objects []Object) bool {
	Prepare()
	seen := make(map[ID]struct{}, len(objects))
	for _, o := range objects {
		id := o.id
		_, version := resid.ParseGroupVersion(o.apiVersion)
		id.Namespace = resid.NewResIdWithNamespace(resid.NewGvk(id.Group, version, id.Kind), id.Name, id.Namespace).EffectiveNamespace()
		if _, twice := seen[id]; twice {
			return true
		}
		seen[id] = struct{}{}
	}
	return false
}

// piece builds a piece, unless it was built before. What a file declares does not
// depend on its place.
func (r *Renderer) piece(c Component, p piece, files closure, limits Limits) ([]Object, error) {
	if !p.dir {
		return r.whole(Component{Name: c.Name, Path: pieceDir}, files.alone(p.path), limits)
	}
	own, err := r.reach(files.tree, p.path, limits)
	if err != nil {
		return nil, err
	}
	return r.whole(Component{Name: c.Name, Path: p.path}, own, limits)
}

// pieceDir has the one file of a piece.
const pieceDir = "piece"

// alone is a closure of one file.
func (c closure) alone(name string) closure {
	const kustomization, resource = `{"resources":["resource.yaml"]}`, pieceDir + "/resource.yaml"
	of := c.files[name]
	return closure{tree: c.tree, resources: map[string]bool{resource: true}, files: map[string]*file{
		pieceDir + "/kustomization.yaml": {sum: sha256.Sum256([]byte(kustomization)), content: []byte(kustomization)},
		resource:                         {sum: of.sum, size: of.size, facts: of.facts, content: of.content, from: name},
	}}
}
