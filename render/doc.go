// Package render turns a verified tree and an overlay into manifests.
//
//	manifests, err := render.Render(tree, "overlays/local", components, render.DefaultLimits())
//
// An error that is a *[Refusal] is a definite no: the tree has to change. Any
// other error means that it could not be told, because the tree could not be
// read. Neither comes with manifests.
//
// A component is built from one kustomization directory. Rendering has three
// steps, and nothing of the repository gets to the next one unchecked:
//
//  1. Closure. The kustomization files are walked, beginning at the component,
//     and every file that they name is read from the tree, and no other.
//  2. Build. kustomize runs over those files in memory: over files and directories
//     one by one where that makes no difference, so that a [Renderer] need not
//     build again what did not change.
//  3. Objects. Each object becomes canonical JSON with a digest.
//
// Refused before kustomize runs, because kustomize would follow or do it:
// paths that leave the tree or, for files, the directory of their kustomization
// (render/outside-root); everything that is or could be read as a URL
// (render/remote); symbolic links, submodules and Git LFS pointers on the way
// (render/symlink, render/submodule, render/lfs); charts, plugins, functions,
// generators, transformers and validators, built in or not (render/plugin); a
// schema of one's own, vars and the version of the renderer as a label
// (render/unsupported); a directory that leads back to itself (render/cycle);
// unknown fields (render/kustomization); YAML that grows when its aliases are
// expanded or is nested too deep (limits/...), that has no JSON, has a key twice
// or has parts that kustomize would drop without a word (render/yaml).
//
// Refused afterwards: an object that two components declare, or one component
// twice (render/conflict); fields of metadata that only a server writes
// (render/metadata); values in Secrets (render/secret); objects without a name;
// anything over the limits.
//
// A status and an empty creationTimestamp are dropped: generators of CRDs leave
// them behind, and they declare nothing.
//
// Same tree, same overlay, same components: same bytes, wherever and whenever.
package render
