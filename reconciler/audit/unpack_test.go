package audit_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// member is one file of an export.
type member struct {
	name string
	data []byte
}

// members reads an export as tar does.
func members(t *testing.T, export []byte) []member {
	t.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader(export))
	if err != nil {
		t.Fatal(err)
	}
	var all []member
	for in := tar.NewReader(zipped); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, member{h.Name, data})
	}
}

// pack writes an export as somebody does who edits one.
func pack(t *testing.T, all []member) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	packed := tar.NewWriter(zipped)
	for _, m := range all {
		if err := packed.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: m.name, Size: int64(len(m.data)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := packed.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(packed.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// unpack puts the files into a folder, and gives their paths by name.
func unpack(t *testing.T, export []byte, dir string) func(string) string {
	t.Helper()
	path := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	for _, m := range members(t, export) {
		if err := os.MkdirAll(filepath.Dir(path(m.name)), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path(m.name), m.data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}
