// Package images makes container images of programs, without a container engine.
//
// An image is one layer of files that are there already, and a configuration.
// The same files make the same image, byte by byte: times are the epoch, owners
// are root, names are sorted, and nothing of the machine is in it. Images are
// kept in the cache of tools/assets, under the digest of what they are made from.
package images

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image says what an image is made of.
type Image struct {
	// Name is its repository, without registry.
	Name string
	// Files are files and folders of the machine by their place in the image,
	// which is absolute. A folder is taken with all that is in it.
	Files map[string]string
	// Leave are names of folders that are left out wherever they are.
	Leave []string
	// Entrypoint is the program that a container runs.
	Entrypoint string
	// User is the number of who runs it; empty means 65532.
	User string
	// Env are settings beside PATH and HOME.
	Env []string
}

// entry is one file, folder or link of the layer.
type entry struct {
	name, from, link string
	mode             fs.FileMode
	size             int64
}

// entries lists what the layer holds, sorted by name.
func (i Image) entries() ([]entry, error) {
	found := map[string]entry{"tmp": {name: "tmp", mode: fs.ModeDir | fs.ModeSticky | 0o777}}
	for place, from := range i.Files {
		for dir := path.Dir(place); dir != "/"; dir = path.Dir(dir) {
			found[dir[1:]] = entry{name: dir[1:], mode: fs.ModeDir | 0o755}
		}
		from, err := filepath.EvalSymlinks(from)
		if err != nil {
			return nil, err
		}
		err = filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && slices.Contains(i.Leave, d.Name()) {
				return fs.SkipDir
			}
			e, err := newEntry(place, from, p, d)
			found[e.name] = e
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	all := make([]entry, 0, len(found))
	for _, e := range found {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	return all, nil
}

func newEntry(place, root, p string, d fs.DirEntry) (entry, error) {
	rel, err := filepath.Rel(root, p)
	if err != nil {
		return entry{}, err
	}
	e := entry{name: path.Join(place, filepath.ToSlash(rel))[1:], from: p}
	info, err := d.Info()
	if err != nil {
		return entry{}, err
	}
	switch {
	case d.IsDir():
		e.mode = fs.ModeDir | 0o755
	case info.Mode()&fs.ModeSymlink != 0:
		e.mode = fs.ModeSymlink | 0o777
		e.link, err = os.Readlink(p)
	case info.Mode().IsRegular():
		// What the owner may run, everybody may; nobody writes.
		e.mode, e.size = 0o644, info.Size()
		if info.Mode()&0o100 != 0 {
			e.mode = 0o755
		}
	default:
		return entry{}, fmt.Errorf("%s is neither file, folder nor link", p)
	}
	return e, err
}

// key is the digest of all that the image is made from: its configuration, and
// each entry with its content.
func (i Image) key(all []entry) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "1\n%q %q %q %q\n", i.Name, i.Entrypoint, i.User, i.Env)
	for _, e := range all {
		fmt.Fprintf(h, "%q %o %q %d\n", e.name, e.mode, e.link, e.size)
		if !e.mode.IsRegular() {
			continue
		}
		if err := pour(h, e.from); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:32], nil
}

func pour(w io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// Build returns the image, from the cache folder if it was made before.
func Build(ctx context.Context, cache string, i Image) (v1.Image, error) {
	all, err := i.entries()
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", i.Name, err)
	}
	key, err := i.key(all)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", i.Name, err)
	}
	final := filepath.Join(cache, "image-"+i.Name, key)
	if _, err := os.Stat(final); errors.Is(err, fs.ErrNotExist) {
		if err := i.make(ctx, final, all); err != nil {
			return nil, fmt.Errorf("image %s: %w", i.Name, err)
		}
	}
	return load(final)
}

func load(dir string) (v1.Image, error) {
	p, err := layout.FromPath(dir)
	if err != nil {
		return nil, err
	}
	index, err := p.ImageIndex()
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) != 1 {
		return nil, fmt.Errorf("%s holds %d images", dir, len(manifest.Manifests))
	}
	return p.Image(manifest.Manifests[0].Digest)
}

// make writes the image beside its place and moves it there when it is whole.
func (i Image) make(ctx context.Context, final string, all []entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o750); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(final), "making-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	tarFile := filepath.Join(tmp, "layer.tar")
	if err := writeTar(tarFile, all); err != nil {
		return err
	}
	layer, err := tarball.LayerFromFile(tarFile, tarball.WithCompression(compression.ZStd), tarball.WithMediaType(types.OCILayerZStd))
	if err != nil {
		return err
	}
	image, err := i.assemble(layer)
	if err != nil {
		return err
	}
	p, err := layout.Write(filepath.Join(tmp, "image"), empty.Index)
	if err != nil {
		return err
	}
	if err := p.AppendImage(image); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(tmp, "image"), final); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (i Image) assemble(layer v1.Layer) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, mutate.Addendum{Layer: layer})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config = v1.Config{
		User: cmp.Or(i.User, "65532:65532"), Entrypoint: []string{i.Entrypoint},
		Env: append([]string{"PATH=/app:/usr/local/go/bin", "HOME=/"}, i.Env...),
	}
	return mutate.ConfigFile(image, config)
}

func writeTar(file string, all []entry) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, e := range all {
		if err := writeEntry(w, e); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}

func writeEntry(w *tar.Writer, e entry) error {
	h := &tar.Header{Name: e.name, Mode: int64(e.mode.Perm()), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	switch {
	case e.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, e.name+"/"
		if e.mode&fs.ModeSticky != 0 {
			h.Mode |= 0o1000
		}
	case e.mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
	default:
		h.Typeflag, h.Size = tar.TypeReg, e.size
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	return pour(w, e.from)
}

// Pin writes the digest of what was built into every reference to an image of
// the registry: text may be any file that names images. It refuses a reference
// to an image that was not built, and one without digest.
func Pin(text []byte, registry string, digests map[string]string) ([]byte, error) {
	var out bytes.Buffer
	prefix := []byte(registry + "/")
	for {
		before, rest, found := bytes.Cut(text, prefix)
		out.Write(before)
		if !found {
			return out.Bytes(), nil
		}
		const separator, length = "@sha256:", 64
		name, digest, found := bytes.Cut(rest, []byte(separator))
		if !found || len(digest) < length || bytes.ContainsAny(name, " \t\n\"',/@") {
			return nil, fmt.Errorf("image %s%.40q is not named by digest", prefix, rest)
		}
		built, known := digests[string(name)]
		if !known {
			return nil, fmt.Errorf("image %s%s is none of those that are built here", prefix, name)
		}
		fmt.Fprintf(&out, "%s%s@%s", prefix, name, built)
		text = digest[length:]
	}
}
