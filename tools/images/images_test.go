package images

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheSameFilesMakeTheSameImage(t *testing.T) {
	t.Parallel()
	digest := func() string {
		dir := t.TempDir()
		program := filepath.Join(dir, "program")
		if err := os.WriteFile(program, []byte("a program"), 0o700); err != nil {
			t.Fatal(err)
		}
		sources := filepath.Join(dir, "sources", "lib", "testdata")
		if err := os.MkdirAll(sources, 0o700); err != nil {
			t.Fatal(err)
		}
		image, err := Build(t.Context(), filepath.Join(dir, "cache"), Image{
			Name: "x", Files: map[string]string{"/app/x": program, "/usr/src": filepath.Join(dir, "sources")}, Leave: []string{"testdata"}, Entrypoint: "/app/x",
		})
		if err != nil {
			t.Fatal(err)
		}
		d, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d.String()
	}
	if a, b := digest(), digest(); a != b {
		t.Errorf("two builds give %s and %s", a, b)
	}
}

func TestPin(t *testing.T) {
	t.Parallel()
	old, digest := "sha256:"+strings.Repeat("0", 64), "sha256:"+strings.Repeat("a", 64)
	for _, row := range []struct{ name, text, want, refused string }{
		{"every place", "a: r:5000/x@" + old + "\nargs: [\"r:5000/x@" + old + "\", b]\n", "a: r:5000/x@" + digest + "\nargs: [\"r:5000/x@" + digest + "\", b]\n", ""},
		{"no image", "a: b\n", "a: b\n", ""},
		{"another registry", "a: other/x:v1\n", "a: other/x:v1\n", ""},
		{"not built", "a: r:5000/y@" + old, "", "none of those"},
		{"a tag", "a: r:5000/x:v1\n", "", "not named by digest"},
		{"a tag before another's digest", "a: r:5000/x:v1\nb: r:5000/x@" + old, "", "not named by digest"},
		{"half a digest", "a: r:5000/x@sha256:00", "", "not named by digest"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := Pin([]byte(row.text), "r:5000", map[string]string{"x": digest})
			if row.refused != "" {
				if err == nil || !strings.Contains(err.Error(), row.refused) {
					t.Errorf("want a refusal with %q, got %q, %v", row.refused, got, err)
				}
				return
			}
			if err != nil || string(got) != row.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
