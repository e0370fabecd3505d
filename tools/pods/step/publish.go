package main

import (
	"archive/tar"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// Reasons of images.
const (
	reasonImage       = "image/name"
	reasonFile        = "image/file"
	reasonDestination = "image/destination"
	reasonLabel       = "image/label"
)

// maxImageFile bounds one file of an image, in bytes.
const maxImageFile = 512 << 20

// imageFile is one file of an image.
type imageFile struct {
	source string // name below the folder that files are taken from
	dest   string // absolute path in the image
	mode   int64
}

// recipe says what an image is made of; the same one gives the same digest.
type recipe struct {
	root       *os.Root
	files      []imageFile
	entrypoint string
	labels     map[string]string
}

// publish makes an image and pushes it, by digest and without a tag.
func publish(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("publish", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder that the files are below (required)")
	image := flags.String("image", "", "repository to push to, REGISTRY/NAME (required)")
	entrypoint := flags.String("entrypoint", "", "program to start, one of the destinations (required)")
	timeout := flags.Duration("timeout", 2*time.Minute, "when to give up")
	resultURL := flags.String("result-url", "", "file for the repository (IMAGE_URL)")
	resultDigest := flags.String("result-digest", "", "file for the digest (IMAGE_DIGEST)")
	var programs, files, labels list
	flags.Var(&programs, "program", "FILE=/DESTINATION with mode 0755, several times")
	flags.Var(&files, "file", "FILE=/DESTINATION with mode 0644, several times")
	flags.Var(&labels, "label", "KEY=VALUE of the image's configuration, several times")
	if err := refusal.Parse(flags, args, out); err != nil {
		return err
	}
	if *dir == "" || *image == "" || *entrypoint == "" {
		return refusal.Usage("-dir, -image and -entrypoint are required")
	}
	repo, err := parseRepository(*image)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(*dir)
	if err != nil {
		return fmt.Errorf("opening the folder: %w", err)
	}
	defer root.Close()
	r := recipe{root: root, entrypoint: *entrypoint}
	if err := r.read(programs, files, labels); err != nil {
		return err
	}
	img, err := r.image()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	digest, err := push(ctx, repo, img)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s@%s\n", repo.Name(), digest)
	if err := writeResult(*resultURL, repo.Name()); err != nil {
		return err
	}
	return writeResult(*resultDigest, digest.String())
}

// parseRepository wants the registry spelled out: without one, the library
// would push to a public registry.
func parseRepository(s string) (name.Repository, error) {
	repo, err := name.NewRepository(s, name.StrictValidation)
	if err != nil || repo.Name() != s || len(s) > 255 {
		return repo, refusal.New(reasonImage, "write REGISTRY/NAME, without tag and digest", "%q is no repository", s)
	}
	return repo, nil
}

var (
	destination = regexp.MustCompile(`^(/[A-Za-z0-9][A-Za-z0-9._-]*){1,8}$`)
	labelKey    = regexp.MustCompile(`^[a-z0-9]([a-z0-9._/-]{0,126}[a-z0-9])?$`)
)

// read parses what was asked for, and refuses what would not be one image.
func (r *recipe) read(programs, files, labels list) error {
	for mode, specs := range map[int64]list{0o755: programs, 0o644: files} {
		for _, spec := range specs {
			source, dest, _ := strings.Cut(spec, "=")
			if err := cleanName(source); err != nil {
				return err
			}
			if !destination.MatchString(dest) || len(dest) > 255 || dest == "/tmp" || strings.HasPrefix(dest, "/tmp/") {
				return refusal.New(reasonDestination, "write FILE=/app/NAME", "%q is no place for a file in an image", dest)
			}
			r.files = append(r.files, imageFile{source: source, dest: dest, mode: mode})
		}
	}
	slices.SortFunc(r.files, func(a, b imageFile) int { return strings.Compare(a.dest, b.dest) })
	for i, f := range r.files {
		for _, g := range r.files[i+1:] {
			if g.dest == f.dest || strings.HasPrefix(g.dest, f.dest+"/") {
				return refusal.New(reasonDestination, "give each file a place of its own", "%q and %q are in each other's way", f.dest, g.dest)
			}
		}
	}
	if !slices.ContainsFunc(r.files, func(f imageFile) bool { return f.dest == r.entrypoint && f.mode == 0o755 }) {
		return refusal.New(reasonDestination, "name the destination of a -program", "the entrypoint %q is no program of the image", r.entrypoint)
	}
	return r.readLabels(labels)
}

func (r *recipe) readLabels(labels list) error {
	r.labels = map[string]string{}
	for _, l := range labels {
		key, value, ok := strings.Cut(l, "=")
		if _, twice := r.labels[key]; !ok || twice || !labelKey.MatchString(key) || len(value) > 1024 {
			return refusal.New(reasonLabel, "write KEY=VALUE, each key once", "label %q", l)
		}
		r.labels[key] = value
	}
	return nil
}

// image has one layer, no time but 1970, and no trace of the machine.
func (r *recipe) image() (v1.Image, error) {
	// The layer is read several times: for its digest and to be sent. Should a
	// file change in between, the registry refuses what does not fit the digest.
	layer, err := tarball.LayerFromOpener(r.layer, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("making the layer: %w", err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, fmt.Errorf("making the image: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("making the image: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	config.Config = v1.Config{
		Entrypoint: []string{r.entrypoint}, User: "65532:65532", WorkingDir: "/",
		Env: []string{"HOME=/", "PATH=/app"}, Labels: r.labels,
	}
	return mutate.ConfigFile(img, config)
}

// layer streams the files as a tar archive.
func (r *recipe) layer() (io.ReadCloser, error) {
	pr, pw := io.Pipe()
	go func() {
		w := tar.NewWriter(pw)
		err := r.write(w)
		if err == nil {
			err = w.Close()
		}
		_ = pw.CloseWithError(err)
	}()
	return pr, nil
}

func (r *recipe) write(w *tar.Writer) error {
	made := map[string]bool{"/": true}
	for _, f := range r.files {
		if err := writeParents(w, path.Dir(f.dest), made); err != nil {
			return err
		}
		if err := r.writeFile(w, f); err != nil {
			return err
		}
	}
	return w.WriteHeader(header("/tmp/", tar.TypeDir, 0o1777, 0))
}

func writeParents(w *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := writeParents(w, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	return w.WriteHeader(header(dir+"/", tar.TypeDir, 0o755, 0))
}

func (r *recipe) writeFile(w *tar.Writer, f imageFile) error {
	in, info, err := openRegular(r.root, f.source)
	if err != nil {
		return fmt.Errorf("reading %q: %w", f.source, err)
	}
	defer in.Close()
	if info.Size() == 0 || info.Size() > maxImageFile {
		return refusal.New(reasonFile, "give a file that has content, and less than 512 MiB", "%q has %d bytes", f.source, info.Size())
	}
	if err := w.WriteHeader(header(f.dest, tar.TypeReg, f.mode, info.Size())); err != nil {
		return err
	}
	_, err = io.CopyN(w, in, info.Size())
	return err
}

func header(path string, kind byte, mode, size int64) *tar.Header {
	return &tar.Header{Name: strings.TrimPrefix(path, "/"), Typeflag: kind, Mode: mode, Size: size, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
}

// push sends the image and asks the registry for it again.
func push(ctx context.Context, repo name.Repository, img v1.Image) (v1.Hash, error) {
	digest, err := img.Digest()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("making the image: %w", err)
	}
	// No proxy, whatever the environment says, and no credentials of the machine.
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuth(authn.Anonymous), remote.WithTransport(&http.Transport{
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
	})}
	ref := repo.Digest(digest.String())
	if err := remote.Write(ref, img, options...); err != nil {
		return v1.Hash{}, fmt.Errorf("pushing the image: %w", err)
	}
	there, err := remote.Head(ref, options...)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("asking for the image that was pushed: %w", err)
	}
	if there.Digest != digest {
		return v1.Hash{}, fmt.Errorf("the registry has %s, pushed was %s", there.Digest, digest)
	}
	return digest, nil
}
