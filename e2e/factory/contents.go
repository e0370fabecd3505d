package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/tools/images"
)

// imageBuilder is who signs the images of the components.
const imageBuilder = "spiffe://factory.test/images"

// signer signs with the Sigstore that was there before the cluster.
func (f *floor) signer(ctx context.Context) (images.Signer, error) {
	token, err := f.site.Sigstore.Token(ctx, sigstoretest.Workload, imageBuilder, time.Hour)
	return images.Signer{
		Fulcio: f.site.Sigstore.FulcioURL, Rekor: f.site.Sigstore.RekorURL,
		TimestampAuthority: f.site.Sigstore.TimestampURL + "/api/v1/timestamp", Token: token,
	}, err
}

func push(ctx context.Context, host, repository string, image v1.Image) (name.Digest, error) {
	digest, err := image.Digest()
	if err != nil {
		return name.Digest{}, err
	}
	ref, err := name.NewDigest(host + "/" + repository + "@" + digest.String())
	if err != nil {
		return name.Digest{}, err
	}
	if err := remote.Write(ref, image, remote.WithContext(ctx)); err != nil {
		return name.Digest{}, fmt.Errorf("pushing %s: %w", repository, err)
	}
	return ref, nil
}

// describe signs the image, and a list of what is in each program of it.
func (f *floor) describe(ctx context.Context, signer images.Signer, step string, i images.Image, ref name.Digest) error {
	if err := signer.Attest(ctx, ref, images.Signature, nil); err != nil {
		return err
	}
	for _, place := range slices.Sorted(maps.Keys(i.Files)) {
		list, err := contents(ctx, f.options.path("contents"), step, i.Files[place])
		if errors.Is(err, errNoProgram) {
			continue
		}
		if err != nil {
			return err
		}
		if err := signer.Attest(ctx, ref, images.Contents, list); err != nil {
			return err
		}
	}
	return nil
}

var errNoProgram = errors.New("no program")

// contents is the list of what a program was linked from, which the Go linker
// wrote into it, as SPDX.
func contents(ctx context.Context, dir, step, program string) ([]byte, error) {
	program, err := filepath.EvalSymlinks(program)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(program)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode()&0o100 == 0 {
		return nil, errNoProgram
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "contents.spdx.json")
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, step, "sbom", "-dir", filepath.Dir(program), "-program", filepath.Base(program), "-out", file)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("listing what is in %s: %w: %s", program, err, out)
	}
	return os.ReadFile(file)
}
