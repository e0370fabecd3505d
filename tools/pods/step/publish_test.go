package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

func startRegistry(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheSameFilesGiveTheSameImage(t *testing.T) {
	t.Parallel()
	host := startRegistry(t)
	digests := map[string]bool{}
	for i, mode := range []os.FileMode{0o600, 0o755} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "bin", "sample"), "program", mode)
		write(t, filepath.Join(dir, "data"), "data", 0o600)
		if err := os.Chtimes(filepath.Join(dir, "data"), time.Time{}, time.Unix(int64(i)*1e6, 0)); err != nil {
			t.Fatal(err)
		}
		url, digest := filepath.Join(dir, "IMAGE_URL"), filepath.Join(dir, "IMAGE_DIGEST")
		args := []string{
			"publish", "-dir", dir, "-image", host + "/sample", "-program", "bin/sample=/app/sample", "-file", "data=/share/data",
			"-entrypoint", "/app/sample", "-label", "org.opencontainers.image.revision=" + strings.Repeat("a", 40), "-result-url", url, "-result-digest", digest,
		}
		if err := run(t.Context(), args, io.Discard); err != nil {
			t.Fatal(err)
		}
		if read(t, url) != host+"/sample" {
			t.Errorf("url %q", read(t, url))
		}
		digests[read(t, digest)] = true
		look(t, host+"/sample@"+read(t, digest))
	}
	if len(digests) != 1 {
		t.Errorf("digests %v", digests)
	}
}

// look compares what a node would unpack and start.
func look(t *testing.T, ref string) {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(parsed)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; config.OS != "linux" || c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/app/sample"}) || !slices.Equal(c.Env, []string{"HOME=/", "PATH=/app"}) || len(c.Labels) != 1 {
		t.Errorf("configuration %+v", config)
	}
	var got []string
	content := mutate.Extract(img)
	defer content.Close()
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r)
		got = append(got, fmt.Sprintf("%s %o %d %q", h.Name, h.Mode, h.ModTime.Unix(), b))
	}
	want := []string{`app 755 0 ""`, `app/sample 755 0 "program"`, `share 755 0 ""`, `share/data 644 0 "data"`, `tmp 1777 0 ""`}
	for i := range got {
		got[i] = strings.Replace(got[i], "/ ", " ", 1)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNoImageIsRefusedBeforeAnythingIsPushed(t *testing.T) {
	t.Parallel()
	host := startRegistry(t)
	secret := filepath.Join(t.TempDir(), "token")
	write(t, secret, "secret", 0o600)
	base := map[string]string{"-image": host + "/sample", "-program": "sample=/app/sample", "-entrypoint": "/app/sample", "-file": "data=/data", "-label": "a=b"}
	for name, c := range map[string]struct {
		flag, value, want string
	}{
		"no registry":               {"-image", "sample", reasonImage},
		"registry by default":       {"-image", "library/sample", reasonImage},
		"tag":                       {"-image", host + "/sample:v1", reasonImage},
		"digest":                    {"-image", host + "/sample@sha256:" + strings.Repeat("a", 64), reasonImage},
		"capitals":                  {"-image", host + "/Sample", reasonImage},
		"link out of the folder":    {"-file", "out=/data", reasonKind},
		"link inside":               {"-file", "in=/data", reasonKind},
		"folder":                    {"-file", "folder=/data", reasonKind},
		"pipe":                      {"-file", "pipe=/data", reasonKind},
		"empty file":                {"-file", "empty=/data", reasonFile},
		"name above the folder":     {"-file", "../token=/data", reasonName},
		"absolute name":             {"-file", "/etc/passwd=/data", reasonName},
		"no destination":            {"-file", "data", reasonDestination},
		"relative destination":      {"-file", "data=data", reasonDestination},
		"destination above":         {"-file", "data=/app/../../data", reasonDestination},
		"destination in tmp":        {"-file", "data=/tmp/x", reasonDestination},
		"destination twice":         {"-file", "data=/app/sample", reasonDestination},
		"destination below a file":  {"-file", "data=/app/sample/x", reasonDestination},
		"entrypoint is not there":   {"-entrypoint", "/bin/sh", reasonDestination},
		"entrypoint is no program":  {"-entrypoint", "/data", reasonDestination},
		"label without value":       {"-label", "a", reasonLabel},
		"label with a strange name": {"-label", "A b=c", reasonLabel},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, f := range []string{"sample", "data", "folder/x"} {
				write(t, filepath.Join(dir, f), "x", 0o600)
			}
			write(t, filepath.Join(dir, "empty"), "", 0o600)
			for link, to := range map[string]string{"out": secret, "in": "data"} {
				if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			makePipe(t, filepath.Join(dir, "pipe"))
			result := filepath.Join(dir, "IMAGE_DIGEST")
			args := []string{"publish", "-dir", dir, "-result-digest", result}
			for flag, value := range base {
				if flag == c.flag {
					value = c.value
				}
				args = append(args, flag, value)
			}
			if err := run(t.Context(), args, io.Discard); refusal.ReasonOf(err) != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if _, err := os.Lstat(result); err == nil {
				t.Error("refused, and yet there is a result")
			}
		})
	}
}
