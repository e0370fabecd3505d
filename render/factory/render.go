package factory

import (
	"errors"
	"fmt"
	"io/fs"

	"millwright.dev/millwright/render"
)

// Rendering is what an environment of a tree is made of, and by which
// configuration.
type Rendering struct {
	Config      Config
	Environment Environment
	Manifests   render.Manifests
}

// Render reads the factory's configuration out of a tree and renders the
// components of an environment: what the loop applies, `millwright render` shows
// and an audit compares with what was signed for. The renderer remembers
// components whose input did not change.
//
// A panic in there is an inability to tell, of this tree alone (row K22).
func Render(renderer *render.Renderer, tree fs.FS, environment string) (out Rendering, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			out, err = Rendering{}, fmt.Errorf("rendering: the renderer failed: %.200q", fmt.Sprint(cause))
		}
	}()
	data, err := fs.ReadFile(tree, Path)
	if errors.Is(err, fs.ErrNotExist) {
		return Rendering{}, &Refusal{
			Reason: Reason, Code: "factory/missing", Field: Path,
			Detail: "the tree has no such file", Hint: "commit it; its fields are in factory-config/README.md",
		}
	}
	if err != nil {
		return Rendering{}, fmt.Errorf("reading %s: %w", Path, err)
	}
	if out.Config, err = Decode(data); err != nil {
		return Rendering{}, err
	}
	if out.Environment, err = out.Config.Environment(environment); err != nil {
		return Rendering{}, err
	}
	out.Manifests, err = renderer.Render(tree, out.Environment.Overlay, out.Environment.Components(out.Config), render.DefaultLimits())
	if err != nil {
		return Rendering{}, err
	}
	return out, nil
}
