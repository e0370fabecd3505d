package reconciler

import (
	"context"
	"io/fs"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/source"
)

// Interrupt is told how far a pass has come, by the names below. What it returns
// is taken for what the operating system says there. The controller has none;
// tests end the process in it, fail a disk, or panic.
type Interrupt func(point string) error

// Points that an [Interrupt] is told of, beside those of gitverify and source.
const (
	PointFetched   = "fetched"
	PointVerifying = "verifying"
	PointRendering = "rendering"
)

// at tells where a pass is.
func (i Interrupt) at(point string) error {
	if i == nil {
		return nil
	}
	return i(point)
}

// objects are those of a checkout, told of one by one where somebody listens.
func (p *plant) objects(c source.Checkout) gitverify.Objects {
	if p.setup.Interrupt == nil {
		return c.Objects()
	}
	return interruptedObjects{c.Objects(), p.setup.Interrupt}
}

type interruptedObjects struct {
	gitverify.Objects
	interrupt Interrupt
}

func (o interruptedObjects) Object(ctx context.Context, id gitverify.ID, limit int64) (kind string, body []byte, err error) {
	if err := o.interrupt(PointVerifying); err != nil {
		return "", nil, err
	}
	return o.Objects.Object(ctx, id, limit)
}

// files are those of a tree, told of one by one where somebody listens.
func (p *plant) files(tree fs.FS) fs.FS {
	if p.setup.Interrupt == nil {
		return tree
	}
	return interruptedFiles{tree, p.setup.Interrupt}
}

type interruptedFiles struct {
	fs.FS
	interrupt Interrupt
}

func (f interruptedFiles) Open(name string) (fs.File, error) {
	if err := f.interrupt(PointRendering); err != nil {
		return nil, err
	}
	return f.FS.Open(name)
}
